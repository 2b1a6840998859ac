"""What is to happen when a time is over: one thread for all runs, and none while nothing waits."""

import heapq
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable

logger = logging.getLogger("jobstore.runs")

# Seconds without work after which the thread ends.
IDLE_SECONDS = 60.0


class Deadline:
    """One call that is to be made; `cancel` keeps it from being made."""

    __slots__ = ("_call",)

    def __init__(self, call: Callable[[], object]) -> None:
        self._call: Callable[[], object] | None = call

    def cancel(self) -> None:
        """Do not call, unless that has begun."""
        self._call = None

    def _happen(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call()


_waiting: list[tuple[float, int, Deadline]] = []
_number = itertools.count()
_changed = threading.Condition()
_thread: threading.Thread | None = None
_pid = 0


def after(seconds: float, call: Callable[[], object]) -> Deadline:
    """Have a function called in so many seconds, on the thread of all deadlines: it must be quick.

    :raises RuntimeError: if that thread could not be started.
    """
    global _thread, _pid
    deadline = Deadline(call)
    with _changed:
        if _pid != os.getpid():  # a child inherits what waits, and nobody who would do it
            _pid, _thread = os.getpid(), None
            _waiting.clear()
        entry = (time.monotonic() + seconds, next(_number), deadline)
        heapq.heappush(_waiting, entry)
        if _thread is None:
            _thread = threading.Thread(target=_work, name="jobstore-deadlines", daemon=True)
            try:
                _thread.start()
            except BaseException:
                _thread = None
                _waiting.remove(entry)
                heapq.heapify(_waiting)
                raise
        elif _waiting[0] is entry:
            _changed.notify()
    return deadline


def _work() -> None:
    global _thread
    while True:
        with _changed:
            while not _waiting or _waiting[0][0] > time.monotonic():
                left = _waiting[0][0] - time.monotonic() if _waiting else IDLE_SECONDS
                if not _changed.wait(min(left, threading.TIMEOUT_MAX)) and not _waiting:
                    _thread = None
                    return
            _, _, deadline = heapq.heappop(_waiting)
        try:
            deadline._happen()
        except Exception:
            logger.exception("What was to happen at a deadline failed.")
        del deadline
