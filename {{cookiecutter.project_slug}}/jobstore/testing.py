"""Helpers for your own tests: run a declared job now, and see when jobs are due.

The project's `conftest.py` switches them on, with `pytest_plugins = ["jobstore.testing"]`. A test
asks for the fixture `job_runner`:

    def test_the_report_is_written(job_runner):
        run = job_runner.run("monthly-report")
        assert run.status == "Executed"
"""

import contextlib
import datetime as dt
import heapq
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import pytest
from apscheduler.job import Job
from django.conf import settings
from django.utils import timezone

from jobstore import registry
from jobstore.claims.plan import plan
from jobstore.declarations.declaration import Collected, Declaration, DeclarationError, NeverRuns
from jobstore.declarations.validation import set_first_run
from jobstore.execution import run as runs
from jobstore.history import progress
from jobstore.jobstores import DjangoJobStore
from jobstore.models import DjangoJob, DjangoJobExecution
from jobstore.process.scheduler import SchedulerProcess
from jobstore.util import get_django_internal_datetime

# A day, or a moment in the project's TIME_ZONE unless it says another: "2026-11-01 03:30".
Moment = dt.datetime | dt.date | str
JobOrId = str | Callable[..., Any]
# Run times that are computed at once. More are a mistake in the dates or in the trigger.
MAX_RUNS = 10_000

T = TypeVar("T")


@pytest.fixture
def job_runner(transactional_db: None) -> "JobRunner":
    """Run declared jobs in a test, and ask when they are due.

    Jobs run outside of a transaction, as under a scheduler. So the test has a `transactional_db`,
    and what jobs hand to `transaction.on_commit` is called.
    """
    return JobRunner()


class JobRunner:
    """Runs declared jobs in this thread, without a scheduler, and keeps their history."""

    def __init__(self) -> None:
        self._store = DjangoJobStore()
        # Never started: it only knows the zone and the executors.
        self._scheduler = SchedulerProcess().scheduler
        self._collected: Collected | None = None
        self._is_stored = False

    def run(self, job: JobOrId, *, check: bool = True) -> DjangoJobExecution:
        """Run a declared job once, in this thread; return its row in the history.

        As under a scheduler, the job is stored, signed and read back before. Its row holds the
        last progress that it told; progress that makes no sense raises ValueError here.

        :param job: its id, or its function.
        :param check: whether to raise what the job raises. If not, only the row shows it.
        :raises DeclarationError: if the job is declared wrongly.
        :raises LookupError: if no job is declared so, or several are.
        """
        return self._run(self._declared(job)[0].id, _now(), check)

    def run_times(self, job: JobOrId, start: Moment, end: Moment) -> list[dt.datetime]:
        """Return when a job is due from `start` on and before `end`, in the project's TIME_ZONE.

        An interval without a `start_date` begins one interval after `start`.

        :raises ValueError: if these are more than 10,000 times, or the dates make no sense.
        """
        declaration, declared = self._declared(job)
        zone = self._scheduler.timezone
        times = _times(declaration, declared, *_span(start, end))
        return [time.astimezone(zone) for time in _bounded(times)]

    def timetable(
        self, start: Moment, end: Moment, *jobs: JobOrId
    ) -> list[tuple[dt.datetime, str]]:
        """Return when each job is due from `start` on and before `end`, in order.

        :param jobs: the jobs to look at; without any, all that are declared.
        :raises ValueError: if these are more than 10,000 times, or the dates make no sense.
        """
        chosen = [self._declared(job) for job in jobs] or list(self._all().jobs.values())
        first, last = _span(start, end)
        zone = self._scheduler.timezone

        def of(declaration: Declaration, job: Job) -> Iterator[tuple[dt.datetime, str]]:
            for time in _times(declaration, job, first, last):
                yield time.astimezone(zone), declaration.id

        merged = heapq.merge(*(of(*one) for one in chosen), key=lambda one: one[0].timestamp())
        return _bounded(merged)

    def play(
        self, start: Moment, end: Moment, *jobs: JobOrId, check: bool = True
    ) -> list[DjangoJobExecution]:
        """Run jobs at all their times from `start` on and before `end`, one after the other.

        During each run the clock shows its scheduled time, so a month passes in seconds. It needs
        the package time-machine.

        :param jobs: the jobs to run; without any, all that are declared.
        :param check: whether to raise what a job raises. If not, only its row shows it.
        :raises ValueError: if these are more than 10,000 runs, or the dates make no sense.
        """
        import time_machine

        played = []
        for time, job_id in self.timetable(start, end, *jobs):
            with time_machine.travel(time.astimezone(dt.UTC)):
                played.append(self._run(job_id, time, check))
        return played

    def assert_run_times(
        self, job: JobOrId, start: Moment, end: Moment, expected: list[str]
    ) -> None:
        """Fail unless a job is due at exactly these times, written as "2026-11-01 03:30"."""
        found = [f"{time:%Y-%m-%d %H:%M:%S}" for time in self.run_times(job, start, end)]
        wanted = [f"{_moment(text):%Y-%m-%d %H:%M:%S}" for text in expected]
        missing = [text for text in wanted if text not in found]
        surplus = [text for text in found if text not in wanted]
        if missing or surplus:
            pytest.fail(
                f"{job if isinstance(job, str) else job.__qualname__} is due at other times"
                + "".join(f"\n  not at {text}" for text in missing)
                + "".join(f"\n  but at {text}" for text in surplus),
                pytrace=False,
            )

    def _all(self) -> Collected:
        if self._collected is None:
            self._collected = registry.collect(self._scheduler)
        return self._collected

    def _declared(self, job: JobOrId) -> tuple[Declaration, Job]:
        collected = self._all()
        if isinstance(job, str) and job in collected.jobs:
            return collected.jobs[job]
        same = [one for one in collected.jobs.values() if one[0].func is job]
        if len(same) == 1:
            return same[0]
        if same:
            ids = ", ".join(repr(declaration.id) for declaration, _ in same)
            raise LookupError(f"{job} is declared as several jobs; name one of them: {ids}.")
        for problem in collected.fatal:
            if problem.subject == job or any(
                one.func is job and one.id == problem.subject for one in collected.left_out
            ):
                raise DeclarationError(str(problem))
        ids = ", ".join(map(repr, collected.jobs))
        others = "".join(f" {problem}" for problem in collected.fatal)
        raise LookupError(f"No job is declared as {job!r}, only {ids or 'none'}.{others}")

    def _run(self, job_id: str, at: dt.datetime, check: bool) -> DjangoJobExecution:
        if not self._is_stored:
            registry.sync(self._store, self._scheduler, collected=self._all())
            self._is_stored = True
        job = self._store.restore_or_raise(DjangoJob.objects.get(pk=job_id))
        row = DjangoJobExecution.objects.create(
            job_id=job_id,
            status=DjangoJobExecution.RUNNING,
            run_time=get_django_internal_datetime(at),
            claimed_at=get_django_internal_datetime(_now()),
        )
        run = runs.ActiveRun(row.pk, job_id, at.astimezone(dt.UTC), func=job.func_ref or "")
        run.is_strict = True
        call = runs._tracked(job.func, [run], None, _now)
        raised: BaseException | None = None
        try:
            call(*job.args, **job.kwargs)
        except BaseException as error:
            raised = error
        row.status = DjangoJobExecution.ERROR if run.failed else DjangoJobExecution.SUCCESS
        row.started_at = get_django_internal_datetime(run.started_at)
        row.finished = get_django_internal_datetime(run.finished)
        row.duration = run.duration
        row.note = run.note
        told = progress.values(run.latest) if run.latest is not None else {}
        for name, value in {**told, **(run.details or {})}.items():
            setattr(row, name, value)
        row.save()
        row.refresh_from_db()
        if raised is not None and (check or isinstance(raised, KeyboardInterrupt)):
            raise raised
        return row


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _moment(value: Moment) -> dt.datetime:
    if isinstance(value, str):
        try:
            value = dt.datetime.fromisoformat(value)
        except ValueError:
            raise ValueError(
                f"{value!r} is not a date or a time; write it as 2026-11-01 or 2026-11-01 03:30."
            ) from None
    elif not isinstance(value, dt.datetime):
        value = dt.datetime.combine(value, dt.time())
    if timezone.is_aware(value):
        return value
    return value.replace(tzinfo=ZoneInfo(settings.TIME_ZONE))


def _span(start: Moment, end: Moment) -> tuple[dt.datetime, dt.datetime]:
    first, last = _moment(start), _moment(end)
    if last.astimezone(dt.UTC) <= first.astimezone(dt.UTC):
        raise ValueError(f"The end, {end}, is not after the start, {start}.")
    return first, last


def _times(
    declaration: Declaration, job: Job, start: dt.datetime, end: dt.datetime
) -> Iterator[dt.datetime]:
    """Yield when a job that was new at `start` is due, as the claim would compute it."""
    with contextlib.suppress(NeverRuns):
        set_first_run(job, declaration, start)
        while (due := job.next_run_time) is not None and due.astimezone(dt.UTC) < end:
            # A date that has passed is due at once for a new job.
            if due.astimezone(dt.UTC) >= start:
                yield due
            following = plan(job, 0, due).next_run_time
            job.next_run_time = following and following.astimezone(job._scheduler.timezone)


def _bounded(items: Iterable[T]) -> list[T]:
    found: list[T] = []
    for item in items:
        if len(found) == MAX_RUNS:
            raise ValueError(
                f"There are more than {MAX_RUNS:,} runs in this time; choose a shorter time, or"
                " fewer jobs."
            )
        found.append(item)
    return found
