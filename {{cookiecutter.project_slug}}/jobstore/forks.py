"""What a process that a job forks must not inherit from the scheduler.

A child that is forked (`os.fork`, `multiprocessing` with fork) has copies of everything that is
open: it would keep the probes' port and the session lock after the scheduler's death, take
SIGTERM for a request to the scheduler, and end the parent's database sessions when it closes its
copies of them politely. So it gets signals as any program has them, and /dev/null in place of
those files. Programs that are started (`subprocess`) inherit none of them: all close on exec.
"""

import contextlib
import ctypes
import logging
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

logger = logging.getLogger("jobstore.runs")

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Socket(NamedTuple):
    """A descriptor, and what it was open for: another thread may close it, and open something else.

    A number alone would name that, and a child of a job would lose a file of its own.
    """

    descriptor: int
    file: tuple[int, int]

    @classmethod
    def of(cls, descriptor: int) -> "Socket | None":
        """Return what a descriptor is open for; None if it is closed."""
        try:
            found = os.fstat(descriptor)
        except OSError:
            return None
        return cls(descriptor, (found.st_dev, found.st_ino))


NOTHING = Socket(-1, (0, 0))

_guarded: "weakref.WeakKeyDictionary[Any, Callable[[Any], Iterable[int]]]" = (
    weakref.WeakKeyDictionary()
)
# Connections and the sockets that they were made with.
_wrappers: "weakref.WeakKeyDictionary[BaseDatabaseWrapper, Socket]" = weakref.WeakKeyDictionary()
_handler: Callable[..., Any] | None = None
_lock = threading.Lock()
_is_on = False
# From just before a fork to just after it: what is open, and the signals that were blocked.
_open: list[tuple[Any, Socket]] = []
_mask: set[signal.Signals | int] = set()


def guard(owner: Any, descriptors: Callable[[Any], Iterable[int]]) -> None:
    """Keep files from children, as long as their owner lives.

    :param descriptors: called with the owner after a fork; returns what is open then.
    """
    with _lock:
        _guarded[owner] = descriptors
    _switch_on()


def guard_handler(handler: Callable[..., Any]) -> None:
    """Keep a handler of SIGTERM and SIGINT from children: they end, as other programs do."""
    global _handler
    _handler = handler
    _switch_on()


def note_connection(connection: BaseDatabaseWrapper, **_: object) -> None:
    """Remember a database connection that was just made, on any thread."""
    # MySQL's client does not tell while another thread waits for an answer.
    socket = _socket_of(connection)
    if socket is not None:
        with contextlib.suppress(OSError):
            # Nor does it close its socket for programs that are started without `subprocess`.
            os.set_inheritable(socket.descriptor, False)
    with _lock:
        _wrappers[connection] = socket or NOTHING


def _socket_of(connection: BaseDatabaseWrapper) -> Socket | None:
    if connection.vendor in ("postgresql", "mysql"):
        with contextlib.suppress(Exception):  # it is closed, or not made yet
            return Socket.of(connection.connection.fileno())
    return None


def leave_if_forked(pid: int, error: BaseException | None) -> None:
    """End this process if it is a child that came back from a job's function as its parent did.

    :param pid: the process that the run belongs to.
    :param error: what the function raised here.
    """
    if os.getpid() == pid:
        return
    code = 1 if error is not None else 0
    if isinstance(error, SystemExit):
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    with contextlib.suppress(BaseException):
        logger.warning(
            "Process %d, forked by a job, ends with exit code %d. Its parent, %d, reports the "
            "run. A child should end with os._exit().",
            os.getpid(),
            code,
            pid,
            exc_info=error if isinstance(error, Exception) else None,
        )
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code & 0xFF)


def _switch_on() -> None:
    global _is_on
    with _lock:
        was_on, _is_on = _is_on, True
    if not was_on:
        os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)


def _before() -> None:
    global _mask
    _lock.acquire()
    # What dies with the other threads in the child would be closed politely, before `_in_child`.
    _open[:] = [
        # One that is being made is not noted yet.
        (one.connection, (_socket_of(one) if one.vendor == "postgresql" else None) or socket)
        for one, socket in list(_wrappers.items())
        if one.connection is not None
    ]
    # A signal that reaches the child before it has its own handlers must not be swallowed.
    _mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def _in_parent() -> None:
    _open.clear()
    mask = _mask
    _lock.release()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _in_child() -> None:
    try:
        _restore_signals()
        _replace(_descriptors())
        for raw, socket in _open:
            _part_with(raw, socket)
        # Django makes new ones, should the child use the database.
        for connection in connections.all(initialized_only=True):
            with contextlib.suppress(AttributeError):
                del connections[connection.alias]
    finally:
        _guarded.clear()
        _lock.release()
        signal.pthread_sigmask(signal.SIG_SETMASK, _mask)


def _restore_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in SIGNALS:
        if _handler is not None and signal.getsignal(number) == _handler:
            is_interrupt = number == signal.SIGINT
            signal.signal(number, signal.default_int_handler if is_interrupt else signal.SIG_DFL)


def _descriptors() -> list[int]:
    found: list[int] = []
    for owner, descriptors in list(_guarded.items()):
        with contextlib.suppress(Exception):
            found += descriptors(owner)
    return found


def _replace(descriptors: Iterable[int]) -> None:
    """Put /dev/null in their place: whoever closes or uses the number later does no harm."""
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    try:
        for descriptor in descriptors:
            with contextlib.suppress(OSError):
                os.dup2(nothing, descriptor, inheritable=False)
    finally:
        os.close(nothing)


def _part_with(raw: Any, socket: Socket) -> None:
    """Leave an inherited connection alone for good: it is the parent's."""
    if Socket.of(socket.descriptor) == socket:
        _replace([socket.descriptor])
    # SQLite's may not even be closed in a child. So nothing here is ever freed.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(raw))
