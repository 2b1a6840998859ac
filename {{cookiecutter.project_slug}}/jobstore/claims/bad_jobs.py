"""Due jobs that cannot be run: each is quarantined, with the reason."""

import datetime as dt
import logging
from collections.abc import Callable

from apscheduler.job import Job
from django.db import DatabaseError, connections

from jobstore.claims.result import LacksKeys
from jobstore.leadership.lease import Term, assert_holder
from jobstore.models import DjangoJob
from jobstore.storage import key_rotation, quarantine, serializer
from jobstore.storage.rows import DueJob
from jobstore.texts import flattened

logger = logging.getLogger("jobstore.store")


class BadJobs:
    """Collects the jobs that one look at the database finds unfit to run, and quarantines them."""

    def __init__(self, restore: Callable[[DjangoJob | DueJob], Job], using: str) -> None:
        """Prepare.

        :param restore: returns the job of a row, or raises UnreadableState.
        :param using: alias of the database that holds the jobs.
        """
        self._restore, self._using = restore, using
        self._found: list[tuple[DjangoJob | DueJob, str]] = []
        self._has_foreign_key = False

    def note(self, row: DjangoJob | DueJob, reason: str) -> None:
        """Note a job that cannot be run."""
        self._found.append((row, reason))

    def restore(self, row: DjangoJob | DueJob) -> Job | None:
        """Return the job of a row, or None for one that is to be quarantined."""
        try:
            return self._restore(row)
        except serializer.UnreadableState as error:
            self._has_foreign_key |= isinstance(error, serializer.UnsignedState)
            self.note(row, str(error))
            return None

    def quarantine(self, term: Term) -> None:
        """Quarantine what was found, if the lease is still held.

        :raises LacksKeys: if it is the key of this process that is wrong.
        """
        using = self._using
        found, self._found = self._found, []
        has_foreign_key, self._has_foreign_key = self._has_foreign_key, False
        if has_foreign_key and (problem := key_rotation.problem(using)):
            raise LacksKeys(problem)
        if not found:
            return

        def fence() -> dt.datetime:
            return assert_holder(term, using)

        try:
            quarantine.put_all(found, fence, using)
        except DatabaseError as error:
            # A locked row must not hold up the other jobs.
            if not connections[using].is_usable():
                raise
            logger.warning("A job cannot be quarantined now: %s", flattened(error))
