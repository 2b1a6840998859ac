"""Declared jobs reach the database, and operators win over deploys."""

import datetime as dt
from typing import Any

import pytest
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger
from django.conf import settings
from django.utils.timezone import localtime

from jobstore import registry
from jobstore.jobstores import DjangoJobStore
from jobstore.models import DjangoJob
from jobstore.registry import Change, DeclarationError, scheduled
from jobstore.tests import callables

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _only_these(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the project's own jobs out."""
    registry.declarations()
    monkeypatch.setattr(registry, "_declared", {})


def sync(*, dry_run: bool = False) -> list[Change]:
    scheduler = BackgroundScheduler(timezone=settings.TIME_ZONE)
    return registry.sync(DjangoJobStore(), scheduler, dry_run=dry_run)


def declare(trigger: str = "cron", **options: Any) -> None:
    withdraw()
    scheduled(trigger, id="job", **(options or {"hour": 3}))(callables.note)


def withdraw() -> None:
    registry._declared.clear()


def test_a_declared_job_is_added_with_sensible_defaults() -> None:
    declare()
    assert sync() == [Change("add", "job", "cron[hour='3']")]
    job = DjangoJob.objects.get()
    assert (job.coalesce, job.max_instances, job.misfire_grace_time) == (True, 1, 3600)


def test_an_unchanged_declaration_changes_nothing() -> None:
    declare()
    sync()
    before = DjangoJob.objects.values().get()
    assert sync() == []
    assert DjangoJob.objects.values().get() == before


def test_an_interval_counts_on_across_restarts() -> None:
    declare("interval", hours=1)
    sync()
    due = DjangoJob.objects.get().next_run_time
    withdraw()
    declare("interval", hours=1)
    assert sync() == []
    assert DjangoJob.objects.get().next_run_time == due


def test_a_trigger_object_is_recognised_across_restarts() -> None:
    scheduled(IntervalTrigger(hours=1), id="job")(callables.note)
    sync()
    withdraw()
    scheduled(IntervalTrigger(hours=1), id="job")(callables.note)
    assert sync() == []


def test_a_changed_schedule_takes_effect() -> None:
    declare(hour=3)
    sync()
    declare(hour=4)
    assert sync() == [Change("update", "job", "cron[hour='4']")]
    next_run_time = DjangoJob.objects.get().next_run_time
    assert next_run_time is not None and localtime(next_run_time).hour == 4


def test_a_changed_argument_keeps_the_next_run() -> None:
    declare("interval", hours=1, args=["a"])
    sync()
    due = DjangoJob.objects.get().next_run_time
    declare("interval", hours=1, args=["b"])
    sync()
    job = DjangoJob.objects.get()
    assert (job.arguments, job.next_run_time) == ("'b'", due)


@pytest.mark.parametrize("hour", [3, 4], ids=["unchanged", "changed"])
def test_a_paused_job_stays_paused(hour: int) -> None:
    declare(hour=3)
    sync()
    DjangoJob.objects.get().pause()
    declare(hour=hour)
    sync()
    assert DjangoJob.objects.get().next_run_time is None


def test_a_job_that_left_the_code_is_retired() -> None:
    declare()
    sync()
    withdraw()
    assert sync() == [Change("retire", "job", "cron[hour='3']")]
    assert not DjangoJob.objects.exists()
    assert sync() == []


def test_a_job_that_comes_back_to_the_code_is_added_again() -> None:
    declare()
    sync()
    withdraw()
    sync()
    declare()
    assert [change.action for change in sync()] == ["add"]
    assert DjangoJob.objects.get().next_run_time is not None


def test_a_job_that_an_operator_removed_stays_removed_until_its_declaration_changes() -> None:
    declare(hour=3)
    sync()
    DjangoJobStore().remove_job("job")
    assert sync() == []
    declare(hour=4)
    assert [change.action for change in sync()] == ["add"]


def test_a_quarantined_job_is_stored_anew_and_keeps_its_next_run() -> None:
    declare("interval", hours=1)
    sync()
    due = DjangoJob.objects.get().next_run_time
    DjangoJob.objects.update(
        job_state=b"signed with a lost key", quarantined_at=due, quarantine_reason="lost key"
    )
    assert [change.action for change in sync()] == ["update"]
    job = DjangoJob.objects.get()
    assert (job.quarantined_at, job.quarantine_reason, job.next_run_time) == (None, "", due)


def test_jobs_that_were_not_declared_are_left_alone() -> None:
    job = BackgroundScheduler(timezone="UTC").add_job(callables.note, "interval", hours=1, id="own")
    job._modify(executor="default", max_instances=1, coalesce=True, misfire_grace_time=1)
    job._modify(next_run_time=dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    DjangoJobStore().add_job(job)
    assert sync() == []


def test_a_dry_run_writes_nothing() -> None:
    declare()
    assert [change.action for change in sync(dry_run=True)] == ["add"]
    assert not DjangoJob.objects.exists()


def test_two_functions_cannot_declare_the_same_id() -> None:
    declare()
    scheduled("cron", id="job", hour=3)(callables.fail)
    assert registry.declarations() == []
    [problem] = registry.collect(BackgroundScheduler(timezone="UTC")).problems
    assert "'job' is declared 2 times" in problem.text


@pytest.mark.parametrize(
    ("trigger", "options", "text"),
    [
        ("cron", {"hour": 25}, "25"),
        ("cron", {"our": 3}, "our"),
        ("cron", {"year": 2020}, "never runs"),
        ("sometimes", {}, "sometimes"),
        ("cron", {"hour": 3, "args": [1, 2, 3]}, "arguments"),
    ],
)
def test_a_declaration_that_cannot_work_names_the_job_and_the_fault(
    trigger: str, options: dict[str, object], text: str
) -> None:
    declare(trigger, **options)
    [declaration] = registry.declarations()
    with pytest.raises(DeclarationError, match=r"'job'.*" + text):
        registry.prepare(declaration, BackgroundScheduler(timezone="UTC"))


def test_one_bad_declaration_does_not_keep_the_others_back() -> None:
    declare("cron", hour=25)
    scheduled("cron", id="good", hour=3)(callables.note)
    assert [change.job_id for change in sync()] == ["good"]
