"""`scheduler_status` shows people and scripts who is active, and exits accordingly."""

import datetime as dt
import json
import uuid
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError

from jobstore import lease
from jobstore.models import DjangoJob, SchedulerInstance, database_now

pytestmark = pytest.mark.django_db

Role = SchedulerInstance.Role


def process(role: SchedulerInstance.Role, pid: int) -> SchedulerInstance:
    now = database_now("default")
    return SchedulerInstance.objects.create(
        id=uuid.uuid4(), host="here", pid=pid, role=role, started_at=now, heartbeat_at=now
    )


def status(*options: str) -> tuple[int, str]:
    """Return the exit code, and what was printed."""
    printed = StringIO()
    try:
        call_command("scheduler_status", *options, stdout=printed)
    except CommandError as error:
        return error.returncode, f"{printed.getvalue()}{error}"
    return 0, printed.getvalue()


def test_all_is_well_with_one_active_and_one_standby() -> None:
    lease.acquire(process(Role.ACTIVE, 1).pk, "default")
    process(Role.STANDBY, 2)
    process(Role.STOPPED, 3)
    code, text = status()
    assert code == 0
    assert "epoch 1, here:1" in text
    assert "here:2   standby" in text
    assert "here:3" not in text


def test_nobody_is_active() -> None:
    process(Role.STARTING, 1)
    code, text = status()
    assert code == 1
    assert "No scheduler is active" in text
    assert "here:1" in text


def test_jobs_are_late() -> None:
    lease.acquire(process(Role.ACTIVE, 1).pk, "default")
    due = database_now("default") - dt.timedelta(seconds=100)
    DjangoJob.objects.create(pk="late", next_run_time=due, job_state=b"")
    code, text = status()
    assert code == 1
    assert "A job has been due for 100 s" in text


def test_the_database_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*args: object) -> None:
        raise DatabaseError("gone")

    monkeypatch.setattr("jobstore.status.overview", gone)
    assert status() == (2, "The database does not answer: gone")
    code, text = status("--json")
    assert code == 2
    assert json.loads(text.splitlines()[0])["reason"] == "gone"


def test_scripts_get_json() -> None:
    lease.acquire(process(Role.ACTIVE, 1).pk, "default")
    DjangoJob.objects.create(pk="paused", next_run_time=None, job_state=b"")
    code, text = status("--json")
    seen = json.loads(text)
    assert code == 0
    assert (seen["status"], seen["epoch"], seen["holder"]) == ("ok", 1, "here:1")
    assert [one["role"] for one in seen["processes"]] == ["active"]
    assert seen["jobs"] == {"scheduled": 0, "paused": 1, "quarantined": 0}
