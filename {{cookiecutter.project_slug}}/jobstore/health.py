"""What probes are told, and the small HTTP server inside the scheduler process that tells it.

Nothing here starts Django or asks the database while a probe waits, except /health/scheduler,
which is about the database: the loop and the presence have noted everything else already.
"""

import datetime as dt
import http.server
import json
import logging
import threading
from typing import TYPE_CHECKING, Any

from django.db import DatabaseError, InterfaceError

from . import conf, presence
from .models import SchedulerInstance, database_now
from .util import as_aware, release_connections

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
    if process.scheduler.is_hung:
        age = process.scheduler.beat_age
        return _answer(process, f"The scheduling loop has been silent for {age:.0f} s.")
    return _answer(process)


def ready(process: "SchedulerProcess") -> Answer:
    """Whether this process does what it is there for: run jobs, or finish them."""
    code, body = live(process)
    if code != OK:
        return code, body
    if process.presence.database_age > DATABASE_SILENCE:
        return _answer(process, f"The database does not answer: {process.presence.last_error}")
    if process.presence.role in (Role.DRAINING, Role.STANDBY):
        return _answer(process)
    return _answer(process, process.presence.reason)


def active(process: "SchedulerProcess") -> Answer:
    """Whether this process holds a valid lease."""
    return _answer(process, "" if process.presence.term else process.presence.reason)


def scheduler(using: str) -> Answer:
    """Whether exactly one scheduler is active and jobs are on time, as the database tells it.

    Also served by the web, since a scheduler that died cannot report itself.
    """
    from .lease import waiting_jobs

    try:
        lease, holder = presence.holder(using)
        now = as_aware(database_now(using))
        first = waiting_jobs(using).values_list("next_run_time", flat=True).first()
    except (DatabaseError, InterfaceError) as error:
        return UNAVAILABLE, {"status": "unavailable", "reason": f"The database fails: {error}"}
    late = max(0.0, (now - as_aware(first)).total_seconds()) if first else 0.0
    body = {
        "status": "ok",
        "reason": "",
        "epoch": lease.epoch if lease else None,
        "holder": str(holder) if holder else None,
        "lease_expires_in": _until(lease.expires_at, now) if lease else None,
        "late_by": round(late, 3),
    }
    if lease is None or lease.expires_at is None or as_aware(lease.expires_at) <= now:
        body["reason"] = "No scheduler is active: nobody holds the lease."
    elif late > conf.get("SCHEDULER_HUNG_SECONDS"):
        body["reason"] = f"A job has been due for {late:.0f} s and does not start."
    if body["reason"]:
        return UNAVAILABLE, body | {"status": "unavailable"}
    return OK, body


def _until(when: dt.datetime | None, now: dt.datetime) -> float | None:
    return None if when is None else round((as_aware(when) - now).total_seconds(), 3)


def _answer(process: "SchedulerProcess", reason: str = "") -> Answer:
    seen = process.presence
    term = seen.term
    body = {
        "status": "unavailable" if reason else "ok",
        "reason": reason,
        "role": str(seen.role),
        "process": f"{seen.host}:{seen.pid}",
        "epoch": term.epoch if term else None,
        "holder": seen.sight.holder if seen.sight and not term else None,
        "beat_age": round(process.scheduler.beat_age, 3),
        "database_age": round(seen.database_age, 3),
        "clock_skew": round(seen.clock_skew, 3),
        "running": len(process.store.running),
        "threads": conf.get("SCHEDULER_THREADS"),
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
            code, body = answer(process, self.path)
            content = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
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
