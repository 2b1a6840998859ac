"""The contract of executors whose workers are in other processes, on any machine.

The row of a run is all that a scheduler and a worker share. The claim writes it as "Queued". A
message, which names the row and nothing else, tells a worker to look at it. The worker takes the
run by changing the row to "Started execution" if it is still queued, so a message may come twice,
late, or never: what was never taken is published again. Whatever the engine is, an executor only
knows how to send a message, and perhaps how to end a run.
"""

import abc
import dataclasses
from collections.abc import Iterable
from typing import Any

from apscheduler.executors.base import BaseExecutor
from apscheduler.job import Job

# The format of messages; a worker refuses one that it does not know.
VERSION = 1


@dataclasses.dataclass(frozen=True)
class Message:
    """A queued run, as its executor needs to know it."""

    run_id: int
    attempt: int
    job_id: str
    # The executor's alias, as the job names it.
    executor: str
    # Seconds that the run may take; None for as long as it needs.
    timeout: float | None = None
    # Where the job wants it; empty for the executor's own queue.
    queue: str = ""

    @property
    def key(self) -> str:
        """Identifies this attempt, for engines that let their tasks be named."""
        return f"jobstore-{self.run_id}-{self.attempt}"


class Refused(Exception):
    """The engine takes messages, but not this one; the text says why. It is sent again later."""


class Unpublished(Exception):
    """The engine did not take a message; the text says why. It is sent again later."""


class ElsewhereExecutor(BaseExecutor, abc.ABC):  # type: ignore[misc]
    """Hands runs to workers outside of the scheduler's process."""

    # Tells the claim to write runs as "Queued", as many as are due.
    is_elsewhere = True
    # Whether a message can go to the queue that its job names.
    has_queues = False

    @abc.abstractmethod
    def publish(self, message: Message) -> None:
        """Send a message to a worker. Called by one thread, after the claim was committed.

        :raises Refused: if the engine takes others, but not this one.
        :raises Exception: if the engine cannot take any now; it is sent again later.
        """

    def fault_of_queue(self, queue: str) -> str:
        """Return why a job's queue cannot be used, as a part of a sentence; empty if it can."""
        return ""

    def end(self, message: Message) -> bool:
        """End a run that a worker has begun, and return whether that could be asked for.

        Its row says by then how it ended, so nothing that its worker writes later has effect.
        """
        return False

    def close(self) -> None:
        """Give connections back: nothing is published for a while, or ever again."""

    def shutdown(self, wait: bool = True) -> None:
        """Stop, as APScheduler asks."""
        self.close()

    def _do_submit_job(self, job: Job, run_times: Iterable[Any]) -> None:
        raise Unpublished(
            f"Only a DjangoJobStore can hand jobs to the executor {self._alias!r}, and job "
            f"{job.id!r} is kept in another store."
        )
