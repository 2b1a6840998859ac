"""Whether this process can run jobs: what it cannot do, it must leave to another.

A process whose preparation raises, whose scheduling loop is dead, stuck or fails all the time, or
who does not know the keys of most jobs, is not ready and does not keep the lease. It tries again by
itself, after longer and longer pauses in which a standby has had its chance.
"""

import time

# Seconds until a process that failed may compete again: at first, and at most.
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 5.0, 60.0


class Fitness:
    """What keeps this process from running jobs, by its own fault. Any thread may ask and tell."""

    def __init__(self) -> None:
        # What the loop's watchdog sees; gone as soon as it sees nothing any more.
        self.loop_problem = ""
        # Why the stored jobs are not this process's to run; gone as soon as another look finds so.
        self.key_problem = ""
        # Why nobody answers probes here. The jobs run all the same.
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
        """What people are to see beside this process: what is wrong, be it only with probes."""
        return self.problem or self.probe_problem

    @property
    def may_compete(self) -> bool:
        """Whether this process may hold the lease now, be it only to try again."""
        is_able = not self.loop_problem and not self.key_problem
        return is_able and time.monotonic() >= self._again_at

    @property
    def seconds_left(self) -> float:
        """Seconds until it may compete again, as far as they are known."""
        return max(self._again_at - time.monotonic(), 0.0)

    def failed(self, reason: str) -> bool:
        """Note that it could not do its work; whether that is news."""
        is_new = reason != self._failure
        self._failure = reason
        pause = min(FIRST_PAUSE_SECONDS * 2.0**self._setbacks, LONGEST_PAUSE_SECONDS)
        self._setbacks = min(self._setbacks + 1, 10)
        self._again_at = time.monotonic() + pause
        return is_new

    def succeeded(self) -> bool:
        """Note that it could do its work; whether it could not before."""
        had_failed = bool(self._failure)
        self._failure, self._setbacks, self._again_at = "", 0, 0.0
        return had_failed
