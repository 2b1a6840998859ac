"""What probes are told, and the small HTTP server inside the scheduler process that tells it.

Nothing here starts Django or asks the database while a probe waits, except /health/scheduler,
which is about the database: the loop and the presence have noted everything else already.
"""

import http.server
import json
import logging
import threading
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, InterfaceError

from . import conf, metrics, status
from .models import SchedulerInstance
from .util import release_connections

if TYPE_CHECKING:
    from .scheduler import SchedulerProcess

logger = logging.getLogger("jobstore.health")

Answer = tuple[int, dict[str, Any]]
OK, UNAVAILABLE, NOT_FOUND = 200, 503, 404
# Seconds without an answer of the database after which a process is not ready.
DATABASE_SILENCE = 15.0
Role = SchedulerInstance.Role


def live(process: "SchedulerProcess") -> Answer:
    """Whether the scheduling loop is moving. Never depends on the database."""
    if process.presence.is_dead:
        return _answer(process, "The thread that renews the lease has ended.")
    return _answer(process, process.scheduler.problem)


def ready(process: "SchedulerProcess") -> Answer:
    """Whether this process does what it is there for: run jobs, or finish them."""
    code, body = live(process)
    if code != OK:
        return code, body
    if process.presence.database_age > DATABASE_SILENCE:
        return _answer(process, f"The database does not answer: {process.presence.last_error}")
    if process.presence.role == Role.DRAINING:
        return _answer(process)
    if problem := process.presence.fitness.problem:
        return _answer(process, problem)
    if process.presence.role == Role.STANDBY:
        return _answer(process)
    if process.presence.term and not process.scheduler.is_prepared:
        return _answer(process, "The declared jobs are being brought in line with the code.")
    return _answer(process, process.presence.reason)


def active(process: "SchedulerProcess") -> Answer:
    """Whether this process holds a valid lease."""
    return _answer(process, "" if process.presence.term else process.presence.reason)


def scheduler(using: str) -> Answer:
    """Whether exactly one scheduler is active and jobs are on time, as the database tells it."""
    try:
        seen = status.verdict(using)
    except (DatabaseError, InterfaceError) as error:
        return UNAVAILABLE, {"status": "unavailable", "reason": f"The database fails: {error}"}
    return (UNAVAILABLE if seen["reason"] else OK), seen


def _answer(process: "SchedulerProcess", reason: str = "") -> Answer:
    seen = process.presence
    age = seen.lease_age
    body = {
        "status": "unavailable" if reason else "ok",
        "reason": reason,
        "role": str(seen.role),
        "process": f"{seen.host}:{seen.pid}",
        "version": seen.version,
        "epoch": seen.epoch,
        "holder": f"{seen.host}:{seen.pid}" if seen.term else seen.sight and seen.sight.holder,
        "lease_age": None if age is None else round(age, 3),
        "beat_age": round(process.scheduler.beat_age, 3),
        "database_age": round(seen.database_age, 3),
        "clock_skew": round(seen.clock_skew, 3),
        "lag": round(seen.lag, 3),
        "slots": {"busy": process.busy_workers, "total": conf.get("SCHEDULER_THREADS")},
    }
    return (UNAVAILABLE if reason else OK), body


def answer(process: "SchedulerProcess", path: str) -> Answer:
    """Return the answer for a path."""
    pages = {"/health/live": live, "/health/ready": ready, "/health/active": active}
    path = path.partition("?")[0].rstrip("/")
    if path == "/health/scheduler":
        try:
            return scheduler(process.store.using)
        finally:
            release_connections()
    if path in pages:
        return pages[path](process)
    return NOT_FOUND, {"status": "unknown", "reason": f"There is {', '.join(pages)} here."}


def serve(process: "SchedulerProcess", address: str) -> http.server.ThreadingHTTPServer | None:
    """Answer probes at host:port, from a thread; None if that is switched off or impossible."""
    if not address:
        return None

    class Handler(http.server.BaseHTTPRequestHandler):
        timeout = 5

        def do_GET(self) -> None:
            if self.path == "/metrics":
                code, kind = OK, metrics.CONTENT_TYPE
                content = metrics.render(process).encode()
            else:
                code, body = answer(process, self.path)
                kind, content = "application/json", json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: Any) -> None:
            """Keep probes, several a minute, out of the log."""

    host, _, port = address.rpartition(":")
    try:
        server = http.server.ThreadingHTTPServer((host.strip("[]"), int(port)), Handler)
    except (OSError, ValueError) as error:
        logger.error(
            "Probes are not answered: SCHEDULER_HEALTH_ADDRESS=%s cannot be used (%s).",
            address,
            error,
        )
        return None
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="jobstore-health", daemon=True).start()
    return server
