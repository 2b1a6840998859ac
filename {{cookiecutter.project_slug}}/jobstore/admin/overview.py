"""Figures about jobs that are not in their rows, in a constant number of statements.

Every figure comes from a few index entries per job shown, however long the history is.
"""

import collections
import functools
import operator
import statistics
from collections.abc import Collection, Iterable
from typing import Any

from django.db.models import Count, DateTimeField, Min, OuterRef, Q, QuerySet, Subquery
from django.db.models.functions import Coalesce

from jobstore.models import DjangoJob, DjangoJobExecution

# The newest runs of a job that its average duration is computed from.
AVERAGED_RUNS = 50

Run = DjangoJobExecution

# When a run that runs began: its row says so only when it has ended, so its claim counts.
BEGAN = Coalesce("started_at", "claimed_at")


def with_latest(jobs: QuerySet[DjangoJob]) -> QuerySet[DjangoJob]:
    """Add each job's last run, how many run now, and when its AVERAGED_RUNS newest began."""
    runs = Run.objects.filter(job=OuterRef("pk")).order_by("-run_time")
    running = runs.filter(status=Run.RUNNING).order_by().values("job").annotate(number=Count("pk"))
    return jobs.defer("job_state").annotate(
        last_run=Subquery(runs.values("pk")[:1]),
        last_status=Subquery(runs.values("status")[:1]),
        last_run_time=Subquery(runs.values("run_time")[:1]),
        running=Coalesce(Subquery(running.values("number")), 0),
        running_since=Subquery(
            running.annotate(since=Min(BEGAN)).values("since"), output_field=DateTimeField()
        ),
        recent_since=Subquery(runs.values("run_time")[AVERAGED_RUNS - 1 : AVERAGED_RUNS]),
    )


def usual_durations(job_ids: Collection[str]) -> dict[str, float]:
    """Return the usual duration of jobs in seconds, for jobs with recent successful runs."""
    jobs = with_latest(DjangoJob.all_objects.filter(pk__in=job_ids).order_by())
    return {job.pk: job.average for job in add_averages(jobs) if job.average is not None}


def add_averages(jobs: Iterable[Any]) -> list[Any]:
    """Set `average` on jobs of `with_latest`: seconds of recent successful runs, or None.

    One statement reads a short range of each job's runs. Averages are computed here: if databases
    had to group runs or compare the status, they would read the whole history.
    """
    jobs = list(jobs)
    recent = [
        Q(job=job.pk, run_time__gte=job.recent_since) if job.recent_since else Q(job=job.pk)
        for job in jobs
    ]
    lengths = collections.defaultdict(list)
    if recent:
        runs = Run.objects.filter(functools.reduce(operator.or_, recent)).order_by()
        for job_id, status, duration in runs.values_list("job", "status", "duration"):
            if status == Run.SUCCESS and duration is not None:
                lengths[job_id].append(float(duration))
    for job in jobs:
        job.average = statistics.fmean(lengths[job.pk]) if lengths[job.pk] else None
    return jobs
