"""gunicorn's threaded worker, but a thread gets a request only when all of it has arrived.

In gunicorn's own worker a thread waits for its client, so a few slow clients block the site. Here
one loop collects what arrives, without a thread for each client. A client that is too slow, or
sends too much, is disconnected. Probes have threads of their own, so that slow pages do not make a
process look dead.

It overrides methods of gunicorn's worker that are not public. The pinned version is tested
(config/tests/test_web.py); after an upgrade these tests say whether it still fits.
"""

import contextlib
import errno
import re
import selectors
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

# Seconds within which a request must have arrived, its body included.
ARRIVAL = 30.0
# Seconds that a client may take for each piece of an answer.
ANSWER = 30.0
# Seconds that a client has to hang up after its last answer, before that is done for it.
LINGER = 2.0
# Bytes of an answer that the system buffers for a slow client; no thread waits for a shorter one.
SEND_BUFFER = 256 * 1024
# Bytes of a request: twice what Django takes of a form (DATA_UPLOAD_MAX_MEMORY_SIZE).
MAX_REQUEST = 5 * 1024 * 1024
# Bytes of all requests that are arriving; beyond that, the oldest are disconnected.
MAX_ARRIVING = 32 * 1024 * 1024
# Bytes of a request's head.
MAX_HEAD = 64 * 1024
# Threads for nothing but probes.
PROBE_THREADS = 2

END_OF_HEAD = b"\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*\r\n", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r\n]*chunked", re.IGNORECASE)
EXPECTS = re.compile(rb"\r\nexpect:[ \t]*100-continue", re.IGNORECASE)
LAST_CHUNK = re.compile(rb"(?:^|\r\n)0[^\r\n]*\r\n(?:[^\r\n]+\r\n)*\r\n$")
PROBE = re.compile(rb"(?:GET|HEAD) /health/(?:live|ready)/?[ ?]")


class Connection(TConn):  # type: ignore[misc]
    """A connection, and what has arrived on it of the request that comes next."""

    arrived: bytearray
    deadline: float
    searched: int
    head: int
    length: int | None
    hang_up: Callable[["Connection"], None]

    def begin(self, arrived: bytes) -> None:
        """Expect a request, of which these bytes have arrived."""
        self.arrived = bytearray(arrived)
        self.deadline = time.monotonic() + ARRIVAL
        self.searched, self.head, self.length = 0, 0, None

    def init(self) -> None:
        """Hand what has arrived to gunicorn's parser; called on the thread that answers."""
        super().init()
        self.sock.settimeout(ANSWER)
        self.parser.unreader.unread(bytes(self.arrived))
        self.arrived.clear()

    def close(self, graceful: bool = False) -> None:
        """Close; gunicorn would wait for the client to hang up, and all others would wait too."""
        if graceful:
            self.hang_up(self)
        else:
            super().close()

    def refusal(self) -> str:
        """Return the status with which a request is refused that is too large, or nothing."""
        if not self._has_head():
            return "431 Request Header Fields Too Large" if len(self.arrived) > MAX_HEAD else ""
        size = self.head + (self.length or 0)
        return "413 Content Too Large" if max(size, len(self.arrived)) > MAX_REQUEST else ""

    def is_complete(self) -> bool:
        """Tell whether the request has arrived."""
        if not self._has_head():
            return False
        if self.length is not None:
            return len(self.arrived) >= self.head + self.length
        return bool(LAST_CHUNK.search(self.arrived, max(self.head - 2, len(self.arrived) - 4096)))

    def is_probe(self) -> bool:
        """Tell whether a probe asks."""
        return bool(PROBE.match(self.arrived))

    def _has_head(self) -> bool:
        """Look for the end of the head; note where the body begins, and how long it is."""
        if self.head:
            return True
        end = self.arrived.find(END_OF_HEAD, self.searched)
        if end < 0:
            self.searched = max(len(self.arrived) - len(END_OF_HEAD), 0)
            return False
        head = self.arrived[: end + 2]
        self.head = end + len(END_OF_HEAD)
        if not CHUNKED.search(head):
            # Of several the largest; gunicorn then refuses such a request.
            self.length = max(map(int, LENGTH.findall(head)), default=0)
        if EXPECTS.search(head):
            with contextlib.suppress(OSError):
                self.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        return True


class BufferingWorker(ThreadWorker):  # type: ignore[misc]
    """Answers requests on threads, once they have arrived."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Connections whose next request has not arrived, the oldest first.
        self.arriving: dict[Connection, None] = {}
        # Connections that have had their last answer, and until when their clients may hang up.
        self.leaving: dict[Connection, float] = {}

    def init_process(self) -> None:
        """Start, with threads for probes."""
        self.probe_pool = ThreadPoolExecutor(PROBE_THREADS, "probes")
        super().init_process()

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection; if there are too many, close an idle one first."""
        try:
            client, address = listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._cut_oldest()
            elif error.errno not in (errno.EAGAIN, errno.ECONNABORTED, errno.EWOULDBLOCK):
                raise
            return
        self.nr_conns += 1
        if self.nr_conns >= self.worker_connections:
            self._cut_oldest()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        conn = Connection(self.cfg, client, address, listener.getsockname())
        conn.hang_up = self._hang_up
        self.enqueue_req(conn)

    def enqueue_req(self, conn: Connection) -> None:
        """Wait, without a thread, for the next request of a connection."""
        conn.begin(conn.parser.unreader.take_buffered() if conn.parser else b"")
        conn.sock.setblocking(False)
        self.arriving[conn] = None
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._receive, conn))
        self._receive(conn)  # most requests are there at once

    def _receive(self, conn: Connection, _: object = None) -> None:
        try:
            data = conn.sock.recv(65536)
        except (BlockingIOError, InterruptedError):
            if not conn.arrived:
                return
        except OSError:
            self._close(conn)
            return
        else:
            if not data:
                self._close(conn)
                return
            conn.arrived += data
        if refusal := conn.refusal():
            self._refuse(conn, refusal)
        elif conn.is_complete():
            self._forget(conn)
            self._answer(conn)
        else:
            while sum(len(one.arrived) for one in self.arriving) > MAX_ARRIVING:
                self._close(next(iter(self.arriving)))

    def _answer(self, conn: Connection) -> None:
        conn.data_ready = True
        pool = self.probe_pool if conn.is_probe() else self.tpool
        future = pool.submit(self.handle, conn)
        future.add_done_callback(
            lambda done: self.method_queue.defer(self.finish_request, conn, done)
        )

    def murder_pending(self) -> None:
        """Close connections whose requests take too long; called every second."""
        super().murder_pending()
        now = time.monotonic()
        for conn in [one for one, until in self.leaving.items() if until < now]:
            self._let_go(conn)
        for conn in list(self.arriving):
            if not (self.alive or conn.arrived):
                self._close(conn)  # a stop does not wait for clients that ask nothing
            elif conn.deadline >= now:
                continue
            elif conn.arrived:
                self._refuse(conn, "408 Request Timeout")
            else:
                self._close(conn)

    def _cut_oldest(self) -> None:
        """Close a connection that asks nothing, or else the one that takes longest to ask."""
        if self.keepalived_conns:
            idle = self.keepalived_conns.popleft()
            self._unwatch(idle)
            self.nr_conns -= 1
            idle.close()
        elif oldest := next(iter(self.arriving), None):
            self._close(oldest)

    def _hang_up(self, conn: Connection) -> None:
        """Send nothing more, and close once the client has hung up.

        Closing at once, with something unread, would discard the answer. The connection does not
        count any more.
        """
        with contextlib.suppress(OSError):
            conn.sock.shutdown(socket.SHUT_WR)
            conn.sock.setblocking(False)
            self.leaving[conn] = time.monotonic() + LINGER
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._drain, conn))
            if len(self.leaving) > self.worker_connections:
                self._let_go(next(iter(self.leaving)))
            return
        self._let_go(conn)

    def _drain(self, conn: Connection, _: object) -> None:
        try:
            if conn.sock.recv(65536):
                return
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            pass
        self._let_go(conn)

    def _let_go(self, conn: Connection) -> None:
        self.leaving.pop(conn, None)
        self._unwatch(conn)
        conn.close()

    def _refuse(self, conn: Connection, status: str) -> None:
        text = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        with contextlib.suppress(OSError):
            conn.sock.send(text.encode())
        self._close(conn)

    def _close(self, conn: Connection) -> None:
        self._forget(conn)
        self.nr_conns -= 1
        conn.close()

    def _forget(self, conn: Connection) -> None:
        self.arriving.pop(conn, None)
        self._unwatch(conn)

    def _unwatch(self, conn: Connection) -> None:
        with contextlib.suppress(OSError, KeyError, ValueError):
            self.poller.unregister(conn.sock)
