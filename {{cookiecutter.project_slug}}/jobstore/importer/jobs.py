"""Jobs and history of django-apscheduler 0.6 and 0.7, copied from its tables into ours.

The package itself is not needed. Its tables are read by SQL through this app's models, so that
times are converted as in every other row.
"""

import contextlib
import dataclasses
import datetime as dt
import sys
from collections.abc import Callable, Collection, Iterator
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from apscheduler.job import Job
from apscheduler.jobstores.base import ConflictingIdError
from django import db
from django.db import connections, transaction

from jobstore.history import bounded
from jobstore.importer import unpickler
from jobstore.jobstores import DjangoJobStore
from jobstore.models import DjangoJob, DjangoJobExecution
from jobstore.schedules.wording import describe
from jobstore.storage import quarantine, serializer
from jobstore.texts import described
from jobstore.util import as_aware, get_django_internal_datetime

JOBS = "django_apscheduler_djangojob"
RUNS = "django_apscheduler_djangojobexecution"
# What must be there. Before 0.6 a job had a name beside its id, and a run knew its start.
NEEDED_COLUMNS = {
    JOBS: {"id", "next_run_time", "job_state"},
    RUNS: {"id", "job_id", "run_time", "finished"},
}
OUTDATED = {JOBS: {"name"}, RUNS: {"started"}}

# Rows read at once, and characters written at once: MariaDB takes statements of 16 MB.
BATCH_ROWS = 1000
BATCH_CHARACTERS = 1_000_000
# Reasons that a summary lists; the rest are counted.
MAX_REASONS = 20

# Stands in `requested_by` of every run that was copied.
ORIGIN = "django-apscheduler"
UNFINISHED = "django-apscheduler had started this run and recorded no end of it."


class CannotImport(Exception):
    """There is nothing to import from, or nothing to import into; the text says what to do."""


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
    # What the table says about it, where the state says otherwise.
    column: dt.datetime | None = None
    executor: str = ""
    # The job itself, if it is to be copied.
    job: Job | None = None


@dataclasses.dataclass
class HistoryReport:
    """How many runs were read, and what became of them; read is the sum of the other four."""

    read: int = 0
    imported: int = 0
    completed: int = 0
    known: int = 0
    unreadable: int = 0
    first: dt.datetime | None = None
    last: dt.datetime | None = None
    reasons: list[str] = dataclasses.field(default_factory=list)

    def see(self, run_time: dt.datetime) -> None:
        """Widen the span of time."""
        self.first = min(self.first or run_time, run_time)
        self.last = max(self.last or run_time, run_time)

    def refuse(self, row: DjangoJobExecution, reason: object) -> None:
        """Count a run that cannot be copied, and remember why."""
        self.unreadable += 1
        if len(self.reasons) < MAX_REASONS:
            self.reasons.append(f"run of job {row.job_id!r} at {row.run_time}: {reason}")


class Source:
    """The old tables, which are only read."""

    def __init__(self, alias: str, zone: ZoneInfo | None = None) -> None:
        """Prepare to read from a configured database.

        :param zone: the TIME_ZONE of a project that had USE_TZ=False, if its database does not
            know time zones; None for times that are stored as this project stores its own.
        """
        self.alias = alias
        self._connection = connections[alias]
        # PostgreSQL stores the instant, whatever a project's settings say.
        self._zone = None if self._connection.features.supports_timezones else zone

    def require_tables(self) -> None:
        """Raise CannotImport unless both tables are there, as versions 0.6 and 0.7 make them."""
        for table, needed in NEEDED_COLUMNS.items():
            columns = columns_of(self.alias, table)
            if not columns:
                raise CannotImport(
                    f"Database {self.alias!r} ({self._connection.settings_dict['NAME']}) has no "
                    f"table {table}. If django-apscheduler kept its jobs in another database, add "
                    "that to DATABASES in config/settings.py and name it with --database."
                )
            if not columns >= needed or columns & OUTDATED[table]:
                raise CannotImport(
                    f"Table {table} is not as django-apscheduler 0.6 and 0.7 make it. In the old "
                    "project, install django-apscheduler 0.6.2 or 0.7.0 and run `python manage.py "
                    "migrate django_apscheduler` first."
                )

    def jobs(self) -> list[DjangoJob]:
        """Return all jobs; their `job_state` is the old, unsigned one."""
        rows = DjangoJob.all_objects.using(self.alias).raw(
            f"SELECT id, next_run_time, job_state FROM {JOBS} ORDER BY id"  # noqa: S608 - constant
        )
        return list(rows)

    def count_runs(self) -> int:
        """Return how many runs there are."""
        with self._connection.cursor() as cursor:
            cursor.execute(f"SELECT COUNT(*) FROM {RUNS}")  # noqa: S608 - constant
            return int(cursor.fetchone()[0])

    def runs(self, after: int) -> list[DjangoJobExecution]:
        """Return the next batch of runs, by id."""
        return self._runs("WHERE id > %s ORDER BY id", after)

    def latest_activity(self) -> dt.datetime | None:
        """Return the latest time in the newest batch of runs, aware; None without any run."""
        times: list[dt.datetime] = []
        for row in self._runs("ORDER BY id DESC"):
            with contextlib.suppress(ValueError):  # is reported when it is to be copied
                times.append(as_aware(self.when(row.run_time)))
                if (finished := moment(row)) is not None:
                    times.append(finished)
        return max(times, default=None)

    def _runs(self, which: str, *parameters: object) -> list[DjangoJobExecution]:
        columns = "id, job_id, status, run_time, exception, traceback, finished AS posix_finished"
        query = f"SELECT {columns} FROM {RUNS} {which} LIMIT {BATCH_ROWS}"  # noqa: S608 - constants
        rows = DjangoJobExecution.objects.using(self.alias).raw(query, parameters)
        return list(rows)

    def when(self, stored: dt.datetime | None) -> dt.datetime:
        """Return a time of the old tables as this project stores times.

        :raises ValueError: if there is none, as where SQLite holds text that is no time.
        """
        if stored is None:
            raise ValueError("its time cannot be read")
        if self._zone is None:
            return stored
        if stored.tzinfo is not None:
            stored = stored.astimezone(self._connection.timezone)
        return get_django_internal_datetime(stored.replace(tzinfo=self._zone))


def columns_of(alias: str, table: str) -> set[str]:
    """Return the names of a table's columns; none if there is no such table."""
    connection = connections[alias]
    with connection.cursor() as cursor:
        if table not in connection.introspection.table_names(cursor):
            return set()
        described = connection.introspection.get_table_description(cursor, table)
    return {column.name for column in described}


def moment(row: DjangoJobExecution) -> dt.datetime | None:
    """Return when a run of the old tables ended, which they hold as a POSIX timestamp.

    Raises ValueError for a timestamp that is none.
    """
    posix = row.__dict__["posix_finished"]  # only the raw query above knows it
    try:
        return None if posix is None else dt.datetime.fromtimestamp(float(posix), dt.UTC)
    except (OverflowError, OSError) as error:
        raise ValueError(str(error)) from error


# --- Jobs -----------------------------------------------------------------------------------------


def examine_jobs(source: Source, allowed: Collection[str] = ()) -> list[JobReport]:
    """Tell what is to become of each job of the old table. Nothing is written.

    Imports the modules of the project that the states name, and no others.

    :param allowed: functions and classes of others, as "module:name", that may be taken over.
    """
    stored = DjangoJob.all_objects.using(DjangoJobStore().using).values_list("pk", "retired_at")
    known = dict(stored)
    reports = []
    for row in source.jobs():
        report = JobReport(row.pk, JobReport.IMPORTED)
        try:
            # What modules print while they are imported must not look like lines of the report.
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
    """Tell whether every next run time in the table is another than in the job's own state."""
    due = [report for report in reports if report.next_run_time is not None]
    return bool(due) and all(report.column is not None for report in due)


def store_jobs(reports: list[JobReport]) -> Iterator[JobReport]:
    """Store the examined jobs one by one, each in its own transaction; yield what came of each."""
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
        # Whatever stands in a state takes part in this; it must not stop the other jobs.
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
    """Set when the job runs next; return what the column says if that is another time.

    The column decides whether the job is paused. Of two times the state's is right: it has its
    zone with it, and it is the one that the job ran by.
    """
    pickled, job.next_run_time = job.next_run_time, None
    if row.next_run_time is None:
        return None
    column = as_aware(source.when(row.next_run_time))
    job.next_run_time = column if pickled is None else column.astimezone(pickled.tzinfo)
    # Compared on the clock on the wall, since pytz's zones lose which of two equal hours it was.
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
    except BaseException as error:  # modules are imported, and one may call sys.exit()
        raise UnreadableRow(f"its state cannot be unpickled: {described(error)}") from error
    if not isinstance(loaded, dict) or not loaded.keys() >= {"func", "trigger", "next_run_time"}:
        raise UnreadableRow("its state is not a job's")
    return loaded


# --- History --------------------------------------------------------------------------------------


def import_history(
    source: Source, *, apply: bool, progress: Callable[[HistoryReport], None]
) -> HistoryReport:
    """Copy the history in batches, so that it may be interrupted; what is there stays as it is.

    :param progress: called after each batch.
    """
    report = HistoryReport()
    after = 0
    while batch := source.runs(after):
        after = batch[-1].pk
        _import_batch(batch, source, report, apply=apply)
        progress(report)
    return report


def _import_batch(
    batch: list[DjangoJobExecution], source: Source, report: HistoryReport, *, apply: bool
) -> None:
    using = DjangoJobStore().using
    runs = DjangoJobExecution.objects.using(using)
    fresh: dict[tuple[str, dt.datetime], DjangoJobExecution] = {}
    for row in batch:
        report.read += 1
        try:
            run = _run(row, source)
        except ValueError as error:
            report.refuse(row, error)
            continue
        report.see(run.run_time)
        report.known += (run.job_id, run.run_time) in fresh
        fresh.setdefault((run.job_id, run.run_time), run)
    there = runs.filter(
        job__in={job_id for job_id, _ in fresh}, run_time__in={time for _, time in fresh}
    )
    for found in there.defer("exception", "traceback"):
        key = (found.job_id, found.run_time)
        if key not in fresh:
            continue
        run = fresh.pop(key)
        # It was running when it was copied the first time.
        was_unfinished = found.requested_by == ORIGIN and found.status == DjangoJobExecution.LOST
        if not was_unfinished or run.status == DjangoJobExecution.LOST:
            report.known += 1
            continue
        report.completed += 1
        if apply:
            run.pk = found.pk
            run.save(using=using, force_update=True)
    report.imported += len(fresh)
    for portion in _portions(list(fresh.values())) if apply else ():
        runs.bulk_create(portion, ignore_conflicts=True)


def _run(row: DjangoJobExecution, source: Source) -> DjangoJobExecution:
    """Return a run of the old table as ours.

    Their duration counts from the scheduled time, whatever the job waited for, so it is not ours.
    It is not lost either: it is `finished` minus `run_time`. Raises ValueError for what only SQLite
    could hold.
    """
    if not (isinstance(row.job_id, str) and isinstance(row.status, str)):
        raise ValueError("it names no job, or no status")
    if len(row.job_id) > serializer.MAX_ID or "\x00" in row.job_id:
        raise ValueError(f"a job's id has at most {serializer.MAX_ID} characters, and no NUL")
    run = DjangoJobExecution(
        job_id=row.job_id,
        status=bounded.clean(row.status)[:50],
        run_time=source.when(row.run_time),
        finished=get_django_internal_datetime(moment(row)),
        exception=None if row.exception is None else bounded.clean(row.exception),
        traceback=None if row.traceback is None else bounded.clean(row.traceback),
        requested_by=ORIGIN,
    )
    # Nothing here may look as if it were to be run, or were running.
    if run.status in DjangoJobExecution.UNFINISHED:
        run.status, run.exception = DjangoJobExecution.LOST, UNFINISHED
    return run


def _portions(runs: list[DjangoJobExecution]) -> Iterator[list[DjangoJobExecution]]:
    portion: list[DjangoJobExecution] = []
    characters = 0
    for run in runs:
        portion.append(run)
        characters += len(run.exception or "") + len(run.traceback or "")
        if characters > BATCH_CHARACTERS:
            yield portion
            portion, characters = [], 0
    yield portion
