"""A small TCP proxy before a database server: it can be away, stall, and cut at a chosen moment."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable

# Bytes of a connection's past that are searched for a text that arrived in pieces.
MEMORY = 65536


class Proxy:
    """Passes connections on to a server until it is told not to."""

    def __init__(self, host: str, port: int) -> None:
        self.server = (host, port)
        self.cuts = 0
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._is_away = False
        self._flowing = threading.Event()
        self._flowing.set()
        self._texts: tuple[bytes, ...] = ()
        self._reply_is_lost = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._start(self._accept)

    # --- What a test does ------------------------------------------------------------------------

    def leave(self) -> None:
        """Cut every connection and refuse new ones."""
        self._is_away = True
        self._cut_all()

    def come_back(self) -> None:
        """Accept connections again."""
        self._is_away = False

    def stall(self) -> None:
        """Keep connections open and pass nothing on, as a network does that loses packets."""
        self._flowing.clear()

    def resume(self) -> None:
        """Pass on what was held back, and all that follows."""
        self._flowing.set()

    def cut_at(self, *texts: bytes, reply_is_lost: bool) -> None:
        """Leave once a connection has sent these texts, in this order.

        :param reply_is_lost: the last one still reaches the server, and only its reply is lost;
            otherwise the server never gets it.
        """
        with self._lock:
            self._texts, self._reply_is_lost = texts, reply_is_lost

    def close(self) -> None:
        """End."""
        self.leave()
        self._flowing.set()
        # Closing alone would not wake the thread that waits in accept().
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    # --- How it works ----------------------------------------------------------------------------

    @staticmethod
    def _start(target: Callable[..., None], *args: object) -> None:
        threading.Thread(target=target, args=args, name="proxy", daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            # The port stays open while away: whoever connects to a closed port of its own range
            # may by chance be connected to itself.
            if self._is_away:
                reset(client)
                continue
            try:
                server = socket.create_connection(self.server)
            except OSError:
                reset(client)
                continue
            with self._lock:
                self._sockets |= {client, server}
            link = _Link(client, server)
            self._start(self._pass_on, link, True)
            self._start(self._pass_on, link, False)
            if self._is_away:
                self._cut_all()

    def _pass_on(self, link: "_Link", is_question: bool) -> None:
        source, target = link.client, link.server
        if not is_question:
            source, target = target, source
        try:
            while data := source.recv(65536):
                self._flowing.wait()
                if is_question and self._is_the_moment(link, data):
                    if not self._reply_is_lost:
                        self.leave()
                        return
                    link.awaits_a_lost_reply = True
                elif not is_question and link.awaits_a_lost_reply:
                    self.leave()
                    return
                target.sendall(data)
        except OSError:
            pass
        finally:
            for one in (source, target):
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
                one.close()
                with self._lock:
                    self._sockets.discard(one)

    def _is_the_moment(self, link: "_Link", data: bytes) -> bool:
        with self._lock:
            if not self._texts:
                link.sent, link.found = b"", 0
                return False
            link.sent = (link.sent + data)[-MEMORY:]
            while link.found < len(self._texts):
                _, found, after = link.sent.partition(self._texts[link.found])
                if not found:
                    return False
                link.sent, link.found = after, link.found + 1
            self._texts = ()
            self.cuts += 1
            return True

    def _cut_all(self) -> None:
        with self._lock:
            sockets, self._sockets = self._sockets, set()
        for one in sockets:
            reset(one)


class _Link:
    """A client's connection and its counterpart to the server."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.sent = b""
        self.found = 0
        self.awaits_a_lost_reply = False


def reset(connection: socket.socket) -> None:
    """Close a connection the way a crash does, without a word to the other side."""
    with contextlib.suppress(OSError):
        # With a linger time of nought, closing sends RST.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # A thread that waits in recv() would keep the connection open.
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
