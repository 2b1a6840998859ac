"""Jobs, triggers and executors that misbehave. A process pool imports this without Django."""

import datetime as dt
from typing import Any

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.triggers.base import BaseTrigger

from jobstore.tests import callables


def leave(kind: str) -> None:
    """Raise what usually ends a process."""
    callables.calls.append(kind)
    raise {"SystemExit": SystemExit, "KeyboardInterrupt": KeyboardInterrupt}[kind]("leaving")


async def leave_later(kind: str) -> None:
    """Raise what usually ends a process, from a coroutine."""
    leave(kind)


class RaisesOnce(ThreadPoolExecutor):  # type: ignore[misc]
    """Refuses its first job for no good reason."""

    def __init__(self) -> None:
        super().__init__(4)
        self.refused: list[str] = []

    def _do_submit_job(self, job: Any, run_times: Any) -> None:
        if not self.refused:
            self.refused.append(job.id)
            raise RuntimeError("refused")
        super()._do_submit_job(job, run_times)


class GivesUp(BaseTrigger):  # type: ignore[misc]
    """Fires at once, and raises when it is asked for the time after."""

    def get_next_fire_time(self, previous: dt.datetime | None, now: dt.datetime) -> dt.datetime:
        """Answer the first time only."""
        if previous is not None:
            raise RuntimeError("no idea when")
        return now

    def __getstate__(self) -> dict[str, str]:
        """There is nothing to tell."""
        return {}

    def __setstate__(self, state: dict[str, str]) -> None:
        """There is nothing to remember."""
