"""The scheduler process: one loop that does not die, and a shutdown that loses no result.

Threads: the main thread waits for signals; the loop claims and hands out jobs; the elector
renews the lease; the recorder writes results; the health server answers probes.
"""

import datetime as dt
import logging
import math
import os
import signal
import time
from collections.abc import Callable

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.schedulers.base import STATE_RUNNING, STATE_STOPPED
from django.conf import settings
from django.db import (
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    NotSupportedError,
    ProgrammingError,
)

from jobstore import conf, forks
from jobstore.execution import coroutines
from jobstore.jobstores import DjangoJobStore
from jobstore.leadership.elector import Elector
from jobstore.leadership.lease import NotHolder
from jobstore.process.declared_jobs import DeclaredJobs
from jobstore.repeated import RepeatedFailure
from jobstore.texts import described, flattened
from jobstore.util import get_local_dt_format, release_connections

logger = logging.getLogger("jobstore.scheduler")

# Seconds that the loop sleeps at most, so that probes see it move and a stalled wait ends.
MAX_SLEEP_SECONDS = 5.0
# Seconds that a shutdown waits for a claim that is under way.
CLAIM_WAIT_SECONDS = 5.0
# Seconds after which the loop tries again after an unexpected exception.
RETRY_SECONDS = 1.0
# Runs that a line of the log names.
MAX_LISTED_RUNS = 20
# Database errors that trying again does not mend. All others may be an outage.
LASTING = (DataError, IntegrityError, NotSupportedError, ProgrammingError)


class DjangoScheduler(BackgroundScheduler):  # type: ignore[misc]
    """APScheduler's loop on a thread of its own, which goes on after every exception."""

    def __init__(self, store: DjangoJobStore, on_elected: Callable[[], None]) -> None:
        """Prepare a scheduler of this store.

        :param on_elected: called on the loop's thread, before the first claim of each epoch.
        """
        super().__init__(
            timezone=settings.TIME_ZONE,
            jobstores={"default": store},
            executors={"default": ThreadPoolExecutor(conf.get("SCHEDULER_THREADS"))},
        )
        self.store = store
        self.turned_at = time.monotonic()
        self._on_elected = on_elected
        self._prepared_epoch: int | None = None
        self._preparing = RepeatedFailure(
            logger, "Declared jobs wait, the database fails", "Declared jobs are stored"
        )
        self._turning = RepeatedFailure(
            logger,
            "The scheduling loop continues after an error",
            "The scheduling loop works again",
        )

    @property
    def is_prepared(self) -> bool:
        """Whether the declared jobs were stored in this term, so that due jobs can run."""
        elector = self.store.elector
        return elector is not None and elector.epoch == self._prepared_epoch

    @property
    def is_dead(self) -> bool:
        """Whether the loop's thread has ended although nobody stopped the scheduler."""
        thread = getattr(self, "_thread", None)
        if thread is None or thread.ident is None:
            return False  # about to begin
        return self.state != STATE_STOPPED and not thread.is_alive()

    @property
    def problem(self) -> str:
        """Why the loop itself cannot start jobs; empty if it can."""
        if self.is_dead:
            return "The scheduling loop has ended; only a restart helps."
        if self.state != STATE_STOPPED and self.is_hung:
            return f"The scheduling loop has been silent for {self.loop_age:.0f} s."
        return ""

    @property
    def loop_age(self) -> float:
        """Seconds since the loop last gave a sign of life."""
        return time.monotonic() - self.turned_at

    @property
    def is_hung(self) -> bool:
        """Whether the loop has been silent for so long that only a restart helps."""
        return self.loop_age > float(conf.get("SCHEDULER_HUNG_SECONDS"))

    def _main_loop(self) -> None:
        try:
            self._turn_until_stopped()
        finally:  # a stop may have come while declared jobs were stored, beside the job store
            release_connections()

    def _turn_until_stopped(self) -> None:
        until = time.monotonic() + MAX_SLEEP_SECONDS
        while self.state != STATE_STOPPED:
            remaining = max(until - time.monotonic(), 0.0)
            is_woken = self._event.wait(min(remaining, MAX_SLEEP_SECONDS))
            self._event.clear()
            self.turned_at = time.monotonic()
            # Only a sign of life: the elector looks for due jobs at each renewal, and wakes this
            # loop.
            if not is_woken and self.turned_at < until and self._is_idle:
                continue
            try:
                wait: float | None = self._tick()
                self._turning.over()
            except BaseException as error:  # SystemExit ends threads as well
                self._turning.happened(described(error), level=logging.ERROR, error=error)
                if self._turning.seconds > conf.get("SCHEDULER_HUNG_SECONDS"):
                    self._hold_back(
                        f"The scheduling loop fails again and again: {described(error)}"
                    )
                wait = RETRY_SECONDS
            until = time.monotonic() + (math.inf if wait is None else wait)

    @property
    def _is_idle(self) -> bool:
        return self.store.elector is not None and self.store.elector.is_idle

    def _tick(self) -> float | None:
        elector = self.store.elector
        if elector is not None:
            elector.restart_if_dead()
        epoch = elector.epoch if elector is not None else None
        if self.state == STATE_RUNNING and epoch is not None and epoch != self._prepared_epoch:
            if not self._prepare():
                return RETRY_SECONDS
            self._prepared_epoch = epoch
        return self._process_jobs()  # type: ignore[no-any-return]

    def _prepare(self) -> bool:
        """Call `on_elected`; return whether it succeeded. All errors but outages make it unfit."""
        try:
            self._on_elected()
        except NotHolder:
            logger.warning("Declared jobs wait: another process holds the lease now.")
            if self.store.elector is not None:
                self.store.elector.distrust_lease()
            return False
        except (DatabaseError, InterfaceError) as error:
            release_connections()
            text = flattened(error)
            self._preparing.happened(text)
            # The lease was renewed all the time, so the database is not away.
            lasts = self._preparing.seconds > conf.get("SCHEDULER_HUNG_SECONDS")
            if lasts or isinstance(error, LASTING):
                self._hold_back(f"The declared jobs cannot be stored: {text}")
            return False
        except BaseException as error:  # a jobs file may even call sys.exit()
            release_connections()
            self._hold_back(f"The declared jobs cannot be prepared: {described(error)}", error)
            return False
        self._preparing.over()
        return True

    def _hold_back(self, reason: str, error: BaseException | None = None) -> None:
        if self.store.elector is not None:
            self.store.elector.hold_back(reason, error)


class SchedulerProcess:
    """What `runapscheduler` runs, from the start to the last written result."""

    def __init__(self) -> None:
        self.store = DjangoJobStore()
        self.scheduler = DjangoScheduler(self.store, self._sync)
        self.elector = Elector(self.store.using, self._wake, lambda: self.scheduler.problem)
        self.store.elector = self.elector
        self.declared = DeclaredJobs(self.store, self.scheduler)
        self._asked = False
        self._in_a_hurry = False
        self._signal_read, self._signal_write = os.pipe()
        forks.guard(self, lambda one: [one._signal_read, one._signal_write])

    def start(self) -> None:
        """Start every thread. Jobs run once the lease is held."""
        self.scheduler.start()

    def wait(self) -> None:
        """Block the main thread until `ask_to_stop` is called, by SIGTERM's handler for example."""
        # The kernel may deliver a signal to any thread. Its handler runs on the main thread, which
        # would keep reading here if the signal's arrival did not write a byte.
        os.set_blocking(self._signal_write, False)
        signal.set_wakeup_fd(self._signal_write, warn_on_full_buffer=False)
        while not self._asked:
            os.read(self._signal_read, 1)

    def ask_to_stop(self, *_: object) -> None:
        """End soon; asked a second time, do not wait for running jobs. Safe in a signal handler."""
        # The handler may interrupt this thread while it holds an Event's lock: only write a byte.
        self._in_a_hurry = self._asked
        self._asked = True
        os.write(self._signal_write, b".")

    def stop(self) -> bool:
        """Release the lease, let running jobs finish, and write their results.

        It takes at most SCHEDULER_DRAIN_SECONDS, and a few seconds for the results.

        :return: whether every thread has ended. If not, the process must be ended.
        """
        self.scheduler.pause()
        self.elector.drain()
        # A claim that is under way must hand out its jobs first, so that this can wait for them.
        loop_is_done = self.scheduler._jobstores_lock.acquire(timeout=CLAIM_WAIT_SECONDS)
        if loop_is_done:
            self.scheduler._jobstores_lock.release()
        running = len(self.store.running)
        drain = conf.get("SCHEDULER_DRAIN_SECONDS")
        if running:
            logger.info("Waiting up to %g s for %d running jobs to finish.", drain, running)
            logger.warning("%s", self._what_is_cut(drain))
        deadline = time.monotonic() + drain
        while self.store.running and time.monotonic() < deadline and not self._in_a_hurry:
            time.sleep(0.05)
        abandoned = self.store.running
        parting = f"The process was shut down; the job did not finish within {drain:g} s."
        recorder = self.store.recorder
        if recorder is not None:
            recorder.stop(5.0)
        if abandoned:
            names = ", ".join(sorted({run.job_id for run in abandoned}))
            logger.error("Abandoned at shutdown: %s", names)
        if not loop_is_done:
            logger.error("The scheduling loop hangs; the process ends without it.")
            self.elector.stop(parting)
            return False
        self.elector.stop(parting)
        coroutines.stop()
        self.scheduler.shutdown(wait=False)
        return not abandoned

    def _what_is_cut(self, drain: float) -> str:
        """Return which runs are abandoned, and when, if they do not end by themselves."""
        now = time.perf_counter()
        runs = sorted(self.store.running, key=lambda run: run.began or now)
        shown = ", ".join(
            f"{run.job_id} (run {run.execution_id}, for {now - (run.began or now):.0f} s)"
            for run in runs[:MAX_LISTED_RUNS]
        )
        more = f" and {len(runs) - MAX_LISTED_RUNS} more" if len(runs) > MAX_LISTED_RUNS else ""
        at = get_local_dt_format(self.elector.now() + dt.timedelta(seconds=drain))
        return (
            f"Runs that have not ended at {at} are abandoned and recorded as lost: {shown}{more}."
        )

    @property
    def busy_workers(self) -> int:
        """How many workers run a job. Runs that were claimed early still wait for a worker."""
        return min(len(self.store.running), int(conf.get("SCHEDULER_THREADS")))

    @property
    def results_waiting(self) -> int:
        """The number of results that are not written yet."""
        return self.store.recorder.waiting if self.store.recorder else 0

    @property
    def left_over(self) -> str:
        """What would be left undone if the process ended now, in words."""
        waiting = self.results_waiting
        return f"{waiting} results are not written, {len(self.store.running)} runs not finished"

    def _wake(self) -> None:
        if self.scheduler.running:
            self.scheduler.wakeup()

    def _sync(self) -> None:
        """Bring the stored jobs in line with the code; only the holder of the lease does."""
        self.declared.sync(self.elector)
