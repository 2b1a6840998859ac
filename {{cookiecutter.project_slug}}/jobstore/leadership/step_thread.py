"""A thread that takes one step after another. Nothing that a step raises ends it."""

import abc
import contextlib
import logging
import threading
import time

from jobstore.util import release_connections

logger = logging.getLogger("jobstore.scheduler")

# Seconds between two steps while the database does not answer.
RETRY_SECONDS = 0.5


class StepThread(abc.ABC):
    """Takes steps until it is stopped; sleeps in between, and can be woken."""

    def __init__(self) -> None:
        self.last_error = ""
        # When the thread last began a turn, on this machine's monotonic clock.
        self._turned_at = time.monotonic()
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @abc.abstractmethod
    def _step(self) -> None:
        """Do the work of one turn, while the lock is held."""

    @abc.abstractmethod
    def _sleep(self) -> None:
        """Wait until the next step."""

    @abc.abstractmethod
    def _let_go(self) -> None:
        """Release what a failed step may have left in its database session."""

    @abc.abstractmethod
    def _is_over(self) -> bool:
        """Tell whether there is nothing more to do."""

    @abc.abstractmethod
    def _finish(self) -> None:
        """Do what is left after the last step."""

    @property
    def silence(self) -> float:
        """Seconds since the thread began its last turn."""
        return time.monotonic() - self._turned_at

    @property
    def is_dead(self) -> bool:
        """Whether the thread has ended although nobody stopped it."""
        is_running = self._thread is None or self._thread.is_alive()
        return not is_running and not self._stop.is_set()

    def start(self) -> None:
        """Begin to take steps."""
        self._turned_at = time.monotonic()
        self._thread = threading.Thread(target=self._work, name="jobstore-elector", daemon=True)
        self._thread.start()

    def restart_if_dead(self) -> None:
        """Start the thread again if something unexpected has ended it."""
        if self.is_dead:
            logger.error("The thread that renews the lease has ended; it is started again.")
            self.start()

    def _work(self) -> None:
        try:
            self._step_until_stopped()
        finally:  # a thread that replaces this one has connections of its own
            release_connections()

    def _step_until_stopped(self) -> None:
        while not self._is_over():
            self._turned_at = time.monotonic()
            try:
                with self._lock:
                    self._step()
                if self.last_error:
                    logger.info("The database is back.")
                self.last_error = ""
            except Exception as error:
                if not self.last_error:
                    logger.error("The database does not answer: %s", str(error).strip())
                self.last_error = str(error).strip() or repr(error)
                # An error here must not end the thread: nothing else renews the lease.
                with contextlib.suppress(Exception):
                    self._let_go()
                with contextlib.suppress(Exception):
                    release_connections()
            try:
                self._sleep()
            except Exception:
                logger.exception("Waiting failed; the lease is renewed nevertheless.")
                time.sleep(RETRY_SECONDS)
        self._finish()
