"""The answers to probes: of the scheduler process about itself, and of the database about all.

A probe does not wait for the database, since the loop and the elector have noted the state. Only
/health/scheduler asks the database: at most once a second, and for a limited time, however many
clients ask.

Anybody may ask. A client on the scheduler's own machine gets everything. All others get a cause and
a fixed sentence for it, without names of hosts or errors of a database.
"""

import errno
import json
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

from apscheduler.schedulers.base import STATE_STOPPED
from django.db import DatabaseError, InterfaceError

from jobstore import conf
from jobstore.health import metrics, status
from jobstore.health.server import ProbeServer
from jobstore.health.throttle import Throttled
from jobstore.models import SchedulerInstance
from jobstore.texts import flattened
from jobstore.util import release_connections

if TYPE_CHECKING:
    from jobstore.process.scheduler import SchedulerProcess

logger = logging.getLogger("jobstore.health")

Answer = tuple[int, dict[str, Any]]
OK, UNAVAILABLE, NOT_FOUND = 200, 503, 404
# Seconds without an answer of the database after which a process is not ready.
DATABASE_SILENCE_SECONDS = 15.0
# Seconds between two tries to get the address that probes are answered at.
BIND_RETRY_SECONDS = 5.0
Role = SchedulerInstance.Role

# The sentence that anybody may see, by its cause.
REASONS = {
    "": "",
    "no_active_scheduler": "No scheduler is active.",
    "scheduler_silent": "The active scheduler gives no sign of life.",
    "jobs_late": "Jobs are due and do not start.",
    "database": "The database does not answer.",
    "loop": "The scheduling loop is stuck.",
    "renewal": "The lease is not renewed any more.",
    "lease": "The lease could not be renewed in time.",
    str(Role.STARTING): "This scheduler is starting.",
    str(Role.SURPLUS): "Another scheduler is active; this one is surplus.",
    str(Role.STANDBY): "Another scheduler is active; this one stands by.",
    str(Role.DRAINING): "This scheduler is shutting down.",
    str(Role.UNFIT): "This scheduler cannot run jobs.",
    "unknown": "There is no such page.",
}
# Further parts of an answer that anybody may see.
PUBLIC = ("status", "cause", "role", "quarantined")


def public(body: dict[str, Any]) -> dict[str, Any]:
    """Return what anybody may see of an answer: fixed words, and counts."""
    cause = str(body.get("cause", ""))
    reason = REASONS.get(cause, "Something is wrong; the log says what.")
    shown = {key: body[key] for key in PUBLIC if key in body}
    return {"status": "ok", **shown, "reason": reason}


def live(process: "SchedulerProcess") -> Answer:
    """Whether the scheduling loop is moving. Never depends on the database."""
    if process.elector.is_dead:
        return _answer(process, "renewal", "The thread that renews the lease has ended.")
    return _answer(process, "loop", process.scheduler.problem)


def ready(process: "SchedulerProcess") -> Answer:
    """Whether this process does its work: runs jobs, stands by, or finishes its last runs."""
    code, body = live(process)
    if code != OK:
        return code, body
    if process.elector.database_age > DATABASE_SILENCE_SECONDS:
        reason = f"The database does not answer: {process.elector.last_error}"
        return _answer(process, "database", reason)
    if process.elector.role == Role.DRAINING:
        return _answer(process)
    if problem := process.elector.fitness.problem:
        return _answer(process, str(Role.UNFIT), problem)
    if process.elector.role == Role.STANDBY:
        return _answer(process)
    if process.elector.term and not process.scheduler.is_prepared:
        reason = "The declared jobs are being stored."
        return _answer(process, str(Role.STARTING), reason)
    return _answer(process, _cause(process), process.elector.reason)


def active(process: "SchedulerProcess") -> Answer:
    """Whether this process holds a valid lease."""
    if process.elector.term:
        return _answer(process)
    return _answer(process, _cause(process), process.elector.reason)


def scheduler(using: str) -> Answer:
    """Whether one scheduler is active and jobs are on time, as the database shows it."""
    try:
        seen = status.verdict(using)
    except (DatabaseError, InterfaceError) as error:
        text = flattened(error)
        logger.warning("A health check could not read the schedulers from the database: %s", text)
        return UNAVAILABLE, silent_database(text)
    return (UNAVAILABLE if seen["reason"] else OK), seen


def silent_database(text: str = "it takes too long") -> dict[str, Any]:
    """Return the body of the answer if the database does not answer."""
    reason = f"The database does not answer: {text}"
    return {"status": "unavailable", "cause": "database", "reason": reason}


def _cause(process: "SchedulerProcess") -> str:
    role = process.elector.role
    return "lease" if role == Role.ACTIVE else str(role)


def _answer(process: "SchedulerProcess", cause: str = "", reason: str = "") -> Answer:
    seen = process.elector
    age = seen.lease_age
    body = {
        "status": "unavailable" if reason else "ok",
        "cause": cause if reason else "",
        "reason": reason,
        "role": str(seen.role),
        "process": f"{seen.host}:{seen.pid}",
        "version": seen.version,
        "epoch": seen.epoch,
        "holder": f"{seen.host}:{seen.pid}" if seen.term else seen.view and seen.view.holder,
        "lease_age": None if age is None else round(age, 3),
        "loop_age": round(process.scheduler.loop_age, 3),
        "database_age": round(seen.database_age, 3),
        "clock_skew": round(seen.clock_skew, 3),
        "due_lag": round(seen.due_lag, 3),
        "workers": {"busy": process.busy_workers, "total": conf.get("SCHEDULER_THREADS")},
    }
    return (UNAVAILABLE if reason else OK), body


class Pages:
    """The answers of one scheduler process, by path."""

    def __init__(self, process: "SchedulerProcess") -> None:
        self._process = process
        self._scheduler = Throttled(self._look, (UNAVAILABLE, silent_database()))
        self._pages = {"/health/live": live, "/health/ready": ready, "/health/active": active}

    def _look(self) -> Answer:
        try:
            return scheduler(self._process.store.using)
        finally:
            release_connections()

    def answer(self, path: str) -> Answer:
        """Return the whole answer for a path."""
        path = path.partition("?")[0].rstrip("/")
        if path == "/health/scheduler":
            return self._scheduler()
        if path in self._pages:
            return self._pages[path](self._process)
        known = ", ".join((*self._pages, "/health/scheduler", "/metrics"))
        return NOT_FOUND, {"status": "unknown", "cause": "unknown", "reason": f"Ask for {known}."}

    def respond(self, path: str, is_here: bool) -> tuple[int, str, bytes]:
        """Return status, content type and content.

        :param is_here: whether the client is on this machine; others get the public part.
        """
        if path.partition("?")[0] == "/metrics":
            return OK, metrics.CONTENT_TYPE, metrics.render(self._process).encode()
        code, body = self.answer(path)
        shown = body if is_here else public(body)
        return code, "application/json", json.dumps(shown).encode()


def serve(process: "SchedulerProcess", address: str) -> ProbeServer | None:
    """Answer probes at host:port, on a thread; None if that is switched off or impossible.

    If another program has the address, this tries again until it is free.
    """
    if not address:
        return None
    pages = Pages(process)
    try:
        server = ProbeServer(address, pages.respond)
    except (OSError, ValueError) as error:
        problem = (
            f"Health checks are not answered: SCHEDULER_HEALTH_ADDRESS={address} cannot be "
            f"used ({error})."
        )
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            problem += " If another project has that port, give this one its own."
        logger.error("%s", problem)
        process.elector.fitness.probe_problem = problem
        if isinstance(error, OSError):
            again = threading.Thread(
                target=_serve_later, args=(process, address, pages), name="jobstore-health-bind"
            )
            again.daemon = True
            again.start()
        return None
    server.start()
    return server


def _serve_later(process: "SchedulerProcess", address: str, pages: Pages) -> None:
    while True:
        time.sleep(BIND_RETRY_SECONDS)
        if process.scheduler.state == STATE_STOPPED:
            return
        try:
            server = ProbeServer(address, pages.respond)
        except OSError:
            continue
        logger.info("Health checks are answered at %s from now on.", address)
        process.elector.fitness.probe_problem = ""
        server.start()
        return
