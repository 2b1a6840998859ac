"""A run that a worker process carries out: what ends it from outside, and only once."""

import threading

from jobstore.execution import deadlines
from jobstore.execution.run import ActiveRun
from jobstore.executors.worker import Worker
from jobstore.models import DjangoJobExecution

# Seconds between SIGTERM, on which a run may tidy up, and SIGKILL.
KILL_SECONDS = 1.0


class RunEnded(Exception):
    """The run was ended, or lost with its worker process; the text says why."""


class Call:
    """A run that has a thread of the executor, and the process that carries it out."""

    def __init__(self, run: ActiveRun) -> None:
        self.run = run
        self.worker: Worker | None = None
        # The status and the reason with which it is to end.
        self.ending: tuple[str, str] | None = None
        self.is_answered = False
        # Set when it is to end.
        self.asked = threading.Event()
        self._timeout: deadlines.Deadline | None = None
        self._lock = threading.Lock()

    def give_to(self, worker: Worker | None) -> None:
        """Note the process; end it if the run was ended meanwhile."""
        with self._lock:
            self.worker = worker
            is_over = self.ending is not None
        if is_over and worker is not None:
            worker.kill()

    def limit(self) -> None:
        """Begin to count the run's time, anew if it has begun only now."""
        timeout = self.run.timeout
        self.unlimit()
        if timeout is None:
            return
        why = f"It did not end within its timeout of {timeout:g} s, and was ended."
        self._timeout = deadlines.after(
            timeout, lambda: self.end(DjangoJobExecution.TIMED_OUT, why)
        )

    def unlimit(self) -> None:
        """Let the run's time no longer end it."""
        if self._timeout is not None:
            self._timeout.cancel()

    def end(self, status: str, why: str) -> bool:
        """End the run; False if it has ended already, or is about to for another reason."""
        with self._lock:
            if self.ending is not None or self.is_answered:
                return False
            self.ending, worker = (status, why), self.worker
            self.run.stop_reason = why
            self.asked.set()
        if worker is None:
            return True
        if not worker.is_ready:
            worker.kill()
            return True
        try:
            deadlines.after(KILL_SECONDS, worker.kill)
        except RuntimeError:  # no thread could be started
            worker.kill()
        worker.ask_to_end(self.run.execution_id, why)
        return True

    def answered(self) -> tuple[str, str] | None:
        """Note that the run has ended by itself; return what it was told to end with, if it was."""
        with self._lock:
            self.is_answered = True
            return self.ending


def ended(run: ActiveRun, status: str, why: str) -> RunEnded:
    """Note that a run was ended; return the exception that tells APScheduler's listeners so."""
    run.ended_as = status
    # Where it was at that time, if it could still tell.
    trace = (run.details or {}).get("traceback")
    run.details = {"exception": why} | ({"traceback": trace} if trace else {})
    return RunEnded(why)
