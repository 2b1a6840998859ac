"""The declared jobs of one scheduler process: they are stored once in each term of the lease."""

import logging
from collections.abc import Iterable
from typing import Any

from jobstore import registry
from jobstore.declarations.declaration import Collected, Problem
from jobstore.jobstores import DjangoJobStore
from jobstore.leadership.elector import Elector
from jobstore.leadership.lease import NotHolder

logger = logging.getLogger("jobstore.registry")


class DeclaredJobs:
    """Collects declarations, brings stored jobs in line with them, and reports what is wrong."""

    def __init__(self, store: DjangoJobStore, scheduler: Any) -> None:
        self._store = store
        self._scheduler = scheduler
        # What is wrong, as far as this process knows.
        self.problems: list[Problem] = []
        self.collected: Collected | None = None
        self._told: set[Problem] = set()
        self._has_synced = False

    def collect(self) -> Collected:
        """Import and validate what the code declares, and log what is wrong. Needs no database."""
        self.collected = registry.collect(self._scheduler)
        self.tell(self.collected.problems)
        return self.collected

    def sync(self, elector: Elector) -> None:
        """Bring the stored jobs in line with the code; ask for the runs at the start, once.

        :raises NotHolder: if this process does not hold the lease.
        """
        term = elector.term
        if term is None:
            raise NotHolder
        collected = self.collected
        # A file that could not be imported may be importable now: it may need the database.
        if collected is None or collected.failed:
            collected = self.collect()
        start = f"start of {elector.host}:{elector.pid}"[:100] + f" ({elector.id})"
        registry.sync(
            self._store,
            self._scheduler,
            term=term,
            collected=collected,
            start_of="" if self._has_synced else start,
            report=self.tell,
        )
        self._has_synced = True

    def tell(self, problems: Iterable[Problem]) -> None:
        """Log problems, each once in the life of this process."""
        self.problems = list(problems)
        new = [problem for problem in self.problems if problem not in self._told]
        self._told.update(new)
        registry.log_problems(new)
