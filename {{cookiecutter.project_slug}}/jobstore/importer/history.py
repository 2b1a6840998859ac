"""The history of django-apscheduler, copied into ours."""

import dataclasses
import datetime as dt
from collections.abc import Callable, Iterator

from jobstore.history import bounded
from jobstore.importer.source import Source, moment
from jobstore.jobstores import DjangoJobStore
from jobstore.models import DjangoJobExecution
from jobstore.storage import serializer
from jobstore.util import get_django_internal_datetime

# Characters written at once: MariaDB takes statements of 16 MB.
BATCH_CHARACTERS = 1_000_000
# Reasons that a summary lists; the rest are counted.
MAX_REASONS = 20

# The content of `requested_by` of every copied run.
ORIGIN = "django-apscheduler"
UNFINISHED = "django-apscheduler had started this run and recorded no end of it."


@dataclasses.dataclass
class HistoryReport:
    """How many runs were read, and what became of them; `read` is the sum of the other four."""

    read: int = 0
    imported: int = 0
    completed: int = 0
    known: int = 0
    unreadable: int = 0
    first: dt.datetime | None = None
    last: dt.datetime | None = None
    reasons: list[str] = dataclasses.field(default_factory=list)

    def see(self, run_time: dt.datetime) -> None:
        """Extend the reported span of time to this run."""
        self.first = min(self.first or run_time, run_time)
        self.last = max(self.last or run_time, run_time)

    def refuse(self, row: DjangoJobExecution, reason: object) -> None:
        """Count a run that cannot be copied, and remember why."""
        self.unreadable += 1
        if len(self.reasons) < MAX_REASONS:
            self.reasons.append(f"run of job {row.job_id!r} at {row.run_time}: {reason}")


def import_history(
    source: Source, *, apply: bool, progress: Callable[[HistoryReport], None]
) -> HistoryReport:
    """Copy the history in batches, so that it may be interrupted. Existing rows stay as they are.

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
        # It was running when it was first copied.
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

    The old duration counts from the scheduled time and includes the wait, so it is not copied. It
    can still be computed: `finished` minus `run_time`.

    :raises ValueError: for values that only SQLite could hold.
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
    # No copied run may look as if it were requested or running.
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
