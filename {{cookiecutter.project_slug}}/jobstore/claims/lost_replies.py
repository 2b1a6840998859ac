"""Claims whose reply was lost: the database may have committed them all the same, or still may."""

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

    It works on a statement until it writes the reply, and for no longer than its own limit
    (database/timeouts.py), nor than the lease lives, which a claim must find valid.
    """
    statement = 2 * float(conf.get("SCHEDULER_STATEMENT_SECONDS"))
    return dt.timedelta(seconds=max(statement, float(conf.get("SCHEDULER_LEASE_SECONDS"))))


class LostReplies:
    """Knows since when a claim has had no reply, and finds the runs that it began.

    Nobody else will start them: this process lives, so they are not lost.
    """

    def __init__(self) -> None:
        # When a claim was sent whose reply has not come: its runs may have been committed, or may
        # still be, by a server that has not noticed that nobody waits any more.
        self.since: dt.datetime | None = None
        self._look_until: dt.datetime | None = None
        # What was started last. A run stays "started" in the database while its result waits to be
        # written, which must not make it look like one whose claim's reply was lost.
        self._started: collections.deque[int] = collections.deque(maxlen=2 * MAX_WAITING_RESULTS)

    @property
    def is_unsure(self) -> bool:
        """Whether the reply to a claim was lost, and no look at the database has followed."""
        return self.since is not None and self._look_until is None

    def started(self, run: ActiveRun) -> None:
        """Note a run that this process has taken up."""
        self._started.append(run.execution_id)

    def claim_is_sent(self, now: dt.datetime) -> tuple[dt.datetime | None, dt.datetime | None]:
        """Take the reply for lost until `claim_is_answered`, which is given what this returns."""
        before = self.since, self._look_until
        self.since, self._look_until = self.since or now, None
        return before

    def claim_is_answered(self, before: tuple[dt.datetime | None, dt.datetime | None]) -> None:
        """Go back to what was known before the claim."""
        self.since, self._look_until = before

    def looked(self, now: dt.datetime) -> None:
        """Note a look at the database; the last one comes when no late commit is possible."""
        if self._look_until is None:
            self._look_until = now + late_commit()
        elif now >= self._look_until:
            self.since = self._look_until = None

    def unknown_runs(
        self, instance: uuid.UUID, known: Iterable[ActiveRun], using: str
    ) -> list[tuple[DjangoJobExecution, list[ActiveRun]]]:
        """Return the runs that were claimed since then and that nobody has taken up.

        Claims are made by one thread, so runs of this process that it does not know are those. Each
        comes with its row; those of one job that have its arguments come together.
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
