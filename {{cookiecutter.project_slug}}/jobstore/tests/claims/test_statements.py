"""How many statements the store sends, since each of them is a round trip."""

import datetime as dt
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.base import BaseScheduler
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings

from jobstore import registry
from jobstore.jobstores import DjangoJobStore
from jobstore.models import DjangoJob, DjangoJobExecution, database_now
from jobstore.process.scheduler import SchedulerProcess
from jobstore.tests import callables
from jobstore.tests.conftest import StartScheduler, eventually
from jobstore.tests.statements import Statements, statements_of_threads, without_borders

pytestmark = pytest.mark.django_db(transaction=True)

Run = DjangoJobExecution
HOUR = dt.timedelta(hours=1)

# What one run costs on its own, in the loop and in the recorder. Where the claim is a transaction
# of several statements the price is shared by all jobs that are due together.
ALONE = {"postgresql": 3 + 1, "sqlite": 10, "mysql": 12}


class ByHand(BaseScheduler):  # type: ignore[misc]
    """Looks at its jobs when the test says so, on the test's thread."""

    def wakeup(self) -> None:
        """Look at nothing."""

    def shutdown(self, wait: bool = True) -> None:
        """End as any scheduler."""
        super().shutdown(wait)

    def tick(self) -> list[str]:
        """Look once; return the statements that this took."""
        with CaptureQueriesContext(connection) as captured:
            self._process_jobs()
        return without_borders([query["sql"] for query in captured.captured_queries])


@pytest.fixture
def seen() -> Iterator[Statements]:
    """The statements of all threads but this one."""
    with statements_of_threads() as statements:
        yield statements


@pytest.fixture
def scheduler(transactional_db: None, settings: Settings, seen: Statements) -> Iterator[ByHand]:
    """A scheduler that holds the lease, and renews it too rarely to be in the way."""
    settings.SCHEDULER_RENEW_SECONDS = 30.0
    settings.SCHEDULER_LEASE_SECONDS = 120.0
    store = DjangoJobStore()
    one = ByHand(
        jobstores={"default": store},
        executors={"default": ThreadPoolExecutor(100)},
        timezone="UTC",
    )
    one.start()
    eventually(lambda: one.tick() or (store.elector is not None and store.elector.term))
    yield one
    one.shutdown()


Fill = Callable[[int], None]


@pytest.fixture
def fill(scheduler: ByHand) -> Fill:
    """Return a function that lets so many jobs be due."""

    def store(number: int) -> None:
        missing = range(DjangoJob.objects.count(), number)
        for one in missing:
            scheduler.add_job(
                callables.note, "interval", hours=1, id=f"job-{one:03}", misfire_grace_time=None
            )
        ids = [f"job-{one:03}" for one in range(number)]
        due = database_now("default") - dt.timedelta(seconds=1)
        DjangoJob.objects.filter(pk__in=ids).update(next_run_time=due)

    return store


def finish() -> None:
    eventually(lambda: not Run.objects.filter(status__in=Run.UNFINISHED).exists(), 30)


def test_a_tick_takes_the_same_statements_for_any_number_of_due_jobs(
    scheduler: ByHand, fill: Fill
) -> None:
    counts = []
    for number in (1, 10, 100):
        fill(number)
        before = Run.objects.count()
        counts.append(len(scheduler.tick()))
        assert Run.objects.count() == before + number
        finish()
    assert counts[0] == counts[1]
    # SQLite takes only so many values in one statement.
    assert counts[2] - counts[0] <= (2 if connection.vendor == "sqlite" else 0)


def test_a_run_takes_few_statements_on_its_own(
    scheduler: ByHand, fill: Fill, seen: Statements
) -> None:
    fill(1)
    soon = database_now("default") + dt.timedelta(seconds=0.5)
    DjangoJob.objects.update(next_run_time=soon)
    scheduler.tick()  # which plans to wake up then
    time.sleep(0.7)
    statements = scheduler.tick()
    finish()
    assert Run.objects.filter(status=Run.SUCCESS).count() == 1
    statements += seen.of("jobstore-recorder", "ThreadPoolExecutor")
    assert len(statements) <= ALONE[connection.vendor], statements


def test_a_run_takes_at_most_three_statements_and_one_for_the_tick(
    scheduler: ByHand, fill: Fill, seen: Statements
) -> None:
    fill(100)
    statements = scheduler.tick()
    finish()
    assert Run.objects.filter(status=Run.SUCCESS).count() == 100
    statements += seen.of("jobstore-recorder", "ThreadPoolExecutor")
    assert len(statements) <= 100 * 3 + 1


def test_results_of_many_runs_are_written_in_few_statements(
    scheduler: ByHand, fill: Fill, seen: Statements
) -> None:
    fill(100)
    scheduler.tick()
    finish()
    written = seen.of("jobstore-recorder")
    assert all("UPDATE" in statement for statement in written)
    # One for all on PostgreSQL, one for each where the database has no such statement.
    assert len(written) <= (50 if connection.vendor == "postgresql" else 100)


@pytest.mark.parametrize("jobs", [0, 10])
def test_an_idle_tick_takes_at_most_one_narrow_statement(
    scheduler: ByHand, fill: Fill, jobs: int
) -> None:
    fill(jobs)
    DjangoJob.objects.update(next_run_time=database_now("default") + HOUR)
    scheduler.tick()
    statements = scheduler.tick()
    assert len(statements) <= 1, statements
    assert not [one for one in statements if "job_state" in one]


def test_renewing_the_lease_reads_no_job_state(
    scheduler: ByHand, fill: Fill, seen: Statements
) -> None:
    fill(10)
    store: Any = scheduler._jobstores["default"]
    before = len(seen.of("jobstore-elector"))
    store.elector._listener.wake()
    eventually(lambda: len(seen.of("jobstore-elector")) > before)
    assert not [one for one in seen.of("jobstore-elector")[before:] if "job_state" in one]


def test_a_scheduler_without_the_lease_asks_nothing(
    scheduler: ByHand, fill: Fill, settings: Settings
) -> None:
    fill(10)
    store = DjangoJobStore()
    surplus = ByHand(jobstores={"default": store}, timezone="UTC")
    surplus.start()
    try:
        eventually(lambda: surplus.tick() or (store.elector is not None and store.elector.view))
        assert surplus.tick() == []
    finally:
        surplus.shutdown()


def test_a_time_moved_to_the_past_by_hand_does_not_make_the_loop_spin(
    start_scheduler: StartScheduler, seen: Statements, settings: Settings
) -> None:
    settings.SCHEDULER_RENEW_SECONDS = 30.0
    settings.SCHEDULER_LEASE_SECONDS = 120.0
    scheduler = start_scheduler()
    scheduler.add_job(callables.note, "interval", hours=1, id="job", misfire_grace_time=None)
    past = database_now("default") - 24.5 * HOUR
    DjangoJob.objects.update(next_run_time=past)
    scheduler.wakeup()
    eventually(lambda: Run.objects.filter(status=Run.SUCCESS).exists())
    before = len(seen.of("APScheduler"))
    time.sleep(1.0)
    assert callables.calls == ["ran"]
    assert len(seen.of("APScheduler")) - before <= 10  # it would be thousands


def test_a_start_takes_the_same_statements_for_any_number_of_declared_jobs(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.declarations()
    monkeypatch.setattr(registry, "_declared", {})
    counts = []
    for number in (1, 50):
        for one in range(number):
            registry.scheduled("cron", id=f"job-{one}", hour=3)(callables.note)
        sync = functools.partial(registry.sync, DjangoJobStore(), ByHand(timezone="UTC"))
        sync()
        with CaptureQueriesContext(connection) as captured:
            assert sync() == []
        counts.append(len(captured))
    assert counts[0] == counts[1]


@pytest.fixture
def idle(
    transactional_db: None, seen: Statements, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> Iterator[SchedulerProcess]:
    """A scheduler whose loop turns all the time, and who always looks for the dead."""
    registry.declarations()
    monkeypatch.setattr(registry, "_declared", {})
    settings.SCHEDULER_LISTEN = False
    monkeypatch.setattr("jobstore.process.scheduler.MAX_SLEEP_SECONDS", 0.02)
    monkeypatch.setattr("jobstore.leadership.reaper.REAP_SECONDS", 0.0)
    process = SchedulerProcess()
    process.start()
    try:
        eventually(lambda: process.elector.is_idle)
        time.sleep(0.5)  # what it does first is done
        yield process
    finally:
        process.stop()


def test_an_idle_loop_beats_without_a_statement(idle: SchedulerProcess, seen: Statements) -> None:
    before, beat = seen.of("APScheduler"), idle.scheduler.turned_at
    time.sleep(1.0)
    assert idle.scheduler.turned_at > beat + 0.5
    assert seen.of("APScheduler") == before


if connection.vendor == "postgresql":  # elsewhere these are statements each

    def test_a_renewal_looks_for_dead_processes_as_well(
        idle: SchedulerProcess, seen: Statements
    ) -> None:
        before = len(seen.of("jobstore-elector"))
        time.sleep(1.0)
        sent = seen.of("jobstore-elector")[before:]
        assert sent
        assert not [
            one for one in sent if not one.strip().startswith(("WITH renewed", "SELECT pg_try"))
        ]


def test_a_loop_that_only_beats_still_starts_a_job_on_time(
    idle: SchedulerProcess, settings: Settings
) -> None:
    settings.SCHEDULER_LEASE_SECONDS = 120.0
    eventually(lambda: idle.elector._trusted_until > time.monotonic() + 60)
    settings.SCHEDULER_RENEW_SECONDS = 30.0  # so that the last renewal knows nothing of the job
    time.sleep(0.5)
    idle.scheduler.add_job(callables.note, "interval", seconds=0.7, id="job")
    eventually(lambda: len(callables.calls) >= 2, timeout=20)
