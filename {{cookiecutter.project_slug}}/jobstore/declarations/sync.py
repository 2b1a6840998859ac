"""Brings stored jobs in line with what the code declares, in few statements for any number of jobs.

One declaration's failure is its own: it is told, and its stored job stays as it is.
"""

import dataclasses
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from apscheduler.job import Job
from apscheduler.util import convert_to_datetime
from django.db import DatabaseError, DataError, IntegrityError, connections, models, transaction
from django.db.models.expressions import DatabaseDefault

from jobstore.database.notifications import notify
from jobstore.declarations import discovery
from jobstore.declarations.declaration import (
    Collected,
    Declaration,
    DeclarationError,
    NeverRuns,
    Problem,
)
from jobstore.declarations.validation import set_first_run
from jobstore.jobstores import DjangoJobStore, initial_values
from jobstore.leadership.lease import Term, assert_holder
from jobstore.leadership.losses import ended_by_themselves
from jobstore.models import (
    REPLACED,
    DeclarationProblem,
    DjangoJob,
    DjangoJobExecution,
    database_now,
    first_version,
)
from jobstore.schedules.wording import describe
from jobstore.storage import edits, replacement
from jobstore.texts import flattened
from jobstore.util import as_aware

logger = logging.getLogger("jobstore.registry")

# Jobs written in one transaction, which keeps the lease from being renewed for as long.
BATCH_JOBS = 2500
# What the decision about a stored job needs; states are long.
COMPARED_COLUMNS = ("declaration", "declared_in", "func", "trigger", "retired_at", "quarantined_at")

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Change:
    """What a sync does to one job: "add", "update" or "retire"."""

    action: str
    job_id: str
    trigger: str = ""


@dataclasses.dataclass
class Outcome:
    """What a sync did, and what is wrong with declarations."""

    changes: list[Change] = dataclasses.field(default_factory=list)
    problems: list[Problem] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Wanted:
    """A job that is to be written."""

    declaration: Declaration
    job: Job
    values: Row = dataclasses.field(default_factory=dict)

    @property
    def id(self) -> str:
        """The id of the job."""
        return self.declaration.id


def bring_in_line(
    store: DjangoJobStore,
    collected: Collected,
    *,
    dry_run: bool = False,
    term: Term | None = None,
    start_of: str = "",
) -> Outcome:
    """Add, update and retire stored jobs; write down the problems of declarations.

    Everything is prepared before the first transaction begins, and each transaction asserts the
    lease: a process that was paused in between changes nothing.

    :raises NotHolder: if the lease is not held with this term.
    """
    return _Sync(store, collected, term).run(dry_run, start_of)


class _Sync:
    def __init__(self, store: DjangoJobStore, collected: Collected, term: Term | None) -> None:
        self.store, self.using, self.term = store, store.using, term
        self.collected = collected
        self.outcome = Outcome(problems=list(collected.problems))

    def run(self, dry_run: bool, start_of: str) -> Outcome:
        self.now = as_aware(database_now(self.using))
        stored = (
            DjangoJob.all_objects.using(self.using).exclude(declaration="").only(*COMPARED_COLUMNS)
        )
        rows = {row.pk: row for row in stored}
        wanted = self._wanted(rows)
        leaving = self._leaving(rows)
        if dry_run:
            self._plan(wanted)
        else:
            for batch in _batched(wanted, BATCH_JOBS):
                with transaction.atomic(using=self.using):
                    self._assert_holder()
                    self._write(batch)
                    notify(self.using)
            self._settle(rows, leaving, start_of)
        retired = [Change("retire", row.pk, row.trigger) for row in leaving]
        self.outcome.changes = sorted(self.outcome.changes, key=lambda one: one.job_id) + retired
        for change in self.outcome.changes if not dry_run else ():
            logger.info("%s job %s %s", change.action, change.job_id, change.trigger)
        return self.outcome

    def _assert_holder(self) -> None:
        if self.term is not None:
            assert_holder(self.term, self.using)

    # --- What is to be done -----------------------------------------------------------------------

    def _wanted(self, rows: dict[str, DjangoJob]) -> list[Wanted]:
        wanted = []
        for job_id, (declaration, job) in self.collected.jobs.items():
            row = rows.get(job_id)
            # A quarantined job is stored anew: whatever was wrong may be right in this version.
            if row and row.declaration == declaration.digest and row.quarantined_at is None:
                continue
            try:
                set_first_run(job, declaration, self.now)
                values = self.store._values(job)
            except NeverRuns as error:
                self._report(declaration.problem(str(error), is_fatal=False))
            except DeclarationError as error:
                self._report(declaration.problem(str(error)))
            except Exception as error:
                self._report(_unwritten(declaration, error))
            else:
                wanted.append(Wanted(declaration, job, values))
        return wanted

    def _leaving(self, rows: dict[str, DjangoJob]) -> list[DjangoJob]:
        """Return jobs that left the code; what is declared wrongly, or cannot be read, did not."""
        collected = self.collected
        declared = {*collected.jobs, *(one.id for one in collected.left_out)}
        functions = {one.reference for one in collected.left_out}
        failed = collected.failed

        def is_unknown(row: DjangoJob) -> bool:
            in_failed = not row.declared_in or discovery.is_of(row.declared_in, failed)
            return row.func in functions or (bool(failed) and in_failed)

        gone = (rows[job_id] for job_id in sorted(set(rows) - declared))
        return [row for row in gone if row.retired_at is None and not is_unknown(row)]

    def _plan(self, wanted: list[Wanted]) -> None:
        live = DjangoJob.objects.using(self.using)
        for batch in _batched(wanted, BATCH_JOBS):
            known = set(live.filter(pk__in=[one.id for one in batch]).values_list("pk", flat=True))
            for one in batch:
                self._note(one, "update" if one.id in known else "add")

    # --- Jobs -------------------------------------------------------------------------------------

    def _write(self, batch: Sequence[Wanted]) -> None:
        rows = DjangoJob.all_objects.using(self.using).select_for_update()
        known = {row.pk: row for row in rows.filter(pk__in=[one.id for one in batch])}
        new = [one for one in batch if one.id not in known]
        there = [one for one in batch if one.id in known]
        for one in new:
            self._note(one, "add")
        back = [one for one in there if known[one.id].retired_at is not None]
        for one in back:  # nothing of the job that was retired passes to this one
            one.values = initial_values() | one.values
            self._note(one, "add")
        kept: list[Wanted] = []
        for one in there:
            if known[one.id].retired_at is not None:
                continue
            try:
                self._keep_schedule(one, known[one.id])
            except Exception as error:
                self._report(_unwritten(one.declaration, error))
            else:
                kept.append(one)
                self._note(one, "update")
        self._confined(new, self._insert)
        self._cancel_waiting([known[one.id] for one in back])
        self._confined(back, self._update)
        self._confined(kept, self._update)

    def _cancel_waiting(self, retired: list[DjangoJob]) -> None:
        """See that no run waits of jobs that were retired; those that ended may owe one."""
        ended = ended_by_themselves(retired, self.using)
        if others := [row.pk for row in retired if row.pk not in ended]:
            jobs = DjangoJob.all_objects.using(self.using).filter(pk__in=others)
            DjangoJobExecution.objects.db_manager(self.using).cancel_waiting(jobs, REPLACED)

    def _keep_schedule(self, one: Wanted, row: DjangoJob) -> None:
        edited, on_lost = edits.keep(one.job, one.declaration.on_lost, row)
        replacement.keep_schedule(one.job, row)
        given = one.declaration.options.get("next_run_time")
        if given is not None and row.next_run_time is not None:
            at = convert_to_datetime(given, one.job._scheduler.timezone, "next_run_time")
            if at > self.now:
                one.job.next_run_time = at
        one.values = self.store._values(one.job) | {"edited": edited, "on_lost": on_lost}

    def _confined(self, jobs: list[Wanted], write: Callable[[Sequence[Wanted]], None]) -> None:
        """Write all at once; if that fails, one by one, so that one failure is that one's."""
        if not jobs:
            return
        try:
            with transaction.atomic(using=self.using):
                write(jobs)
            return
        except Exception as error:
            if not _is_of_values(error):
                raise
        for one in jobs:
            try:
                with transaction.atomic(using=self.using):
                    write([one])
            except Exception as error:
                if not _is_of_values(error):
                    raise
                self._report(_unwritten(one.declaration, error))
                changes = self.outcome.changes
                changes[:] = [change for change in changes if change.job_id != one.id]

    def _insert(self, jobs: Sequence[Wanted]) -> None:
        rows = [DjangoJob(pk=one.id, version=first_version(), **self._values(one)) for one in jobs]
        fields = [
            field
            for field in DjangoJob._meta.concrete_fields
            if not isinstance(getattr(rows[0], field.attname), DatabaseDefault)
        ]
        columns = ", ".join(self._quoted(field) for field in fields)
        places = ", ".join(["%s"] * len(fields))
        self._execute(
            f"INSERT INTO {DjangoJob._meta.db_table} ({columns}) VALUES ({places})",  # noqa: S608 - names
            [self._prepared(fields, row) for row in rows],
        )

    def _update(self, jobs: Sequence[Wanted]) -> None:
        rows = [DjangoJob(pk=one.id, **self._values(one)) for one in jobs]
        written = {*self._values(jobs[0])}
        fields = [field for field in DjangoJob._meta.concrete_fields if field.name in written]
        changes = ", ".join(f"{self._quoted(field)} = %s" for field in fields)
        self._execute(
            f"UPDATE {DjangoJob._meta.db_table} SET {changes}, version = version + 1 WHERE id = %s",  # noqa: S608 - names
            [[*self._prepared(fields, row), row.pk] for row in rows],
        )

    def _values(self, one: Wanted) -> Row:
        return {
            "on_lost": one.declaration.on_lost,
            **one.values,
            "declaration": one.declaration.digest,
            "declared_in": one.declaration.place.module[:255],
        }

    def _execute(self, statement: str, rows: list[list[Any]]) -> None:
        """Send one statement for all rows: composing them by Django takes a second per 1,000."""
        with connections[self.using].cursor() as cursor:
            cursor.executemany(statement, rows)

    def _quoted(self, field: "models.Field[Any, Any]") -> str:
        return connections[self.using].ops.quote_name(str(field.column))

    def _prepared(self, fields: Iterable["models.Field[Any, Any]"], row: DjangoJob) -> list[Any]:
        connection = connections[self.using]
        return [
            field.get_db_prep_save(getattr(row, field.attname), connection=connection)
            for field in fields
        ]

    # --- The rest ---------------------------------------------------------------------------------

    def _settle(self, rows: dict[str, DjangoJob], leaving: list[DjangoJob], start_of: str) -> None:
        """Retire what left the code, write the problems down, and ask for runs at the start."""
        problems = _Problems(self.outcome.problems, self.using)
        moved = self._moved(rows)
        at_start = [
            job_id
            for job_id, (declaration, _) in self.collected.jobs.items()
            if declaration.run_at_start and start_of
        ]
        if not (leaving or moved or at_start or problems.differ):
            return
        with transaction.atomic(using=self.using):
            self._assert_holder()
            for batch in _batched(leaving, BATCH_JOBS):
                live = DjangoJob.objects.using(self.using).filter(pk__in=[row.pk for row in batch])
                live.update(declaration="")  # so that it is added if it ever comes back
                live.retire("The job left the code")
            for module, ids in moved.items():
                # No change of the job: claims that are under way need not notice.
                jobs: models.QuerySet[DjangoJob] = models.QuerySet(DjangoJob, using=self.using)
                jobs.filter(pk__in=ids).update(declared_in=module)
            problems.write()
            self._request(at_start, start_of)

    def _moved(self, rows: dict[str, DjangoJob]) -> dict[str, list[str]]:
        """Return, by module, the unchanged jobs that another module declares than before."""
        moved: dict[str, list[str]] = {}
        for job_id, (declaration, _) in self.collected.jobs.items():
            row, module = rows.get(job_id), declaration.place.module[:255]
            is_unchanged = row is not None and row.declaration == declaration.digest
            if row is not None and is_unchanged and row.declared_in != module:
                moved.setdefault(module, []).append(job_id)
        return moved

    def _request(self, job_ids: list[str], start_of: str) -> None:
        if not job_ids:
            return
        runs = DjangoJobExecution.objects.db_manager(self.using)
        requested = runs.filter(
            status=DjangoJobExecution.REQUESTED, requested_by__startswith="start "
        )
        waiting = set(requested.values_list("job_id", flat=True))
        # One whose reply was lost was asked for all the same.
        waiting |= set(runs.filter(requested_by=start_of).values_list("job_id", flat=True))
        live = DjangoJob.objects.using(self.using).filter(
            pk__in=job_ids, next_run_time__isnull=False, quarantined_at=None
        )
        for job_id in live.values_list("pk", flat=True):
            if job_id not in waiting:
                runs.request(job_id, start_of)

    def _note(self, one: Wanted, action: str) -> None:
        self.outcome.changes.append(Change(action, one.id, describe(one.job.trigger)))

    def _report(self, problem: Problem) -> None:
        self.outcome.problems.append(problem)


class _Problems:
    """The problems as they are stored, and as they are to be."""

    def __init__(self, problems: Iterable[Problem], using: str) -> None:
        self._using = using
        self._wanted: dict[str, Problem] = {}
        for one in problems:
            same = self._wanted.get(one.subject)
            if same is not None and one.text not in same.text:
                is_fatal = same.is_fatal or one.is_fatal
                one = Problem(one.subject, f"{same.text} {one.text}", same.place, is_fatal)
            self._wanted[one.subject] = one
        stored = {
            row.subject: Problem(row.subject, row.text, row.place, row.is_fatal)
            for row in DeclarationProblem.objects.using(using)
        }
        self._gone = [subject for subject in stored if stored[subject] != self._shown(subject)]
        self._new = [
            subject for subject in self._wanted if stored.get(subject) != self._shown(subject)
        ]

    def _shown(self, subject: str) -> Problem | None:
        """Return the problem as it can be stored."""
        one = self._wanted.get(subject)
        return one and dataclasses.replace(one, place=one.place[-500:])

    @property
    def differ(self) -> bool:
        """Whether anything is to be written."""
        return bool(self._gone or self._new)

    def write(self) -> None:
        """Replace what differs."""
        if not self.differ:
            return
        rows = DeclarationProblem.objects.using(self._using)
        rows.filter(pk__in=self._gone).delete()
        now = database_now(self._using)
        rows.bulk_create(
            DeclarationProblem(noticed_at=now, **dataclasses.asdict(problem))
            for subject in self._new
            if (problem := self._shown(subject))
        )


def _is_of_values(error: Exception) -> bool:
    """Tell whether what was written is at fault, and not the database or its tables."""
    return isinstance(error, DataError | IntegrityError) or not isinstance(error, DatabaseError)


def _unwritten(declaration: Declaration, error: Exception) -> Problem:
    text = f"Job {declaration.id!r} cannot be stored, its stored job stays: {flattened(error)}"
    return declaration.problem(f"{text.rstrip('.')}.")


def _batched(items: Sequence[Any], size: int) -> Iterable[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))
