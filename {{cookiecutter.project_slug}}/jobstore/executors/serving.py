"""What a worker process does once Django is set up: one run after the other, in its main thread."""

import contextlib
import contextvars
import datetime as dt
import faulthandler
import gc
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from apscheduler.util import ref_to_obj

from jobstore import forks
from jobstore.execution import coroutines
from jobstore.execution import run as runs
from jobstore.executors.request import Request
from jobstore.history import tracebacks
from jobstore.history.progress import Progress

if TYPE_CHECKING:
    from jobstore.executors.child import Pipe

# Seconds between two messages that tell how far a run has come.
PROGRESS_SECONDS = 0.2
# Exit codes, as in child.py, which is a program and not imported.
UNREACHABLE = 114


class Stopper:
    """Ends the function that runs: SystemExit in the main thread, once, so that `finally` runs."""

    def __init__(self) -> None:
        self.run: runs.ActiveRun | None = None
        self.has_ended = False
        self._asked = ""
        self._lock = threading.Lock()

    def begin(self, run: runs.ActiveRun) -> None:
        """Note the run that may be ended from now on."""
        self.has_ended, self._asked = False, ""
        self.run = run

    def ask(self, execution_id: int, why: str) -> None:
        """Have a run end, if it is the one that runs. Any thread may call it."""
        run = self.run
        if run is not None and run.execution_id == execution_id:
            run.stop_reason, self._asked = why, why
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)

    def on_signal(self, *_: object) -> None:
        """Handle SIGTERM: from the parent, which has asked before, or from somebody else."""
        if self._asked and self.run is not None and not self.has_ended:
            self.has_ended = True
            raise SystemExit(self._asked)


class ProgressReports:
    """Tells the parent how far the run has come, now and then; a job may call it in a loop."""

    def __init__(self, pipe: "Pipe") -> None:
        self._pipe = pipe
        self._latest: tuple[int, Progress] | None = None
        self._something = threading.Event()
        self._thread: threading.Thread | None = None

    def put(self, execution_id: int, progress: Progress) -> None:
        """Take a report in place of the one before."""
        self._latest = execution_id, progress
        self._something.set()
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._work, name="jobstore-reports", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while self._something.wait():
            self._something.clear()
            latest, self._latest = self._latest, None
            if latest is not None:
                execution_id, progress = latest
                try:
                    self._pipe.send({"run": execution_id, "progress": vars(progress)})
                except OSError:
                    return
            time.sleep(PROGRESS_SECONDS)


def serve(pipe: "Pipe") -> None:
    """Carry out what comes through the pipe, until the parent sends nothing more."""
    stopper = Stopper()
    signal.signal(signal.SIGTERM, stopper.on_signal)
    forks.guard_handler(stopper.on_signal)
    forks.guard(pipe, lambda one: [one.fileno()])
    with contextlib.suppress(OSError, ValueError):  # there may be no standard error
        faulthandler.enable()  # the log shows where a crash was
    reports = ProgressReports(pipe)
    pipe.on_end = stopper.ask
    gc.collect()
    gc.freeze()
    pipe.send({"ready": True})
    while not stopper.has_ended and (content := pipe.requests.get()):
        request: Request = pickle.loads(content)  # noqa: S301 - the parent's own
        try:
            pipe.send(carry_out(request, pipe, stopper, reports))
        except OSError:
            os._exit(UNREACHABLE)  # the job has closed the pipe: nobody can be told how it ended
    coroutines.stop()
    sys.exit(0)


def carry_out(
    request: Request, pipe: "Pipe", stopper: Stopper, reports: ProgressReports
) -> dict[str, Any]:
    """Carry out one run; return the message that tells how it ended.

    :raises OSError: if the pipe is closed.
    """
    run = runs.ActiveRun(
        request.execution_id,
        request.job_id,
        request.run_time,
        request.epoch,
        func=request.func,
        executor=request.executor,
        attempt=request.attempt,
        reporter=reports.put,
    )

    def clock() -> dt.datetime:
        return dt.datetime.fromtimestamp(time.monotonic() + request.ahead, dt.UTC)

    stopper.begin(run)
    try:
        func, args, kwargs = _call_of(request)
    except BaseException as error:
        run.begin(clock())
        run.details = tracebacks.describe(error, __file__)
    else:
        # From now on it counts as started, and no other process may take it.
        pipe.send({"run": run.execution_id, "began": True})
        with contextlib.suppress(BaseException):  # `details` has it
            contextvars.copy_context().run(runs.carry_out, run, clock, func, args, kwargs)
    stopper.run = None
    if run.finished is None:
        run.end(clock())
    return {
        "run": run.execution_id,
        "details": run.details or {},
        "note": run.note,
        "started_at": run.started_at and run.started_at.isoformat(),
        "finished": run.finished and run.finished.isoformat(),
        "duration": run.duration,
        "is_ended": stopper.has_ended,
        "progress": run.latest and vars(run.latest),
        "memory": resident_bytes(),
    }


def _call_of(request: Request) -> tuple[Callable[..., Any], Any, Any]:
    func: Callable[..., Any] = ref_to_obj(request.func)
    args, kwargs = pickle.loads(request.arguments)  # noqa: S301 - the parent's own
    return func, args, kwargs


def resident_bytes() -> int:
    """Return how much memory this process occupies; 0 if that is not known."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
