"""`scheduler_status` shows people and scripts who is active, and exits accordingly."""

import datetime as dt
import json
import uuid
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError

from jobstore import api
from jobstore.leadership import lease
from jobstore.models import DjangoJob, SchedulerInstance, SchedulerLease, database_now
from jobstore.tests import callables

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


def test_a_process_that_cannot_run_jobs_says_why() -> None:
    lease.acquire(process(Role.ACTIVE, 1).pk, "default")
    unfit = process(Role.UNFIT, 2)
    SchedulerInstance.objects.filter(pk=unfit.pk).update(problem="The loop is stuck.")
    assert "here:2: The loop is stuck." in status()[1]
    [_, shown] = sorted(
        json.loads(status("--json")[1])["processes"], key=lambda one: one["process"]
    )
    assert shown["problem"] == "The loop is stuck."


def test_nobody_is_active() -> None:
    process(Role.STARTING, 1)
    code, text = status()
    assert code == 1
    assert "No scheduler is active" in text
    assert "here:1" in text


def hold_the_lease(*, ago: float = 0, saturated: str = "") -> None:
    one = process(Role.ACTIVE, 1)
    lease.acquire(one.pk, "default")
    since = database_now("default") - dt.timedelta(seconds=ago)
    SchedulerLease.objects.update(acquired_at=since)
    SchedulerInstance.objects.update(saturated=saturated)


def store_due_job(executor: str = "default", *, ago: float = 100) -> None:
    due = database_now("default") - dt.timedelta(seconds=ago)
    DjangoJob.objects.create(
        pk=f"on {executor}", next_run_time=due, job_state=b"", executor=executor
    )


def test_jobs_are_late() -> None:
    hold_the_lease(ago=60)
    store_due_job()
    code, text = status()
    assert code == 1
    assert "A job has been due for 100 s" in text


def test_jobs_that_wait_for_busy_workers_are_no_fault() -> None:
    hold_the_lease(ago=60, saturated='["default"]')
    store_due_job()
    code, text = status()
    assert code == 0, text
    assert "100.0 s late" in text
    assert "all workers busy: default" in text


def test_busy_workers_excuse_no_job_of_another_executor() -> None:
    hold_the_lease(ago=60, saturated='["reports"]')
    store_due_job("reports", ago=200)
    store_due_job("default")
    code, text = status()
    assert code == 1
    assert "A job has been due for 100 s" in text


def test_who_has_just_taken_over_is_not_blamed_for_the_time_before() -> None:
    hold_the_lease()
    store_due_job()
    assert status()[0] == 0


@pytest.mark.parametrize("nonsense", ["?", "null", "7", '{"a": 1}'])
def test_what_an_unknown_version_wrote_of_busy_workers_excuses_nothing(nonsense: str) -> None:
    hold_the_lease(ago=60, saturated=nonsense)
    store_due_job()
    assert status()[0] == 1


def test_the_database_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*args: object) -> None:
        raise DatabaseError("gone")

    monkeypatch.setattr("jobstore.health.status.overview", gone)
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


def test_paused_jobs_are_told_with_their_reasons() -> None:
    api.add_job(callables.note, "interval", hours=1, id="scan", paused=True, reason="no\nscanner")
    api.add_job(callables.note, "interval", hours=1, id="other", paused=True)
    assert "paused    scan: no scanner\n" in status()[1]
