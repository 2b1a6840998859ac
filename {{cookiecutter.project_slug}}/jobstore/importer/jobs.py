"""Jobs of django-apscheduler 0.6 and 0.7, copied from its table into ours."""

import contextlib
import dataclasses
import datetime as dt
import sys
from collections.abc import Collection, Iterator
from typing import Any, ClassVar

from apscheduler.job import Job
from apscheduler.jobstores.base import ConflictingIdError
from django import db
from django.db import transaction

from jobstore.importer import unpickler
from jobstore.importer.source import Source
from jobstore.jobstores import DjangoJobStore
from jobstore.models import DjangoJob
from jobstore.schedules.wording import describe
from jobstore.storage import quarantine, serializer
from jobstore.texts import described
from jobstore.util import as_aware


class UnreadableRow(Exception):
    """A row that cannot be copied; the text says why."""


@dataclasses.dataclass
class JobReport:
    """What becomes of one job. `action` is one of the five below."""

    IMPORTED: ClassVar[str] = "import"
    QUARANTINED: ClassVar[str] = "quarantine"
    KNOWN: ClassVar[str] = "already there"
    UNREADABLE: ClassVar[str] = "unreadable"
    FOREIGN: ClassVar[str] = "not allowed"

    job_id: str
    action: str
    text: str = ""
    # What it would call, with its arguments, as far as that is known.
    call: str = ""
    next_run_time: dt.datetime | None = None
    # The next run time in the table, if the state has another one.
    column: dt.datetime | None = None
    executor: str = ""
    # The job itself, if it is to be copied.
    job: Job | None = None


def examine_jobs(source: Source, allowed: Collection[str] = ()) -> list[JobReport]:
    """Report what the import would do with each job of the old table. Nothing is written.

    Imports the modules of the project that the states name, and no others.

    :param allowed: functions and classes outside the project, as "module:name", that may be used.
    """
    stored = DjangoJob.all_objects.using(DjangoJobStore().using).values_list("pk", "retired_at")
    known = dict(stored)
    reports = []
    for row in source.jobs():
        report = JobReport(row.pk, JobReport.IMPORTED)
        try:
            # Modules may print when they are imported; that must not look like the report.
            with contextlib.redirect_stdout(sys.stderr):
                _examine(row, source, report, allowed)
        except UnreadableRow as error:
            report.action, report.text = JobReport.UNREADABLE, str(error)
        except unpickler.Foreign as error:
            report.action, report.text = JobReport.FOREIGN, str(error)
        if row.pk in known:
            report.action, report.job = JobReport.KNOWN, None
            report.text = "retired here" if known[row.pk] else ""
        reports.append(report)
    return reports


def disagree(reports: list[JobReport]) -> bool:
    """Tell whether every next run time in the table differs from the one in the job's state."""
    due = [report for report in reports if report.next_run_time is not None]
    return bool(due) and all(report.column is not None for report in due)


def store_jobs(reports: list[JobReport]) -> Iterator[JobReport]:
    """Store the examined jobs, each in its own transaction; yield the report of each."""
    store = DjangoJobStore()
    for report in reports:
        if report.job is not None:
            try:
                _store(report.job, report, store)
            except ConflictingIdError:
                report.action = JobReport.KNOWN
            except (db.DataError, OverflowError, ValueError) as error:
                report.action, report.text = JobReport.UNREADABLE, f"it cannot be stored: {error}"
        yield report


def _examine(row: DjangoJob, source: Source, report: JobReport, allowed: Collection[str]) -> None:
    if not isinstance(row.job_state, bytes | memoryview):
        raise UnreadableRow("it has no state, which would be bytes")
    loaded = _unpickle(bytes(row.job_state), allowed)
    try:
        job = _assemble(row.pk, loaded)
        report.column = _settle_next_run_time(job, row, source)
        report.next_run_time, report.text = job.next_run_time, describe(job.trigger)
        report.executor = job.executor
        for name, value in serializer.values(job).items():
            setattr(row, name, value)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # Objects of the state take part in this; one that raises must not stop the other jobs.
        raise UnreadableRow(f"its state cannot be stored: {described(error)}") from error
    report.call = f"{row.func}({row.arguments})"
    reference = str(loaded["func"])
    unpickler.require_known(reference, allowed)
    try:
        unpickler.require_own(serializer.restore(row).func, reference, allowed)
    except serializer.UnreadableState as error:
        report.action, report.text = JobReport.QUARANTINED, str(error)
    report.job = job


def _assemble(job_id: str, loaded: dict[str, Any]) -> Job:
    """Return a job with this state, whether or not its function can be found."""
    job = Job.__new__(Job)
    for name, value in loaded.items():
        if name not in ("version", "func"):
            setattr(job, name, value)
    job.id, job.func_ref, job.func = job_id, loaded["func"], None
    return job


def _settle_next_run_time(job: Job, row: DjangoJob, source: Source) -> dt.datetime | None:
    """Set when the job runs next; return the column's time if it differs.

    The column decides whether the job is paused. If the times differ, the state's is right: it has
    a zone, and the old scheduler used it.
    """
    pickled, job.next_run_time = job.next_run_time, None
    if row.next_run_time is None:
        return None
    column = as_aware(source.when(row.next_run_time))
    job.next_run_time = column if pickled is None else column.astimezone(pickled.tzinfo)
    # Compared in local time, since pytz's zones lose which of two equal hours is meant.
    if pickled is None or _wall(job.next_run_time) == _wall(pickled):
        return None
    job.next_run_time = pickled
    return column


def _wall(when: dt.datetime) -> dt.datetime:
    return when.replace(tzinfo=None, fold=0)


def _store(job: Job, report: JobReport, store: DjangoJobStore) -> None:
    with transaction.atomic(using=store.using):
        store.add_job(job)
        if report.action == JobReport.QUARANTINED:
            row = DjangoJob.objects.using(store.using).get(pk=job.id)
            quarantine.put(row, report.text, store.using)


def _unpickle(data: bytes, allowed: Collection[str]) -> dict[str, Any]:
    try:
        loaded = unpickler.Unpickler(data, allowed).load()
    except (KeyboardInterrupt, unpickler.Foreign):
        raise
    except BaseException as error:  # imports modules, and one may call sys.exit()
        raise UnreadableRow(f"its state cannot be unpickled: {described(error)}") from error
    if not isinstance(loaded, dict) or not loaded.keys() >= {"func", "trigger", "next_run_time"}:
        raise UnreadableRow("its state is not a job's")
    return loaded
