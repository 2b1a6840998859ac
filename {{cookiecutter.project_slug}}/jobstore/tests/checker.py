"""Looks over the store's shoulder: what each write did to the database, and whether it may.

It believes nothing that the store says. Before and after every claim, request, result and
declaration of loss it reads the rows themselves and compares them with what the job's own trigger
gives; between two looks, nothing else may have changed.
"""

import collections
import contextlib
import datetime as dt
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from django.db import connection

from jobstore.claims import claim as claims
from jobstore.claims.claim import RunRow
from jobstore.claims.plan import MAX_RUN_TIMES, Plan
from jobstore.history import recorder
from jobstore.leadership import lease, losses
from jobstore.leadership.lease import NotHolder
from jobstore.models import (
    DjangoJob,
    DjangoJobExecution,
    SchedulerInstance,
    SchedulerLease,
    database_now,
)
from jobstore.storage import serializer

SENT = DjangoJobExecution.RUNNING
REQUESTED = DjangoJobExecution.REQUESTED
Key = tuple[str, dt.datetime]

# What is checked: taken here, before a simulation puts the checks in their places.
CLAIM, CLAIM_REQUESTS = claims.claim, claims.claim_requests
WRITE, MARK_LOST = recorder.write, losses.mark_lost


class Checker:
    """The journal of a simulation, and the rules that it is held against."""

    def __init__(self, now: Callable[[], dt.datetime]) -> None:
        self.now = now
        self.windows = 0
        self.seen: collections.Counter[str] = collections.Counter()
        # Which process may start which run: what a claim that was checked has given out.
        self.granted: dict[Key, uuid.UUID] = {}
        self.started: dict[Key, uuid.UUID] = {}
        self.ended: set[Key] = set()
        self.final: dict[int, str] = {}
        self.editing: collections.Counter[str] = collections.Counter()
        self._explained: set[str] = set()
        self._jobs: dict[str, tuple[Any, ...]] = {}
        self._lease: tuple[int, Any] = (0, None)
        self._epoch_of_claims = 0

    # --- What the database says -----------------------------------------------------------------

    @staticmethod
    def _rows(ids: Iterable[str] | None = None) -> dict[str, DjangoJob]:
        return DjangoJob.all_objects.in_bulk(None if ids is None else list(ids))

    def _running(self) -> dict[str, int]:
        """Return how many instances of each job run: a claim of due times, or a request, each.

        A run that has ended counts no more, even while its result waits to be written.
        """
        found = DjangoJobExecution.objects.filter(status=SENT).order_by()
        instances = {
            (row["job_id"], row["pk"] if row["requested_by"] else row["claimed_at"])
            for row in found.values("pk", "job_id", "run_time", "claimed_at", "requested_by")
            if (row["job_id"], row["run_time"]) not in self.ended
        }
        return collections.Counter(job_id for job_id, _ in instances)

    @staticmethod
    def _holds(term: lease.Term) -> bool:
        held = SchedulerLease.objects.filter(holder=term.instance, epoch=term.epoch)
        return held.filter(expires_at__gt=database_now("default")).exists()

    # --- Changes between two looks --------------------------------------------------------------

    @contextlib.contextmanager
    def edit(self, *job_ids: str) -> Iterator[None]:
        """Say that somebody is changing these jobs on purpose."""
        self.editing.update(job_ids)
        try:
            yield
        finally:
            self.editing.subtract(job_ids)
            self._explained.update(job_ids)

    def look(self) -> None:
        """Compare with the look before: times move by claims and edits, epochs and versions up."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT epoch, holder FROM jobstore_schedulerlease")
            epoch, holder = cursor.fetchone() or (0, None)
            cursor.execute("SELECT id, next_run_time, retired_at, version FROM jobstore_djangojob")
            jobs = {row[0]: row[1:] for row in cursor.fetchall()}
        before, self._lease = self._lease, (epoch, holder)
        assert epoch - before[0] in {0, 1}, f"the epoch went from {before[0]} to {epoch}"
        assert epoch > before[0] or holder == before[1], "the lease changed hands without an epoch"
        explained = self._explained | set(+self.editing)
        for job_id in jobs.keys() | self._jobs.keys():
            old, new = self._jobs.get(job_id), jobs.get(job_id)
            if job_id not in explained:
                assert old is not None and new is not None, f"{job_id}: the row came or went"
                assert old[:2] == new[:2], f"{job_id}: nobody should have moved it"
            if old is not None and new is not None and job_id not in self.editing:
                assert new[2] >= old[2], f"{job_id}: the version went back"
        self._jobs = jobs
        self._explained.clear()

    # --- What may be written --------------------------------------------------------------------

    def claim(self, plans: Sequence[Plan], term: lease.Term, using: str) -> claims.Written:
        """Claim, and check every row that the claim touched or should have touched."""
        ids = [plan.job.id for plan in plans]
        holds, rows, running = self._holds(term), self._rows(ids), self._running()
        history = DjangoJobExecution.objects.filter(job__in=ids).order_by()
        taken = set(history.values_list("job_id", "run_time"))
        try:
            written = CLAIM(plans, term, using)
        except NotHolder:
            assert not holds, "the holder of the lease was refused"
            self.seen["refused: another holds the lease"] += 1
            return self._refused(rows, ids)
        except Exception as error:
            raise AssertionError(f"a claim failed: {error!r}") from error
        assert holds, f"claimed with epoch {term.epoch}, which is not the lease's"
        assert term.epoch >= self._epoch_of_claims, "an older epoch claimed after a newer one"
        self._epoch_of_claims = term.epoch
        after = self._rows(ids)
        claimed = {(row.job_id, row.run_time): row for row in written}
        for plan in plans:
            row = rows.get(plan.job.id)
            is_current = row is not None and (row.version, row.next_run_time) == (
                plan.version,
                plan.due,
            )
            if row is None or not is_current:
                self.seen["left alone: changed meanwhile"] += 1
                assert not [key for key in claimed if key[0] == plan.job.id], "a stale plan claimed"
                self._unchanged(row, after.get(plan.job.id))
                continue
            self._explained.add(row.pk)
            self._advanced(row, after[row.pk], plan, claimed, taken, running)
        stored = {row.pk: row for row in history.filter(pk__in=[row.id for row in written])}
        for key, one in claimed.items():
            row_of_run = stored[one.id]
            assert (row_of_run.job_id, row_of_run.status) == (key[0], one.status)
            assert row_of_run.times == one.total
            if one.total == one.times:  # a new row
                assert row_of_run.run_time == key[1]
                assert (row_of_run.epoch, row_of_run.instance_id) == (term.epoch, term.instance)
            else:
                assert row_of_run.run_time < key[1]
                assert key[1] <= (row_of_run.last_run_time or row_of_run.run_time)
                self.seen["counted in a row that was there"] += 1
            if one.status == SENT:
                assert one.total == 1
                self.granted[key] = term.instance
        return written

    def _refused(self, rows: dict[str, DjangoJob], ids: list[str]) -> claims.Written:
        after = self._rows(ids)
        for job_id in ids:
            self._unchanged(rows.get(job_id), after.get(job_id))
        raise NotHolder

    @staticmethod
    def _unchanged(before: DjangoJob | None, after: DjangoJob | None) -> None:
        old, new = ((row and (row.version, row.next_run_time)) for row in (before, after))
        assert old == new, "a claim that was refused changed the job"

    def _advanced(
        self,
        row: DjangoJob,
        after: DjangoJob,
        plan: Plan,
        claimed: dict[Key, RunRow],
        taken: set[Key],
        running: dict[str, int],
    ) -> None:
        """Check that a job moved on by its own trigger, and no time on the way is forgotten."""
        assert row.retired_at is None and row.quarantined_at is None, f"{row.pk} is out of service"
        assert after.version > row.version
        job = serializer.restore(row)
        assert str(job.trigger) == str(plan.job.trigger), "claimed for a schedule that is gone"
        passed, following = self._passed(job, after.next_run_time)
        assert after.next_run_time == following and (following is None) == bool(after.retired_at)
        settled = passed[-1:] if job.coalesce else passed
        assert sorted(plan.start + plan.missed + plan.skipped) == settled, f"{row.pk}: forgotten"
        fresh = [time for time in settled if (row.pk, time) not in taken]
        status_of = self._accounted(row.pk, plan, claimed)
        assert sorted(status_of) == fresh, (
            f"{row.pk}: times without a row, or with two: {sorted(status_of)} for {fresh}"
        )
        self.seen["left alone: the time has its run"] += len(settled) - len(fresh)
        starting = [time for time in fresh if status_of[time] == SENT]
        if starting:
            assert running.get(row.pk, 0) < row.max_instances, f"{row.pk} would overlap"
            self.seen["claimed"] += 1
        for time in set(fresh) - set(starting):
            self.seen[status_of[time]] += 1

    @staticmethod
    def _accounted(job_id: str, plan: Plan, claimed: dict[Key, RunRow]) -> dict[dt.datetime, str]:
        """Return what became of each time that the rows stand for."""
        found: dict[dt.datetime, str] = {}
        for (owner, first), one in claimed.items():
            if owner != job_id:
                continue
            of_its_kind = {
                SENT: plan.start,
                DjangoJobExecution.MISSED: plan.missed,
                DjangoJobExecution.MAX_INSTANCES: plan.skipped,
            }[one.status]
            begin = of_its_kind.index(first)
            for time in of_its_kind[begin : begin + one.times]:
                assert time not in found, f"{job_id}: {time} is in two rows"
                found[time] = one.status
        return found

    def _passed(
        self, job: Any, until: dt.datetime | None
    ) -> tuple[list[dt.datetime], dt.datetime | None]:
        """Return the times of a job from the one that is due, and the first that is not due."""
        times: list[dt.datetime] = []
        time, now = job.next_run_time, self.now()
        while time is not None and time != until and time <= now and len(times) < MAX_RUN_TIMES:
            times.append(time.astimezone(dt.UTC))
            time = job.trigger.get_next_fire_time(time, now)
        return times, time

    def acquired(self, term: lease.Term) -> None:
        """Check that whoever believes to hold the lease does."""
        row = SchedulerLease.objects.values_list("epoch", "holder").get()
        assert row == (term.epoch, term.instance), "somebody believes to hold another's lease"

    def claim_requests(self, ids: Sequence[int], term: lease.Term, using: str) -> set[int]:
        """Claim requests, and check that each was waiting and that none overlaps."""
        if not ids:
            return CLAIM_REQUESTS(ids, term, using)
        holds, running = self._holds(term), self._running()
        waiting = DjangoJobExecution.objects.filter(pk__in=ids, status=REQUESTED).order_by()
        before = {row.pk: row for row in waiting}
        try:
            taken = CLAIM_REQUESTS(ids, term, using)
        except NotHolder:
            assert not holds, "the holder of the lease was refused"
            self.seen["refused: another holds the lease"] += 1
            raise
        assert holds, f"requests claimed with epoch {term.epoch}, which is not the lease's"
        assert taken == before.keys(), "a request was taken that nobody waits for"
        jobs = self._rows({row.job_id for row in before.values()})
        for run in before.values():
            self.seen["claimed: a request"] += 1
            if run.job_id in jobs and run.job_id not in self.editing:
                assert running.get(run.job_id, 0) < jobs[run.job_id].max_instances, "overlap"
            running[run.job_id] = running.get(run.job_id, 0) + 1
            self.granted[run.job_id, run.run_time] = term.instance
        return taken

    def write(self, results: Sequence[recorder.Result], instance: uuid.UUID, using: str) -> None:
        """Write results, and check that only rows that this process is running were touched."""
        ids = [result.execution_id for result in results]
        runs = DjangoJobExecution.objects.order_by()
        before = runs.in_bulk(ids)
        WRITE(results, instance, using)
        after = runs.in_bulk(ids)
        for result in results:
            old, new = before.get(result.execution_id), after.get(result.execution_id)
            if old is None or new is None:
                assert old is None and new is None
                continue
            if old.status == SENT and old.instance_id == instance:
                assert new.status == result.status
                self.final[new.pk] = new.status
            else:
                self.seen["a late result that touched nothing"] += 1
                assert (new.status, new.finished) == (old.status, old.finished), "a late result"

    def mark_lost(
        self, instances: Iterable[uuid.UUID], using: str, reason: str, *, put_off: float = 0.0
    ) -> int:
        """Mark runs lost, and check that each was one of a process that is gone."""
        running = {row.pk: row for row in DjangoJobExecution.objects.filter(status=SENT)}
        count = MARK_LOST(instances, using, reason, put_off=put_off)
        changed = DjangoJobExecution.objects.filter(pk__in=running).exclude(status=SENT)
        gone = SchedulerInstance.objects.filter(role__in=SchedulerInstance.GONE).in_bulk()
        now = database_now("default")
        holder = SchedulerLease.objects.filter(expires_at__gt=now).values_list("holder", flat=True)
        for run in changed:
            assert run.instance_id != holder.first(), "a run of the holder was declared lost"
            assert run.status == DjangoJobExecution.LOST
            assert run.instance_id in gone, "a run of a process that lives was declared lost"
            self.final[run.pk] = run.status
            self.seen["lost"] += 1
        return count

    def start(self, job_id: str, run_time: dt.datetime, process: uuid.UUID) -> None:
        """Take note that a job's function is called."""
        key = (job_id, run_time.astimezone(dt.UTC))
        assert key not in self.started, f"{key} ran twice"
        assert self.granted.get(key) == process, f"{key} ran without having been claimed"
        self.started[key] = process
        self.seen["started"] += 1

    def end(self, job_id: str, run_times: Iterable[dt.datetime]) -> None:
        """Take note that a job's function has returned."""
        self.ended.update((job_id, run_time.astimezone(dt.UTC)) for run_time in run_times)

    def all_is_known(self, running: dict[uuid.UUID, set[int]]) -> None:
        """Check that each process which lives knows of all runs that are said to be its own."""
        for instance, known in running.items():
            runs = DjangoJobExecution.objects.filter(status=SENT, instance=instance)
            left = set(runs.values_list("pk", flat=True)) - known
            assert not left, f"runs {left} were claimed, and nobody will start them"

    def at_the_end(self) -> None:
        """Check what must hold once every process has finished or is gone."""
        self.look()
        runs = DjangoJobExecution.objects.order_by()
        unfinished = runs.filter(status__in=DjangoJobExecution.UNFINISHED)
        assert not list(unfinished.values("job_id", "status", "instance__role")), "left unfinished"
        stored = dict(runs.values_list("pk", "status"))
        for pk, status in self.final.items():
            assert stored.get(pk, status) == status, f"run {pk} was {status} already"
        due = lease.waiting_jobs("default").filter(next_run_time__lte=self.now())
        assert not list(due.values_list("pk", "next_run_time")), "due, and nobody has taken it"
