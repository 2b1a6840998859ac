"""Times are exact whatever USE_TZ, TIME_ZONE and the scheduler's zone say."""

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.job import Job
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from django.db import connection
from django.test import Client
from pytest_django.fixtures import Settings

from jobstore.claims.plan import plan
from jobstore.health import answers
from jobstore.housekeeping import prune
from jobstore.jobstores import DjangoJobStore
from jobstore.models import DjangoJob, DjangoJobExecution, SchedulerLease, database_now
from jobstore.tests import callables
from jobstore.tests.conftest import eventually
from jobstore.util import as_aware

pytestmark = pytest.mark.django_db(transaction=True)

Run = DjangoJobExecution
SHANGHAI, BERLIN = ZoneInfo("Asia/Shanghai"), ZoneInfo("Europe/Berlin")
SECOND, HOUR = dt.timedelta(seconds=1), dt.timedelta(hours=1)
NOON = dt.datetime(2026, 6, 1, 12, 0, 0, 123456, tzinfo=dt.UTC)


@pytest.fixture(params=[True, False], ids=["USE_TZ", "naive"], autouse=True)
def use_tz(request: pytest.FixtureRequest, settings: Settings) -> bool:
    """Django with and without time zones, in a zone that is neither UTC nor the scheduler's."""
    settings.TIME_ZONE = "America/New_York"
    settings.USE_TZ = request.param
    return bool(request.param)


def make(next_run_time: dt.datetime | None, trigger: BaseTrigger | None = None) -> Job:
    return Job(
        BackgroundScheduler(timezone=SHANGHAI),
        id="job",
        func=callables.note,
        args=(),
        kwargs={},
        executor="default",
        coalesce=True,
        max_instances=1,
        misfire_grace_time=None,
        trigger=trigger or DateTrigger(NOON),
        next_run_time=next_run_time,
    )


def found(store: DjangoJobStore) -> Job:
    job = store.lookup_job("job")
    assert job is not None
    return job


@pytest.fixture
def scheduler() -> BackgroundScheduler:
    return BackgroundScheduler(
        jobstores={"default": DjangoJobStore()},
        executors={"default": ThreadPoolExecutor(4)},
        timezone=SHANGHAI,
    )


@pytest.mark.parametrize(
    "when",
    [
        pytest.param(NOON, id="UTC"),
        pytest.param(NOON.astimezone(SHANGHAI), id="the scheduler's zone"),
        pytest.param(dt.datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=0), id="first 2:30"),
        pytest.param(dt.datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1), id="second 2:30"),
    ],
)
def test_a_stored_time_is_the_same_instant(when: dt.datetime) -> None:
    store = DjangoJobStore()
    store.add_job(make(when))
    instant = when.astimezone(dt.UTC)
    assert found(store).next_run_time.astimezone(dt.UTC) == instant
    next_run_time = store.get_next_run_time()
    assert next_run_time is not None and next_run_time.astimezone(dt.UTC) == instant


@pytest.mark.parametrize("fold", [0, 1])
def test_of_an_hour_that_comes_twice_one_is_kept_where_django_has_no_zones(
    use_tz: bool, fold: int
) -> None:
    when = dt.datetime(2026, 11, 1, 1, 30, tzinfo=ZoneInfo("America/New_York"), fold=fold)
    store = DjangoJobStore()
    store.add_job(make(when))
    # PostgreSQL takes a time without a zone for the second of the two, others for the first.
    kept = fold if use_tz else int(connection.vendor == "postgresql")
    expected = when.replace(fold=kept).astimezone(dt.UTC)
    assert found(store).next_run_time.astimezone(dt.UTC) == expected


def test_a_schedule_skips_an_hour_that_could_not_be_stored(use_tz: bool) -> None:
    zone = ZoneInfo("America/New_York")
    hourly = make(dt.datetime(2026, 11, 1, 0, tzinfo=zone), CronTrigger(minute=0, timezone=zone))
    hourly._modify(coalesce=False)
    planned = plan(hourly, 1, dt.datetime(2026, 11, 1, 3, tzinfo=zone))
    hours = [time.astimezone(zone).hour for time in planned.start]
    assert hours == ([0, 1, 1, 2, 3] if use_tz else [0, 1, 2, 3])


def test_due_is_decided_by_the_instant() -> None:
    store = DjangoJobStore()
    store.add_job(make(NOON))
    assert store.get_due_jobs((NOON - SECOND).astimezone(SHANGHAI)) == []
    assert [job.id for job in store.get_due_jobs(NOON.astimezone(BERLIN))] == ["job"]


def test_a_schedule_counts_in_the_scheduler_s_zone(scheduler: BackgroundScheduler) -> None:
    scheduler.start(paused=True)
    try:
        scheduler.add_job(callables.note, "cron", hour=9, id="job")
    finally:
        scheduler.shutdown()
    stored = DjangoJob.objects.get().next_run_time
    assert as_aware(stored).astimezone(SHANGHAI).hour == 9


def test_a_schedule_keeps_its_hour_across_a_clock_change(
    scheduler: BackgroundScheduler,
) -> None:
    trigger = CronTrigger(hour=9, timezone=BERLIN)
    before = dt.datetime(2026, 3, 28, 9, tzinfo=BERLIN)
    DjangoJobStore().add_job(make(before, trigger))
    scheduler.start()
    try:
        eventually(lambda: Run.objects.filter(status=Run.SUCCESS).exists())
    finally:
        scheduler.shutdown()
    stored = DjangoJob.objects.get().next_run_time
    assert as_aware(stored).astimezone(BERLIN).hour == 9


def test_a_run_starts_at_its_instant_and_says_so(scheduler: BackgroundScheduler) -> None:
    scheduler.start()
    try:
        eventually(lambda: SchedulerLease.objects.filter(epoch=1).exists())
        when = as_aware(database_now("default")) + SECOND / 2
        scheduler.add_job(callables.note, "date", run_date=when, id="job", misfire_grace_time=60)
        run = eventually(lambda: Run.objects.filter(status=Run.SUCCESS).first())
    finally:
        scheduler.shutdown()
    assert as_aware(run.run_time) == when
    assert 0 <= (as_aware(run.started_at) - when).total_seconds() < 60
    assert as_aware(run.started_at) <= as_aware(run.finished)
    assert callables.calls == ["ran"]


def test_every_overdue_time_has_a_row_before_the_first_has_run(
    scheduler: BackgroundScheduler,
) -> None:
    scheduler.start()
    try:
        eventually(lambda: SchedulerLease.objects.filter(epoch=1).exists())
        scheduler.add_job(
            callables.block,
            "interval",
            hours=1,
            id="job",
            coalesce=False,
            misfire_grace_time=None,
            next_run_time=dt.datetime.now(dt.UTC) - 2.5 * HOUR,
        )
        eventually(lambda: callables.calls)
        assert Run.objects.filter(status=Run.RUNNING).count() == 3
        callables.release.set()
        eventually(lambda: Run.objects.filter(status=Run.SUCCESS).count() == 3)
    finally:
        callables.release.set()
        scheduler.shutdown()


def test_asking_for_a_run_seeing_it_and_pruning_it_work(
    scheduler: BackgroundScheduler, admin_client: Client
) -> None:
    scheduler.start()
    try:
        eventually(lambda: SchedulerLease.objects.filter(epoch=1).exists())
        scheduler.add_job(callables.note, "cron", hour=9, id="job")
        DjangoJob.objects.get().request_run("ada")
        run = eventually(lambda: Run.objects.filter(status=Run.SUCCESS).first())
        code, body = answers.scheduler("default")
        assert (code, body["due_lag"]) == (200, 0.0)
        for page in ("djangojob", "djangojobexecution", "schedulerinstance"):
            assert admin_client.get(f"/admin/jobstore/{page}/").status_code == 200
        assert admin_client.get(f"/admin/jobstore/djangojobexecution/{run.pk}/change/").content
    finally:
        scheduler.shutdown()
    assert prune(days=0, keep_per_job=0).runs == 1


def test_a_paused_job_is_resumed_at_its_hour() -> None:
    store = DjangoJobStore()
    store.add_job(make(NOON, CronTrigger(hour=9, timezone=SHANGHAI)))
    job = DjangoJob.objects.get()
    assert job.pause() and job.resume()
    stored = DjangoJob.objects.get().next_run_time
    assert as_aware(stored).astimezone(SHANGHAI).hour == 9
    assert as_aware(stored) > as_aware(database_now("default"))
