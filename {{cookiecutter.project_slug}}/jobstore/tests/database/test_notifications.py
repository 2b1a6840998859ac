"""PostgreSQL tells the scheduler of a change at once, whoever makes it; elsewhere it looks."""

import datetime as dt
import time
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction
from pytest_django.fixtures import Settings

from jobstore import api, registry
from jobstore.leadership import lease
from jobstore.leadership.lease import LeaseView, Term
from jobstore.models import DjangoJob, DjangoJobExecution, SchedulerInstance
from jobstore.tests import callables
from jobstore.tests.api import offers
from jobstore.tests.conftest import StartScheduler, eventually

Run = DjangoJobExecution


@pytest.fixture(autouse=True)
def _hardly_ever_renewed(settings: Settings) -> None:
    """Whatever is noticed within this time was not noticed by a renewal."""
    settings.SCHEDULER_LEASE_SECONDS = 90.0
    settings.SCHEDULER_RENEW_SECONDS = 40.0


@pytest.fixture(autouse=True)
def _declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_declared", {})
    monkeypatch.setattr("jobstore.declarations.discovery.import_jobs", list)


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


@pytest.fixture
def looks(idle: None, monkeypatch: pytest.MonkeyPatch) -> list[Term]:
    """Collects the looks that an idle scheduler takes at the database."""
    found: list[Term] = []
    renew = lease.renew

    def counting(term: Term, using: str, **options: Any) -> LeaseView:
        found.append(term)
        return renew(term, using, **options)

    monkeypatch.setattr(lease, "renew", counting)
    return found


def settled(looks: list[Term]) -> int:
    """Wait until nobody looks any more; return how often somebody has."""
    number = -1
    while number != len(looks):
        number = len(looks)
        time.sleep(0.3)
    return number


def test_each_operation_is_noticed_at_once(looks: list[Term]) -> None:
    declared = registry.scheduled("interval", id="declared", days=2)(callables.note)
    api.add_job(declared, "interval", id="declared", days=1)
    ended: list[DjangoJobExecution] = []

    def end() -> None:
        Run.objects.filter(status=Run.REQUESTED).update(status=Run.ERROR)
        ended[:] = Run.objects.filter(status__in=(Run.ERROR, Run.SUCCESS))

    operations: dict[str, Callable[[], Any]] = {
        "add": lambda: api.add_job(offers.greet, "interval", id="job", days=1, args=["Ann"]),
        "pause": lambda: api.pause("job"),
        "resume": lambda: api.resume("job"),
        "reschedule": lambda: api.reschedule("job", "interval", days=3),
        "change": lambda: api.change("job", next_run_time="2100-01-01"),
        "reset": lambda: api.reset("declared"),
        "run": lambda: api.run_now("job"),
        "run all": lambda: api.run_all_now(["job", "declared"]),
        "run again": lambda: api.run_again(ended[0]),
        "run all again": lambda: api.run_all_again([ended[0].pk]),
        "retire": lambda: api.retire("job"),
    }
    unnoticed = []
    for name, operation in operations.items():
        end()
        before = settled(looks)
        operation()
        time.sleep(0.3)
        if len(looks) == before:
            unnoticed.append(name)
    assert unnoticed == []


def test_a_job_whose_transaction_is_rolled_back_wakes_nobody(looks: list[Term]) -> None:
    before = settled(looks)
    with transaction.atomic():
        api.add_job(callables.note, "interval", id="job", seconds=0.1)
        transaction.set_rollback(True)
    time.sleep(0.5)
    assert len(looks) == before
    assert not DjangoJob.all_objects.filter(pk="job").exists()
    assert callables.calls == []


def test_many_changes_do_not_make_many_looks(looks: list[Term]) -> None:
    before = settled(looks)
    began = time.monotonic()
    for _ in range(200):
        DjangoJob.objects.update(name="another")
    time.sleep(0.2)
    assert 0 < len(looks) - before <= (time.monotonic() - began) / 0.03 + 1
