"""Claims whose reply was lost: the database may have committed them, or may still do so."""

import collections
import datetime as dt
import uuid
from collections.abc import Iterable

from jobstore import conf
from jobstore.execution.run import ActiveRun
from jobstore.history.recorder import MAX_WAITING_RESULTS
from jobstore.models import DjangoJobExecution
from jobstore.util import as_aware, get_django_internal_datetime


def late_commit() -> dt.timedelta:
    """Return for how long a server may still commit a claim after it answers again.

    A server notices that nobody waits only when it writes the reply. But a statement has a limit
    (database/timeouts.py), and a claim needs a lease that has not expired.
    """
    statement = 2 * float(conf.get("SCHEDULER_STATEMENT_SECONDS"))
    return dt.timedelta(seconds=max(statement, float(conf.get("SCHEDULER_LEASE_SECONDS"))))


class LostReplies:
    """Knows since when a claim has had no reply, and finds the runs that it wrote.

    Only this process can start them: it is alive, so nobody marks them as lost.
    """

    def __init__(self) -> None:
        # When a claim was sent that has had no reply. The server may have committed its runs, or
        # may still do so.
        self.since: dt.datetime | None = None
        self._look_until: dt.datetime | None = None
        # The runs that were started last. Their rows stay "started" while their results wait to be
        # written, so they must not be taken for runs whose claim had no reply.
        self._started: collections.deque[int] = collections.deque(maxlen=2 * MAX_WAITING_RESULTS)

    @property
    def is_unsure(self) -> bool:
        """Whether the reply to a claim was lost, and no look at the database has followed."""
        return self.since is not None and self._look_until is None

    def started(self, run: ActiveRun) -> None:
        """Note a run that this process has taken up."""
        self._started.append(run.execution_id)

    def claim_is_sent(self, now: dt.datetime) -> tuple[dt.datetime | None, dt.datetime | None]:
        """Treat the reply as lost until `claim_is_answered` is called with what this returns."""
        before = self.since, self._look_until
        self.since, self._look_until = self.since or now, None
        return before

    def claim_is_answered(self, before: tuple[dt.datetime | None, dt.datetime | None]) -> None:
        """Go back to what was known before the claim."""
        self.since, self._look_until = before

    def looked(self, now: dt.datetime) -> None:
        """Note a look at the database; after the last one, no late commit is possible."""
        if self._look_until is None:
            self._look_until = now + late_commit()
        elif now >= self._look_until:
            self.since = self._look_until = None

    def unknown_runs(
        self, instance: uuid.UUID, known: Iterable[ActiveRun], using: str
    ) -> list[tuple[DjangoJobExecution, list[ActiveRun]]]:
        """Return the runs that were claimed since then and that nobody has taken up.

        One thread makes all claims, so they are the runs of this process that it does not know.
        Runs of one job with the job's own arguments come together; each group has its first row.
        """
        ids = {run.execution_id for run in known} | set(self._started)
        rows = DjangoJobExecution.objects.using(using).filter(
            instance=instance, status=DjangoJobExecution.RUNNING
        )
        if self.since is not None:
            rows = rows.filter(claimed_at__gte=get_django_internal_datetime(self.since))
        runs: dict[tuple[str, int], tuple[DjangoJobExecution, list[ActiveRun]]] = {}
        for row in rows.exclude(pk__in=ids).order_by("run_time"):
            time = as_aware(row.run_time).astimezone(dt.UTC)
            key = row.job_id, 0 if row.arguments_state is None else row.pk
            _, together = runs.setdefault(key, (row, []))
            together.append(ActiveRun(row.pk, row.job_id, time, row.epoch))
        return list(runs.values())
