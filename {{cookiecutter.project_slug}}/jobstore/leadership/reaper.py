"""When the holder of the lease looks for processes that are gone, and which one it suspects.

losses.py marks them and their runs.
"""

import datetime as dt
import logging
import time
import uuid

from jobstore import conf
from jobstore.leadership import losses
from jobstore.leadership.lease import LeaseView, Term

logger = logging.getLogger("jobstore.scheduler")

# Seconds between two searches for processes that died, where a renewal does not look for them.
REAP_SECONDS = 10.0


class Reaper:
    """Has processes that are gone, and their runs, marked as lost. For the lease's holder only."""

    def __init__(self, using: str) -> None:
        self._using = using
        # The former holder, if its session ended before its lease did.
        self._suspect: losses.Suspect | None = None
        self._next_search = 0.0

    def after_take_over(self, former: uuid.UUID | None, now: dt.datetime) -> None:
        """Suspect the former holder, and plan the search that finds it dead if it is.

        :param former: who held the lease before, if its session ended before its lease did.
        :param now: the database's time, as Django stores it.
        """
        if former is not None:
            self._suspect = losses.Suspect(former, now)
        # A dead predecessor counts as dead once it has been silent for long enough.
        patience = conf.get("SCHEDULER_DEAD_SECONDS") - conf.get("SCHEDULER_LEASE_SECONDS")
        self._next_search = time.monotonic() + max(patience, 0.0) + 0.5

    def is_due(self, view: LeaseView | None, now: dt.datetime) -> bool:
        """Tell whether a process may have died: a renewal has seen it, or does not look for it."""
        if view is not None and view.silent is not None:
            return view.silent
        if time.monotonic() < self._next_search and self.due_suspect(now) is None:
            return False
        self._next_search = time.monotonic() + REAP_SECONDS
        return True

    def due_suspect(self, now: dt.datetime) -> uuid.UUID | None:
        """Return the former holder if it has not come back in time, else None."""
        is_due = self._suspect is not None and self._suspect.is_due(now)
        return self._suspect.instance if self._suspect is not None and is_due else None

    def reap(
        self, me: uuid.UUID, term: Term | None, now: dt.datetime, *, thorough: bool = False
    ) -> int:
        """Mark processes that are gone as lost, and their runs; return how many runs.

        :param me: the caller, whose own runs are never lost.
        :param term: the caller's right to claim.
        :param now: the database's time, as Django stores it.
        :param thorough: search without asking first, in one statement, whether there are any.
        """
        suspect = self._suspect
        if not thorough and not losses.anybody_is_gone(me, self._using, now, suspect):
            return 0
        lost = losses.reap_dead_instances(me, term, self._using, now, suspect)
        if suspect is not None and suspect.is_due(now):
            self._suspect = None
        if lost:
            logger.error("%d runs of processes that are gone were marked as lost.", lost)
        return lost
