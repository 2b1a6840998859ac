"""One worker process as its parent sees it: started, talked to, ended with all that it started."""

import contextlib
import json
import logging
import multiprocessing.connection
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from django.conf import settings

from jobstore import forks
from jobstore.executors import child
from jobstore.executors.request import Request

logger = logging.getLogger("jobstore.runs")

# Seconds that a process may take until it can carry out runs: it imports the project.
START_SECONDS = 60.0
# Seconds between two looks whether a process still lives, where the system cannot tell at once.
LOOK_SECONDS = 1.0
# Bytes of one message: the texts of a result are far below.
MAX_MESSAGE = 64 * 1024 * 1024
# Seconds for which the end of a process is waited for that was killed.
KILLED_SECONDS = 5.0
# Seconds that a message to end a run may wait for others to be sent.
SEND_SECONDS = 0.2

Message = dict[str, Any]


class CannotStart(Exception):
    """A worker process could not be started; the text says why."""


class KilledEarly(CannotStart):
    """A worker process was killed before it was ready: nothing says that another one would be."""


class Worker:
    """A child process that carries out one run at a time. Its methods never raise OSError."""

    def __init__(self) -> None:
        """Start a process; `wait_until_ready` waits until it is of use.

        The kernel ends it with the thread that calls this.

        :raises CannotStart: if the system does not start it.
        """
        try:
            mine, its = socket.socketpair()
        except OSError as error:
            raise CannotStart(f"A worker process could not be started: {error}.") from error
        with its:
            try:
                self._process = subprocess.Popen(
                    [
                        sys.executable,
                        *_flags(),
                        str(Path(child.__file__)),
                        str(its.fileno()),
                        str(os.getpid()),
                    ],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[its.fileno()],
                    env=_environment(),
                    # Ctrl-C in a terminal is for the parent, which lets runs finish.
                    start_new_session=True,
                )
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                mine.close()
                raise CannotStart(f"A worker process could not be started: {error}.") from error
        self.pid = self._process.pid
        self.runs = 0
        self.memory = 0
        self._is_ready = False
        self._is_reaped = False
        self._deadline = time.monotonic() + START_SECONDS
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._pipe: Any = multiprocessing.connection.Connection(mine.detach())
        self._life = _life(self.pid)
        forks.guard(self, Worker._descriptors)

    def _descriptors(self) -> list[int]:
        found = [] if self._pipe.closed else [self._pipe.fileno()]
        return found if self._life is None else [*found, self._life]

    def wait_until_ready(self) -> None:
        """Wait until Django is set up there.

        :raises CannotStart: if it cannot be, or takes too long.
        :raises KilledEarly: if somebody killed it meanwhile.
        """
        if self._is_ready:
            return
        message = self.receive(self._deadline - time.monotonic())
        is_late = message is None and time.monotonic() >= self._deadline
        if message is not None and message.get("ready"):
            self._is_ready = True
            return
        if message is not None and "failed" in message:
            text = f"Django could not be set up in a worker process: {message['failed']}"
        elif is_late:
            text = f"A worker process was not ready within {START_SECONDS:g} s."
        else:
            # Its end of the pipe is closed a moment before it has ended.
            self.wait(KILLED_SECONDS)
            text = f"A worker process ended before it was ready: {self.end()}."
            if (self._process.returncode or 0) < 0:
                raise KilledEarly(text)
        self.end()
        raise CannotStart(text)

    @property
    def is_ready(self) -> bool:
        """Whether it has been seen to be ready."""
        return self._is_ready

    @property
    def is_alive(self) -> bool:
        """Whether the process has not ended."""
        with self._lock:
            return not self._is_reaped and not self._has_ended()

    def send(self, request: Request) -> bool:
        """Hand a run over; False if the process has ended."""
        self.runs += 1
        return self._send(child.RUN + pickle.dumps(request, pickle.HIGHEST_PROTOCOL))

    def ask_to_end(self, execution_id: int, why: str) -> None:
        """Have a run end: what it started gets SIGTERM, its function SystemExit."""
        self._send(child.END + json.dumps([execution_id, why]).encode(), SEND_SECONDS)
        self._signal(signal.SIGTERM)

    def ask_to_leave(self) -> None:
        """Have the process end, as it has nothing to do; programs that it left live on."""
        self._send(child.LEAVE)

    def _send(self, message: bytes, patience: float = -1) -> bool:
        if not self._sending.acquire(timeout=patience):
            return False
        try:
            self._pipe.send_bytes(message)
            return True
        except (OSError, ValueError):
            return False
        finally:
            self._sending.release()

    def receive(self, timeout: float | None = None) -> Message | None:
        """Return its next message; None if it has ended, or sent none within `timeout` seconds."""
        until = None if timeout is None else time.monotonic() + timeout
        sources = [self._pipe] if self._life is None else [self._pipe, self._life]
        while True:
            left = None if until is None else max(until - time.monotonic(), 0.0)
            look = None if self._life is not None else LOOK_SECONDS
            known = [one for one in (left, look) if one is not None]
            try:
                ready = multiprocessing.connection.wait(sources, min(known, default=None))
                if self._pipe in ready or self._pipe.poll(0):
                    message = json.loads(self._pipe.recv_bytes(MAX_MESSAGE))
                    if not isinstance(message, dict):
                        raise ValueError(message)
                    return message
            except (EOFError, OSError, ValueError):
                return None
            if ready or not self.is_alive or left == 0.0:
                return None

    def kill(self) -> None:
        """End the process and all that it started, at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        with self._lock, contextlib.suppress(OSError):
            if not self._is_reaped:  # afterwards another process may have its id
                os.killpg(self.pid, number)

    def _has_ended(self) -> bool:
        if hasattr(os, "waitid"):
            how = os.WEXITED | os.WNOHANG | os.WNOWAIT  # its id stays taken
            try:
                return os.waitid(os.P_PID, self.pid, how) is not None
            except ChildProcessError:  # a job has waited for any child
                return True
        return self._process.poll() is not None

    def wait(self, seconds: float) -> bool:
        """Wait for the end of the process; False if it lives on after so many seconds."""
        until = time.monotonic() + seconds
        while self.is_alive:
            left = until - time.monotonic()
            if left <= 0:
                return False
            if self._life is None:
                time.sleep(min(left, 0.02))
            else:
                multiprocessing.connection.wait([self._life], left)
        return True

    def end(self) -> str:
        """End the process and all that it started, and free what it took; tell how it ended."""
        self.kill()
        return self._free()

    def free(self) -> None:
        """Free what it took, once it has been asked to leave; end it if it has not done so yet."""
        if self.is_alive:
            with contextlib.suppress(OSError):
                os.kill(self.pid, signal.SIGKILL)
        self._free()

    def _free(self) -> str:
        with self._lock:
            if not self._is_reaped:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(KILLED_SECONDS)
                self._is_reaped = True
                self._pipe.close()
                if self._life is not None:
                    os.close(self._life)
                    self._life = None
        return how_it_ended(self._process.returncode)


def how_it_ended(code: int | None) -> str:
    """Return how a process ended, as the end of a sentence about it."""
    if code is None:
        return "in a way that is not known yet"
    if code == -signal.SIGKILL:
        return "by SIGKILL; probably the machine or its container was out of memory"
    if code < 0:
        try:
            return f"by the signal {signal.Signals(-code).name}"
        except ValueError:
            return f"by the signal {-code}"
    if code == child.UNREACHABLE:
        return "since the job had closed its connection to the scheduler"
    return f"with exit code {code}"


def _life(pid: int) -> int | None:
    """Return a descriptor that tells when a process ends; None where there is no such thing."""
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:  # an old kernel, or one that forbids it
        return None


def _flags() -> list[str]:
    """Return the interpreter's own options, as `multiprocessing` passes them on."""
    flags: list[str] = getattr(subprocess, "_args_from_interpreter_flags", list)()
    # Without those by which it would not look at PYTHONPATH.
    return [*(flag for flag in flags if flag not in ("-E", "-I")), "-P"]


def _environment() -> dict[str, str]:
    """Return the environment of a worker process: it finds the modules that this one finds."""
    environment = dict(os.environ)
    if "PYTHONPATH" in environment:
        environment[child.OWN_PATH] = environment["PYTHONPATH"]
    environment["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    module = getattr(settings, "SETTINGS_MODULE", None)
    if module and "DJANGO_SETTINGS_MODULE" not in environment:
        environment["DJANGO_SETTINGS_MODULE"] = module
    return environment
