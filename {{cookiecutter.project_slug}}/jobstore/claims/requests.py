"""Requested runs: claimed as fast as scheduled ones, unless they have waited too long."""

import datetime as dt
from collections.abc import Callable, Collection

from apscheduler.job import Job
from django.db.models import Case, Count, Exists, OuterRef, When

from jobstore.claims import claim
from jobstore.claims.capacity import MAX_CLAIMED_JOBS, Capacity
from jobstore.leadership.lease import Term
from jobstore.leadership.losses import ended_by_themselves
from jobstore.models import DjangoJob, DjangoJobExecution, database_now
from jobstore.storage import run_arguments, serializer
from jobstore.util import as_aware, get_django_internal_datetime

# Runs that started together count as one: the times that one claim took of a job run one after the
# other. A requested run starts on its own.
STARTED_TOGETHER = Case(When(requested_by="", then="claimed_at"), default="run_time")

# How far a request's time may be ahead of the database's clock as this process knows it.
A_MOMENT = dt.timedelta(seconds=1)
# Seconds that a request may wait for a scheduler, even if its job's own grace is smaller.
MIN_GRACE_SECONDS = 300.0

Restore = Callable[[DjangoJob], Job | None]
Quarantine = Callable[[Term], None]
Ended = Callable[[], Collection[int]]


class RequestedRuns:
    """Claims requests for one dispatcher, with the guarantees of scheduled runs."""

    def __init__(self, using: str, restore: Restore, quarantine: Quarantine, ended: Ended) -> None:
        """Prepare.

        :param restore: returns the job of a row, or None if it cannot be restored.
        :param quarantine: quarantines the jobs that could not be restored.
        :param ended: returns runs that have ended although their rows do not say so yet.
        """
        self._using = using
        self._restore = restore
        self._quarantine = quarantine
        self._ended = ended
        # Since when requests have been waiting for a free worker under this scheduler.
        self.waiting_since: dt.datetime | None = None
        # Whether there are more requests than one look reads.
        self.has_more = False

    def claim(
        self,
        term: Term,
        now: dt.datetime,
        capacity: Capacity,
        most: int,
        without: Collection[str] = (),
    ) -> list[tuple[Job, DjangoJobExecution]]:
        """Claim requests, the oldest first, and reserve their workers; end those that cannot run.

        :param most: how many may be started.
        :param without: executors whose requests are left alone.
        :raises NotHolder: if the lease is not held with this epoch.
        """
        places = capacity.places
        requests = self._requests(now, capacity.blocked | {*without}, places + 1)
        rows = DjangoJob.all_objects.using(self._using).in_bulk({one.job_id for one in requests})
        # A job may have ended with a run that was lost. It is retired, but that run is still due.
        again = [rows[one.job_id] for one in requests if one.attempt > 1 and one.job_id in rows]
        owing = ended_by_themselves(again, self._using)
        running = self._running_claims(set(rows))
        started: list[tuple[Job, DjangoJobExecution]] = []
        refused: dict[tuple[str, str], list[int]] = {}
        waits = len(requests) > places or bool(capacity.blocked)
        for request in requests:
            row = rows.get(request.job_id)
            is_owed = request.attempt > 1 and request.job_id in owing
            in_service = row is not None and (row.retired_at is None or is_owed)
            job = self._restore(row) if row is not None and in_service else None
            reason = (
                self._objection(job, running, capacity)
                or self._staleness(job, request, now)
                or _give_arguments(job, request)
            )
            if reason:
                refused.setdefault(reason, []).append(request.pk)
            elif (
                job is None
                or len(started) >= most
                or not capacity.admits(job.executor, job.func_ref or "")
            ):
                waits = True
            else:
                capacity.take(job.executor, job.func_ref or "")
                running[job.id] = running.get(job.id, 0) + 1
                started.append((job, request))
        self._quarantine(term)
        for (status, text), ids in refused.items():
            self._refuse(ids, status, text)
        taken = claim.claim_requests([request.pk for _, request in started], term, self._using)
        self.waiting_since = (self.waiting_since or now) if waits else None
        self.has_more = len(requests) > places and not started
        return [(job, request) for job, request in started if request.pk in taken]

    def _requests(
        self, now: dt.datetime, blocked: Collection[str], most: int
    ) -> list[DjangoJobExecution]:
        requests = DjangoJobExecution.objects.using(self._using).filter(
            status=DjangoJobExecution.REQUESTED,
            # Requests that were put off lie further ahead; the clock is known to within A_MOMENT.
            run_time__lte=get_django_internal_datetime(now + A_MOMENT),
        )
        if blocked:
            without = DjangoJob.all_objects.filter(pk=OuterRef("job"), executor__in=blocked)
            requests = requests.exclude(Exists(without))
        return list(requests.order_by("run_time")[: min(most, MAX_CLAIMED_JOBS)])

    @staticmethod
    def _objection(
        job: Job | None, running: dict[str, int], capacity: Capacity
    ) -> tuple[str, str] | None:
        """Return the final status of a request whose run can never start, and why."""
        if job is None:
            return DjangoJobExecution.ERROR, "The job is out of service or cannot be restored."
        if not capacity.knows(job.executor):
            text = f"No executor named {job.executor!r} is configured here."
            return DjangoJobExecution.ERROR, text
        if running.get(job.id, 0) >= job.max_instances:
            text = f"Maximum number of running instances reached ({job.max_instances})."
            return DjangoJobExecution.MAX_INSTANCES, text
        return None

    def _staleness(
        self, job: Job | None, request: DjangoJobExecution, now: dt.datetime
    ) -> tuple[str, str] | None:
        """Return the final status of a request that waited too long for a scheduler, and why.

        As for a scheduled run, waiting for a free worker of this scheduler does not count.
        """
        if job is None or job.misfire_grace_time is None:
            return None
        grace = max(float(job.misfire_grace_time), MIN_GRACE_SECONDS)
        asked = as_aware(request.run_time)
        seen = now if self.waiting_since is None else min(now, max(self.waiting_since, asked))
        late = (seen - asked).total_seconds()
        if late <= grace:
            return None
        return DjangoJobExecution.MISSED, (
            f"This run was requested {late:.0f} s before a scheduler could start it, which is "
            f"more than its grace time of {grace:.0f} s. Request it again."
        )

    def _running_claims(self, job_ids: set[str]) -> dict[str, int]:
        """Return how many claims of each job are running, in every process."""
        running = DjangoJobExecution.objects.using(self._using).filter(
            job__in=job_ids, status=DjangoJobExecution.RUNNING
        )
        running = running.exclude(pk__in=self._ended())
        counted = (
            running.order_by().values("job").annotate(claims=Count(STARTED_TOGETHER, distinct=True))
        )
        return dict(counted.values_list("job", "claims"))

    def _refuse(self, ids: list[int], status: str, text: str) -> None:
        DjangoJobExecution.objects.using(self._using).filter(
            pk__in=ids, status=DjangoJobExecution.REQUESTED
        ).update(status=status, exception=text, finished=database_now(self._using))


def _give_arguments(job: Job | None, request: DjangoJobExecution) -> tuple[str, str] | None:
    """Give a job the run's own arguments, if it has any; return its status if that fails."""
    if job is None:
        return None
    try:
        run_arguments.give(job, request)
    except serializer.UnreadableState as error:
        return DjangoJobExecution.ERROR, str(error)
    return None
