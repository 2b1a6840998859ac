"""How many more runs each executor can take in one claim: at once, and a little early."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

from jobstore.claims.prefetch import Prefetch
from jobstore.execution.run import ActiveRun

# Seconds of work that may be claimed before a worker is free, so that a burst of short jobs does
# not need a claim for every few of them. If the process dies, runs are lost that had not begun.
PREFETCH_SECONDS = 0.1
# Jobs that one claim takes at most.
MAX_CLAIMED_JOBS = 500


class Capacity:
    """The runs that one claim may start. A refused run blocks its executor until the next."""

    def __init__(
        self, executors: Mapping[str, Any], running: Iterable[ActiveRun], prefetch: Prefetch
    ) -> None:
        """Count free workers, and the runs that may be claimed before one is free.

        :param running: the runs that were claimed and are not finished.
        """
        self._prefetch = prefetch
        # Workers that have nothing to do; less than 0 while some runs wait for one.
        self._free = {alias: free_workers(one) for alias, one in executors.items()}
        self._room = {alias: workers + prefetch.ahead for alias, workers in self._free.items()}
        # Seconds of work that the workers can finish within PREFETCH_SECONDS. A run that is not
        # known to be shorter than that counts as keeping its worker all the time.
        self._seconds = {
            alias: PREFETCH_SECONDS * workers_of(one) for alias, one in executors.items()
        }
        now = time.perf_counter()
        for run in running:
            takes_long = run.began and now - run.began > PREFETCH_SECONDS
            seconds = PREFETCH_SECONDS if takes_long else self._expected(run.func)
            self._seconds[run.executor] = self._seconds.get(run.executor, 0.0) - seconds
        # Executors for which something waits.
        self.blocked = {alias for alias, places in self._room.items() if places <= 0}

    def _expected(self, func: str) -> float:
        return min(self._prefetch.expected(func), PREFETCH_SECONDS)

    @property
    def places(self) -> int:
        """How many runs may be claimed at most."""
        return min(MAX_CLAIMED_JOBS, sum(max(places, 0) for places in self._room.values()))

    def knows(self, executor: str) -> bool:
        """Whether there is an executor of this name."""
        return executor in self._free

    def is_full(self, executor: str) -> bool:
        """Whether all workers of an executor are busy."""
        return self._free.get(executor, 1) <= 0

    def admits(self, executor: str, func: str) -> bool:
        """Tell whether a run may start. If not, no later one may either: it could wait forever."""
        if self._free[executor] <= 0 and (
            self._room[executor] <= 0 or self._seconds[executor] < self._expected(func)
        ):
            self.blocked.add(executor)
        return executor not in self.blocked

    def take(self, executor: str, func: str) -> None:
        """Count a run that starts."""
        self._free[executor] -= 1
        self._room[executor] -= 1
        self._seconds[executor] -= self._expected(func)


def workers_of(executor: Any) -> int:
    """Return how many jobs an APScheduler executor runs at once; 0 if it knows no bound."""
    return int(getattr(getattr(executor, "_pool", None), "_max_workers", 0))


def free_workers(executor: Any) -> int:
    """Return how many more jobs an executor can start at once; less than 0 while some wait."""
    workers = workers_of(executor)
    if not workers:
        return MAX_CLAIMED_JOBS
    with executor._lock:
        running: int = sum(executor._instances.values())
    return workers - running
