"""Short jobs are claimed ahead of free workers, many at once; others only when one is free."""

import datetime as dt
import math
import time
from collections.abc import Callable
from typing import Any

import pytest
from apscheduler.schedulers.background import BackgroundScheduler
from pytest_django.fixtures import Settings

from jobstore.claims import claim
from jobstore.claims.prefetch import Prefetch
from jobstore.models import DjangoJob, DjangoJobExecution
from jobstore.tests import callables
from jobstore.tests.conftest import StartScheduler, eventually
from jobstore.tests.statements import statements_of_threads

Run = DjangoJobExecution


def add_many(
    scheduler: BackgroundScheduler, func: Callable[..., object], count: int, prefix: str = "job"
) -> None:
    """Add jobs that are all due at one instant, soon."""
    at = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1 + count / 200)
    options: dict[str, Any] = {"run_date": at, "misfire_grace_time": None}
    for number in range(count):
        scheduler.add_job(func, "date", id=f"{prefix}-{number:04}", **options)


def test_a_burst_of_short_jobs_takes_far_fewer_statements_than_runs(
    start_scheduler: StartScheduler,
) -> None:
    with statements_of_threads() as statements:
        scheduler = start_scheduler(threads=2)
        add_many(scheduler, callables.note, 400)
        before = len(statements.of("APScheduler"))
        eventually(lambda: Run.objects.filter(status=Run.SUCCESS).count() == 400, timeout=30)
        sent = statements.of("APScheduler")[before:]
    assert len(callables.calls) == 400
    assert 0 < sum("COUNT(DISTINCT" in one for one in sent) < 60
    assert not DjangoJob.objects.exists()


def test_more_is_claimed_at_once_although_all_has_ended_while_a_claim_took_long(
    start_scheduler: StartScheduler, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.SCHEDULER_LEASE_SECONDS = 120.0
    settings.SCHEDULER_RENEW_SECONDS = 30.0
    real = claim.claim

    def slow(*args: Any) -> Any:
        time.sleep(0.05)
        return real(*args)

    monkeypatch.setattr(claim, "claim", slow)
    monkeypatch.setattr("jobstore.claims.dispatcher.BUSY_LOOK_SECONDS", 60.0)
    add_many(start_scheduler(threads=2), callables.note, 600)
    eventually(lambda: len(callables.calls) == 600, timeout=20)


def test_what_nobody_knows_to_be_short_is_claimed_when_a_worker_is_free(
    start_scheduler: StartScheduler,
) -> None:
    add_many(start_scheduler(threads=2), callables.block, 10)
    eventually(lambda: len(callables.calls) == 2)
    time.sleep(0.3)
    assert Run.objects.count() == 2
    assert DjangoJob.objects.count() == 8


def test_a_long_job_whose_turn_it_is_is_not_overtaken_by_short_ones(
    start_scheduler: StartScheduler,
) -> None:
    scheduler = start_scheduler(threads=1)
    add_many(scheduler, callables.note, 50, "a")
    eventually(lambda: len(callables.calls) == 50)
    callables.calls.clear()
    at = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=2)
    for number in range(100):
        func = callables.block if number == 50 else callables.note
        options: dict[str, Any] = {"run_date": at, "misfire_grace_time": None}
        scheduler.add_job(func, "date", id=f"b-{number:03}", **options)
    eventually(lambda: "blocked" in callables.calls)
    time.sleep(0.3)
    # One is running; nothing behind it was claimed, since nobody knows how long it will take.
    assert len(callables.calls) == 51
    assert Run.objects.filter(job__in=[f"b-{number:03}" for number in range(51, 100)]).count() == 0


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let the test say what time it is."""
    value = [100.0]
    monkeypatch.setattr("jobstore.claims.prefetch.time.monotonic", lambda: value[0])
    return value


def test_as_many_are_claimed_ahead_as_end_in_the_time_allowed(now: list[float]) -> None:
    pace = Prefetch(seconds=0.1, most=500)
    pace.claimed(60)
    now[0] += 0.5
    pace.look(unfinished=10)
    assert pace.ahead == 10


def test_no_more_are_claimed_ahead_than_allowed(now: list[float]) -> None:
    pace = Prefetch(seconds=0.1, most=500)
    pace.claimed(100_001)
    now[0] += 0.5
    pace.look(unfinished=1)
    assert pace.ahead == 500


def test_where_nothing_ends_nothing_is_claimed_ahead(now: list[float]) -> None:
    pace = Prefetch(seconds=0.1, most=500)
    pace.claimed(51)
    now[0] += 0.01
    pace.look(unfinished=1)
    assert pace.ahead > 0
    now[0] += 1.0
    pace.look(unfinished=1)
    assert pace.ahead == 0


def test_workers_that_wait_for_a_claim_do_not_pass_for_slow(now: list[float]) -> None:
    pace = Prefetch(seconds=0.1, most=500)
    for _ in range(3):
        now[0] += 10.0
        pace.look(unfinished=0)
        pace.claimed(50)
        now[0] += 0.05
        pace.ended("jobs:report", 0.001)
        now[0] += 10.0
        pace.look(unfinished=0)
        assert pace.ahead == pytest.approx(100, abs=1)


def test_a_function_is_expected_to_take_about_as_long_as_its_longest_run_of_late() -> None:
    pace = Prefetch(seconds=0.1, most=500)
    assert pace.expected("jobs:report") == math.inf
    pace.ended("jobs:report", 2.0)
    pace.ended("jobs:report", 0.001)
    assert pace.expected("jobs:report") > 1.5
    for _ in range(200):
        pace.ended("jobs:report", 0.001)
    assert pace.expected("jobs:report") < 0.01


def test_a_function_whose_time_is_not_measured_stays_unknown() -> None:
    pace = Prefetch(seconds=0.1, most=500)
    pace.ended("jobs:report", 0.001)
    pace.ended("jobs:report", None)
    assert pace.expected("jobs:report") == math.inf
