"""Whether this process can run jobs. If it cannot, it must leave them to another process.

A process is unfit if its preparation raises, if its scheduling loop is dead, stuck or fails all the
time, or if it does not know the keys of most jobs. It is then not ready, and does not keep the
lease. It tries again by itself after pauses that grow, in which a standby can take over.
"""

import time

# Seconds until a process that failed may compete again: at first, and at most.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 5.0, 60.0


class Fitness:
    """What keeps this process itself from running jobs. Safe in any thread."""

    def __init__(self) -> None:
        # What is wrong with the scheduling loop; cleared as soon as nothing is.
        self.loop_problem = ""
        # Why this process must not run the stored jobs; cleared once a look finds that it may.
        self.key_problem = ""
        # Why this process cannot answer probes. Its jobs run all the same.
        self.probe_problem = ""
        self._failure = ""
        self._setbacks = 0
        self._again_at = 0.0

    @property
    def problem(self) -> str:
        """What is wrong, in one sentence; empty if nothing is."""
        return self.loop_problem or self.key_problem or self._failure

    @property
    def shown(self) -> str:
        """What is shown beside this process: what is wrong with it, or else with its probes."""
        return self.problem or self.probe_problem

    @property
    def may_compete(self) -> bool:
        """Whether this process may hold the lease now, if only to try again."""
        is_able = not self.loop_problem and not self.key_problem
        return is_able and time.monotonic() >= self._again_at

    @property
    def seconds_left(self) -> float:
        """Seconds until it may compete again; 0 if that does not depend on time."""
        return max(self._again_at - time.monotonic(), 0.0)

    def failed(self, reason: str) -> bool:
        """Note that it could not do its work; return whether the reason is new."""
        is_new = reason != self._failure
        self._failure = reason
        pause = min(FIRST_PAUSE_SECONDS * 2.0**self._setbacks, LONGEST_PAUSE_SECONDS)
        self._setbacks = min(self._setbacks + 1, 10)
        self._again_at = time.monotonic() + pause
        return is_new

    def succeeded(self) -> bool:
        """Note that it did its work; return whether it had failed before."""
        had_failed = bool(self._failure)
        self._failure, self._setbacks, self._again_at = "", 0, 0.0
        return had_failed
