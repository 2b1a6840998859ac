"""Brings stored jobs in line with the declarations, in few statements for any number of jobs.

A declaration that fails is reported, and its stored job stays as it is. It does not affect others.
"""

import dataclasses
import logging
from collections.abc import Callable, Sequence

from apscheduler.util import convert_to_datetime
from django.db import DatabaseError, DataError, IntegrityError, models, transaction

from jobstore.batches import batched
from jobstore.database.notifications import notify
from jobstore.declarations import discovery
from jobstore.declarations.declaration import (
    Collected,
    Declaration,
    DeclarationError,
    NeverRuns,
    Problem,
)
from jobstore.declarations.problems import StoredProblems
from jobstore.declarations.rows import JobRows, Wanted
from jobstore.declarations.validation import set_first_run
from jobstore.jobstores import DjangoJobStore, initial_values
from jobstore.leadership.lease import Term, assert_holder
from jobstore.leadership.losses import ended_by_themselves
from jobstore.models import (
    REPLACED,
    DjangoJob,
    DjangoJobExecution,
    database_now,
)
from jobstore.schedules.wording import describe
from jobstore.storage import edits, replacement
from jobstore.texts import flattened
from jobstore.util import as_aware

logger = logging.getLogger("jobstore.registry")

# Jobs written in one transaction. While it lasts, the lease cannot be renewed.
BATCH_JOBS = 2500
# The columns that the decision about a stored job needs, without the long state.
COMPARED_COLUMNS = ("declaration", "declared_in", "func", "trigger", "retired_at", "quarantined_at")


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


def bring_in_line(
    store: DjangoJobStore,
    collected: Collected,
    *,
    dry_run: bool = False,
    term: Term | None = None,
    start_of: str = "",
) -> Outcome:
    """Add, update and retire stored jobs; store the problems of declarations.

    Everything is prepared before the first transaction begins. Each transaction asserts the lease,
    so a process that was frozen in between changes nothing.

    :raises NotHolder: if the lease is not held with this term.
    """
    return _Sync(store, collected, term).run(dry_run, start_of)


class _Sync:
    def __init__(self, store: DjangoJobStore, collected: Collected, term: Term | None) -> None:
        self.store, self.using, self.term = store, store.using, term
        self.collected = collected
        self._rows = JobRows(store.using)
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
            for batch in batched(wanted, BATCH_JOBS):
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
            # A quarantined job is stored again: this version of the code may have repaired it.
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
        """Return jobs whose declaration is gone, not only wrong or in a file that fails."""
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
        for batch in batched(wanted, BATCH_JOBS):
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
        for one in back:  # it takes over nothing from the retired job
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
        self._confined(new, self._rows.insert)
        self._cancel_waiting([known[one.id] for one in back])
        self._confined(back, self._rows.update)
        self._confined(kept, self._rows.update)

    def _cancel_waiting(self, retired: list[DjangoJob]) -> None:
        """Cancel requested runs of retired jobs, except a lost run of a job that has ended."""
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
        """Write all at once; if that fails, one by one, so that one failure concerns one job."""
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

    # --- The rest ---------------------------------------------------------------------------------

    def _settle(self, rows: dict[str, DjangoJob], leaving: list[DjangoJob], start_of: str) -> None:
        """Retire jobs whose declaration is gone, store problems, and request runs at the start."""
        problems = StoredProblems(self.outcome.problems, self.using)
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
            for batch in batched(leaving, BATCH_JOBS):
                live = DjangoJob.objects.using(self.using).filter(pk__in=[row.pk for row in batch])
                live.update(declaration="")  # so that it is added if it is ever declared again
                live.retire("The job left the code")
            for module, ids in moved.items():
                # The job itself does not change, so a claim that is under way need not notice.
                jobs: models.QuerySet[DjangoJob] = models.QuerySet(DjangoJob, using=self.using)
                jobs.filter(pk__in=ids).update(declared_in=module)
            problems.write()
            self._request(at_start, start_of)

    def _moved(self, rows: dict[str, DjangoJob]) -> dict[str, list[str]]:
        """Return unchanged jobs that another module declares now, by that module."""
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
        # A request whose reply was lost may have been stored.
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


def _is_of_values(error: Exception) -> bool:
    """Tell whether the written values are at fault, and not the database or its tables."""
    return isinstance(error, DataError | IntegrityError) or not isinstance(error, DatabaseError)


def _unwritten(declaration: Declaration, error: Exception) -> Problem:
    text = f"Job {declaration.id!r} cannot be stored, its stored job stays: {flattened(error)}"
    return declaration.problem(f"{text.rstrip('.')}.")
