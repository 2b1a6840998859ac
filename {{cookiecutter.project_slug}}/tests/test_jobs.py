"""Tests of the jobs in jobs/, an example for yours. A job that you delete takes its tests along."""

import datetime as dt

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django.fixtures import Settings

from jobs.housekeeping import prune_history
from jobstore import registry
from jobstore.models import DjangoJobExecution, database_now
from jobstore.testing import JobRunner

pytestmark = pytest.mark.django_db

DAY = dt.timedelta(days=1)


def run(job_id: str, age: dt.timedelta) -> None:
    """Write a run of that age into the history."""
    run_time = database_now("default") - age
    DjangoJobExecution.objects.create(
        job_id=job_id, status=DjangoJobExecution.SUCCESS, run_time=run_time
    )


def test_history_older_than_the_setting_is_deleted(
    settings: Settings, job_runner: JobRunner
) -> None:
    settings.JOB_HISTORY_DAYS = 30
    run("old", 31 * DAY)
    run("new", 29 * DAY)
    this_run = job_runner.run("prune-history")
    assert this_run.status == DjangoJobExecution.SUCCESS
    left = set(DjangoJobExecution.objects.values_list("job_id", flat=True))
    assert left == {"new", "prune-history"}


def test_the_history_is_pruned_each_night(job_runner: JobRunner) -> None:
    nights = ["2031-03-01 03:30", "2031-03-02 03:30"]
    job_runner.assert_run_times("prune-history", "2031-03-01", "2031-03-03", nights)


@pytest.mark.parametrize(("name", "value"), [("JOB_HISTORY_DAYS", -1), ("JOB_HISTORY_PER_JOB", -5)])
def test_the_nightly_job_deletes_nothing_by_a_setting_that_makes_no_sense(
    settings: Settings, name: str, value: int
) -> None:
    run("a", 31 * DAY)
    setattr(settings, name, value)
    with pytest.raises(ImproperlyConfigured, match=f"{name} is {value}"):
        prune_history()
    assert DjangoJobExecution.objects.count() == 1


def test_a_machine_that_is_off_at_night_prunes_when_it_is_on_again() -> None:
    [nightly] = [one for one in registry.declarations() if one.func is prune_history]
    assert nightly.options["misfire_grace_time"] is None
