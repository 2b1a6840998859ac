"""The program of a worker process: it ends with its parent, sets Django up, and serves one pipe.

It is started by its path (executors/worker.py), so that the first lines run before anything else is
imported: a parent that is killed must not leave it behind.
"""

import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

# The program's own PYTHONPATH, while the parent's sys.path stands in its place.
OWN_PATH = "JOBSTORE_PYTHONPATH"
# Exit codes: the pipe was closed, by the job or with the parent; Django could not be set up.
UNREACHABLE, NOT_SET_UP = 114, 115
# prctl's option: the signal that the kernel sends when the thread ends that started this process.
PR_SET_PDEATHSIG = 1


# The first byte of what the parent sends: a run to carry out, one to end, nothing more to do.
RUN, END, LEAVE = b"R", b"E", b"L"


class Pipe:
    """The child's end of the pipe: runs come in, what becomes of them goes out as JSON."""

    def __init__(self, descriptor: int) -> None:
        """Begin to read, on a thread of its own."""
        # Pickled requests; empty for "nothing more".
        self.requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        # Called on that thread with the id of a run that is to end, and why.
        self.on_end: Callable[[int, str], None] = lambda *_: None
        self._connection: Connection[Any, Any] = Connection(descriptor)
        self._file = _identity(descriptor)
        self._sending = threading.Lock()
        threading.Thread(target=self._read, name="jobstore-pipe", daemon=True).start()

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._connection.fileno()

    def send(self, message: dict[str, Any]) -> None:
        """Send a message.

        :raises OSError: if the pipe is closed: the descriptor may be another file by now.
        """
        with self._sending:
            if _identity(self._connection.fileno()) != self._file:
                raise BrokenPipeError("The descriptor of the pipe is another file.")
            self._connection.send_bytes(json.dumps(message).encode())

    def _read(self) -> None:
        try:
            while True:
                message = self._connection.recv_bytes()
                kind, content = message[:1], message[1:]
                if kind == END:
                    self.on_end(*json.loads(content))
                else:
                    self.requests.put(content if kind == RUN else b"")
        except (EOFError, OSError):
            end_group()


def _identity(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


def end_group() -> None:
    """End this process and what its jobs started: nobody waits for it any more."""
    try:
        os.killpg(os.getpid(), signal.SIGKILL)
    finally:
        os._exit(UNREACHABLE)


def end_with_parent(parent: int) -> None:
    """Have the kernel end this process with its parent, where it can (Linux)."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it ended before
        os._exit(UNREACHABLE)


def restore_path() -> None:
    """Give programs that jobs start the PYTHONPATH that the parent had."""
    own = os.environ.pop(OWN_PATH, None)
    os.environ.pop("PYTHONPATH", None)
    if own is not None:
        os.environ["PYTHONPATH"] = own


def main(descriptor: int, parent: int) -> None:
    """Serve the parent at the other end of a descriptor until it says that it is enough."""
    end_with_parent(parent)
    # Whoever means the scheduler may tell all its processes to stop; it says what becomes of them.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    restore_path()
    pipe = Pipe(descriptor)
    try:
        import django

        django.setup()
        from jobstore.executors.serving import serve
    except BaseException as error:
        pipe.send({"failed": f"{type(error).__name__}: {error}"[:2000]})
        os._exit(NOT_SET_UP)
    serve(pipe)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
