"""Celery as an executor: runs wait in the database, messages name them, workers take them.

Nothing is left to the engine that the database decides: no beat, no eta, no retries, no results.
A message is acknowledged after its run, and one that comes twice finds nothing to do.
"""

from typing import Any

from celery import shared_task
from celery.exceptions import SoftTimeLimitExceeded
from celery.signals import worker_process_shutdown, worker_shutdown

from jobstore.executors import remote_worker
from jobstore.executors.elsewhere import VERSION, ElsewhereExecutor, Message

# Seconds that a run gets to tidy up after it was told that its time is over.
KILL_SECONDS = 1.0


@shared_task(
    name="jobstore.run", bind=True, acks_late=True, ignore_result=True, max_retries=0, typing=False
)
def run_queued(self: Any, run_id: int, attempt: int, version: int = VERSION) -> str:
    """Carry out a queued run. The message has nothing but its id and the attempt."""
    if version != VERSION:
        raise ValueError(
            f"Message of version {version} for run {run_id}: this worker knows version {VERSION}. "
            "Deploy the same version to schedulers and workers."
        )
    return remote_worker.carry_out_queued(int(run_id), int(attempt), (SoftTimeLimitExceeded,))


class CeleryExecutor(ElsewhereExecutor):
    """Sends runs to Celery's workers, through the project's Celery application."""

    has_queues = True

    def __init__(self, queue: str = "") -> None:
        """Prepare.

        :param queue: where messages go, unless a job names another queue; empty for the
            application's default.
        """
        super().__init__()
        self.queue = queue

    @property
    def _task(self) -> Any:
        return run_queued

    def publish(self, message: Message) -> None:
        """Send a message to the broker."""
        self._task.apply_async(
            args=(message.run_id, message.attempt, VERSION),
            task_id=message.key,
            soft_time_limit=message.timeout,
            time_limit=None if message.timeout is None else message.timeout + KILL_SECONDS,
            queue=message.queue or self.queue or None,
            retry=False,
            ignore_result=True,
            expires=None,
        )

    def end(self, message: Message) -> bool:
        """Have the worker's process killed that carries the run out."""
        self._task.app.control.revoke(message.key, terminate=True, signal="SIGKILL")
        return True


@worker_process_shutdown.connect
@worker_shutdown.connect
def _leave(**_: object) -> None:
    remote_worker.leave()
