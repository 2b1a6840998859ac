"""The small HTTP server in the scheduler process that answers probes, even if others connect, too.

A probe takes milliseconds, so a connection that has been open for long is not one. If there are too
many, the oldest are closed. So clients that connect and send nothing do not keep probes out.
"""

import contextlib
import http.server
import ipaddress
import json
import logging
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from jobstore import forks, probe

logger = logging.getLogger("jobstore.health")

# Open connections; beyond that, the oldest are closed for new ones.
MAX_CONNECTIONS = 32
# Threads; some may still be busy with a closed connection. Beyond that, nobody is let in.
MAX_THREADS = 2 * MAX_CONNECTIONS
# Seconds that a connection may be open.
CONNECTION_SECONDS = 10.0

# Returns status code, content type and content for a path. The flag says whether the client is on
# this machine, and so may see everything.
Respond = Callable[[str, bool], tuple[int, str, bytes]]


class ProbeServer(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Answers GET and HEAD."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: str, respond: Respond) -> None:
        """Listen at `host:port` or `[IPv6 address]:port`.

        :raises OSError: if the address is not available.
        :raises ValueError: if it is no address; the text says why.
        """
        self.respond = respond
        self._open: dict[socket.socket, float] = {}
        self._lock = threading.Lock()
        self._room = threading.BoundedSemaphore(MAX_THREADS)
        host, port = probe.split_address(address)
        found = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        errors: list[OSError] = []
        for family, _, _, _, place in found:
            if not host and family != socket.AF_INET:
                continue  # ":8001" has always meant IPv4; "[::]:8001" means both
            self.address_family = family
            try:
                super().__init__(place, _Handler)  # type: ignore[arg-type]
            except OSError as error:
                errors.append(error)
            else:
                forks.guard(self, ProbeServer._descriptors)
                return
        raise errors[0] if errors else OSError("the host has no address")

    def _descriptors(self) -> list[int]:
        """Return the files that a job's child must not keep open: clients would wait."""
        return [self.socket.fileno(), *(request.fileno() for request in list(self._open))]

    def server_bind(self) -> None:
        """Bind; an address that stands for all addresses includes IPv4."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer on a thread; if there are too many connections, close the oldest first."""
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        with self._lock:
            self._open[request] = time.monotonic()
            if len(self._open) > MAX_CONNECTIONS:
                self._cut(next(iter(self._open)))
        try:
            super().process_request(request, client_address)
        except BaseException:  # no thread could be started
            self._room.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and count the thread as free again."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def close_request(self, request: Any) -> None:
        """Forget a connection, and close it."""
        with self._lock:
            self._open.pop(request, None)
        super().close_request(request)

    def service_actions(self) -> None:
        """Close connections that have been open for too long; called twice a second."""
        with self._lock:
            now = time.monotonic()
            for request in [
                one for one, since in self._open.items() if now - since > CONNECTION_SECONDS
            ]:
                self._cut(request)

    def _cut(self, request: socket.socket) -> None:
        """Shut down a connection, so that the thread that reads from it closes it."""
        self._open.pop(request, None)
        with contextlib.suppress(OSError):  # it has ended by itself
            request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that leave early; log any other error."""
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            logger.debug("A client of the health address left early: %s", error)
        else:
            logger.error("A health check was not answered.", exc_info=error)

    def start(self) -> None:
        """Answer, on a thread of its own."""
        threading.Thread(target=self.serve_forever, name="jobstore-health", daemon=True).start()


class _Handler(http.server.BaseHTTPRequestHandler):
    timeout = 5
    server: ProbeServer

    def do_GET(self) -> None:
        """Answer a probe."""
        is_here = _is_loopback(self.client_address[0])
        code, kind, content = self.server.respond(self.path, is_here)
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header(probe.HEADER, probe.identity())
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_HEAD = do_GET  # noqa: N815 - so it is looked up

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse without repeating what was sent."""
        content = json.dumps({"status": "unknown", "reason": self.responses[code][0]}).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def version_string(self) -> str:
        """Return a name without versions."""
        return "jobstore"

    def log_message(self, *args: Any) -> None:
        """Keep probes, several a minute, out of the log."""


def _is_loopback(address: str) -> bool:
    try:
        client = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = client.ipv4_mapped if isinstance(client, ipaddress.IPv6Address) else None
    return (mapped or client).is_loopback
