"""A run may be late by one default, whoever adds its job, unless somebody says otherwise."""

import datetime as dt
import pickle
from typing import Any

import pytest
from apscheduler.jobstores.base import BaseJobStore
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.schedulers.base import BaseScheduler
from apscheduler.schedulers.blocking import BlockingScheduler
from pytest_django.fixtures import Settings

from jobstore.jobstores import DjangoJobStore, DjangoMemoryJobStore
from jobstore.models import DjangoJobExecution
from jobstore.process.scheduler import SchedulerProcess
from jobstore.tests import callables
from jobstore.tests.conftest import StartScheduler, eventually

pytestmark = pytest.mark.django_db(transaction=True)

Run = DjangoJobExecution


def grace_of(scheduler: BaseScheduler, **options: Any) -> int | None:
    """Return the grace of a job that is added before the scheduler starts."""
    scheduler.add_job(callables.note, "interval", hours=1, id="job", **options)
    try:
        BaseScheduler.start(scheduler, paused=True)
        job = scheduler.get_job("job")
        assert job is not None
        grace: int | None = job.misfire_grace_time
        return grace
    finally:
        BaseScheduler.shutdown(scheduler)


@pytest.mark.parametrize("kind", [BackgroundScheduler, BlockingScheduler, AsyncIOScheduler])
@pytest.mark.parametrize("store", [DjangoJobStore, DjangoMemoryJobStore])
def test_a_job_from_code_has_the_grace_of_declared_ones(
    kind: type[BaseScheduler], store: type[BaseJobStore], settings: Settings
) -> None:
    settings.SCHEDULER_MISFIRE_GRACE_SECONDS = 1234
    assert grace_of(kind(jobstores={"default": store()})) == 1234


def test_our_own_scheduler_has_it_too(settings: Settings) -> None:
    settings.SCHEDULER_MISFIRE_GRACE_SECONDS = 1234
    assert grace_of(SchedulerProcess().scheduler) == 1234


@pytest.mark.parametrize("grace", [1, 5, 10**6, None])
def test_a_grace_that_a_job_is_given_stays(grace: int | None) -> None:
    scheduler = BackgroundScheduler(jobstores={"default": DjangoJobStore()})
    assert grace_of(scheduler, misfire_grace_time=grace) == grace


@pytest.mark.parametrize("grace", [1, 5, None])
def test_a_grace_that_a_scheduler_is_given_stays(grace: int | None) -> None:
    scheduler = BackgroundScheduler(
        jobstores={"default": DjangoJobStore()}, job_defaults={"misfire_grace_time": grace}
    )
    assert grace_of(scheduler) == grace


def test_a_grace_in_a_dotted_configuration_stays() -> None:
    scheduler = BackgroundScheduler(
        {"apscheduler.job_defaults.misfire_grace_time": "1"},
        jobstores={"default": DjangoJobStore()},
    )
    assert grace_of(scheduler) == 1


def test_other_defaults_of_a_scheduler_leave_the_grace_alone(settings: Settings) -> None:
    settings.SCHEDULER_MISFIRE_GRACE_SECONDS = 1234
    scheduler = BackgroundScheduler(
        jobstores={"default": DjangoJobStore()}, job_defaults={"max_instances": 3}
    )
    assert grace_of(scheduler) == 1234


def test_jobs_of_another_store_keep_apscheduler_s_own_grace() -> None:
    scheduler = BackgroundScheduler(timezone="UTC")
    assert grace_of(scheduler) == 1
    job = scheduler.add_job(callables.note, "interval", hours=1)
    scheduler.start(paused=True)
    try:
        assert type(pickle.loads(pickle.dumps(job.misfire_grace_time))) is int  # noqa: S301
    finally:
        scheduler.shutdown()


def test_a_job_that_is_added_again_gets_the_setting_of_today(settings: Settings) -> None:
    settings.SCHEDULER_MISFIRE_GRACE_SECONDS = 100
    grace_of(BackgroundScheduler(jobstores={"default": DjangoJobStore()}))
    settings.SCHEDULER_MISFIRE_GRACE_SECONDS = 200
    scheduler = BackgroundScheduler(jobstores={"default": DjangoJobStore()})
    assert grace_of(scheduler, replace_existing=True) == 200


def test_a_one_off_job_that_was_due_during_a_deploy_of_40_s_runs(
    start_scheduler: StartScheduler,
) -> None:
    before = BackgroundScheduler(jobstores={"default": DjangoJobStore()}, timezone="UTC")
    before.start(paused=True)
    due = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=40)
    before.add_job(callables.note, "date", run_date=due, id="once")
    before.shutdown()
    start_scheduler()
    run = eventually(lambda: Run.objects.exclude(status__in=Run.UNFINISHED).first())
    assert run.status == Run.SUCCESS
