"""PostgreSQL tells the scheduler of a change at once, whoever makes it; elsewhere it looks."""

import datetime as dt
import time
from typing import Any

import pytest
from django.db import connection, transaction
from pytest_django.fixtures import Settings

from jobstore.leadership import lease
from jobstore.leadership.lease import LeaseView, Term
from jobstore.models import DjangoJob, DjangoJobExecution, SchedulerInstance
from jobstore.tests import callables
from jobstore.tests.conftest import StartScheduler, eventually

Run = DjangoJobExecution


@pytest.fixture(autouse=True)
def _hardly_ever_renewed(settings: Settings) -> None:
    """Whatever is noticed within this time was not noticed by a renewal."""
    settings.SCHEDULER_LEASE_SECONDS = 90.0
    settings.SCHEDULER_RENEW_SECONDS = 40.0


@pytest.fixture
def idle(start_scheduler: StartScheduler) -> None:
    """A scheduler that is active, knows one job for tomorrow, and sleeps."""
    scheduler = start_scheduler()
    scheduler.add_job(callables.note, "interval", days=1, id="daily")
    eventually(lambda: SchedulerInstance.objects.filter(role="active").exists())
    time.sleep(1.0)


def ran() -> bool:
    return Run.objects.filter(status=Run.SUCCESS).exists()


def test_a_requested_run_starts_at_once(idle: None) -> None:
    DjangoJob.objects.get().request_run("somebody")
    eventually(ran)


def test_a_job_that_is_due_earlier_now_starts_at_once(idle: None) -> None:
    DjangoJob.objects.update(next_run_time=dt.datetime.now(dt.UTC))
    eventually(ran)


def test_what_is_not_committed_wakes_nobody(idle: None) -> None:
    with transaction.atomic():
        DjangoJob.objects.get().request_run("somebody")
        time.sleep(0.5)
        assert callables.calls == []
    eventually(ran)


def test_a_scheduler_that_lost_its_connection_listens_again(idle: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    time.sleep(2.0)
    DjangoJob.objects.get().request_run("somebody")
    eventually(ran)


def test_many_changes_do_not_make_many_looks(idle: None, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Term] = []
    renew = lease.renew

    def counting(term: Term, using: str, **options: Any) -> LeaseView:
        looks.append(term)
        return renew(term, using, **options)

    monkeypatch.setattr(lease, "renew", counting)
    began = time.monotonic()
    for _ in range(200):
        DjangoJob.objects.update(name="another")
    time.sleep(0.2)
    assert 0 < len(looks) <= (time.monotonic() - began) / 0.03 + 1
