"""What a job leaves behind in its worker: undone after each run, and listed in the run's note.

Context variables, with Django's language and time zone, are not affected: each run has a context of
its own. What belongs to the whole process is not undone, since other jobs run in it; it is listed
where that is cheap to find out. A thread's own variables (`threading.local`) stay.
"""

import contextlib
import locale
import logging
import os
import socket
import sys
import types
from collections.abc import Container
from typing import Any

from django.db import DatabaseError, InterfaceError, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone, translation

logger = logging.getLogger("jobstore.runs")

Found = dict[str, Any]

# What a run may leave in its own context, and in the process, in the words of a note.
OWN = ("language", "time zone")
PROCESS = ("working directory", "default timeout of sockets", "locale", "logging.disable", "stdout")


def look() -> Found:
    """Return what is set now, before a run; takes some microseconds."""
    try:
        folder = os.getcwd()
    except OSError:  # it was deleted
        folder = "one that is gone"
    return {
        "language": translation.get_language(),
        "time zone": timezone.get_current_timezone(),
        "working directory": folder,
        "default timeout of sockets": socket.getdefaulttimeout(),
        "locale": locale.setlocale(locale.LC_ALL),
        "logging.disable": logging.root.manager.disable,
        "stdout": sys.stdout,
    }


def changes(before: Found) -> list[str]:
    """Return a sentence for each thing that has changed since before the run."""
    after = look()
    if after == before:
        return []
    own = [
        f"The {name} {after[name]} was left activated; no other run sees it."
        for name in OWN
        if after[name] != before[name]
    ]
    return own + [
        f"The {name} of the whole process changed to {after[name]!s:.200} during this run, "
        "and stays so for every job."
        for name in PROCESS
        if after[name] != before[name]
    ]


def not_begun(result: Any) -> list[str]:
    """Return a sentence if a job returned work that was not done, such as a generator."""
    kind = type(result)
    if kind in (types.GeneratorType, types.AsyncGeneratorType):
        return [f"It returned a {kind.__name__}, and nothing of that ran: loop over it in the job."]
    return []


def transactions() -> set[str]:
    """Return the databases on which this thread has a transaction: before a run, its caller's."""
    opened = connections.all(initialized_only=True)
    return {connection.alias for connection in opened if connection.in_atomic_block}


def close_connections(but: Container[str] = ()) -> list[str]:
    """Close this thread's database connections, whatever is open on them; return sentences.

    :param but: databases that are left alone: a program that runs a job inside a transaction of
        its own, as a test does, keeps that transaction.
    """
    said = []
    for connection in connections.all(initialized_only=True):
        if connection.alias in but:
            continue
        try:
            said += _close(connection)
        except Exception:
            # Only logged: the next run of this thread gets another connection in any case.
            logger.debug("A connection of a run could not be closed.", exc_info=True)
            _forget(connection)
    return said


def close_what_is_open() -> list[str]:
    """Close this thread's connections that have an open transaction; return sentences."""
    said = []
    for connection in connections.all(initialized_only=True):
        if _open(connection):
            said += _close(connection)
    return said


def _close(connection: BaseDatabaseWrapper) -> list[str]:
    said = _open(connection) + _zone(connection)
    if connection.execute_wrappers:
        said.append(
            f"A wrapper of statements was left on database {connection.alias!r}; it was removed."
        )
    with contextlib.suppress(DatabaseError, InterfaceError):  # it may be lost
        _reset(connection)
        connection.close()
    if said or connection.in_atomic_block or connection.force_debug_cursor:
        _forget(connection)
    return said


def _open(connection: BaseDatabaseWrapper) -> list[str]:
    """Return a sentence if a transaction is open, or would be opened by the next statement."""
    name = repr(connection.alias)
    if connection.in_atomic_block:
        return [f"A transaction was left open on database {name}; it was rolled back."]
    if connection.connection is None:
        return []
    if not connection.autocommit and connection.settings_dict["AUTOCOMMIT"]:
        return [f"Autocommit was left off on database {name}; what was not committed was undone."]
    if connection.settings_dict["AUTOCOMMIT"] and _is_in_transaction(connection):
        return [f"BEGIN was left without an end on database {name}; it was rolled back."]
    return []


def _zone(connection: Any) -> list[str]:
    """Return a sentence if the session has another time zone, which PostgreSQL tells unasked.

    It tells no other setting that matters here: search_path not before version 18.
    """
    raw = connection.connection
    if connection.vendor != "postgresql" or raw is None or raw.closed:
        return []
    found, own = raw.info.parameter_status("TimeZone"), connection.timezone_name
    if not found or found.lower() == own.lower():
        return []
    name = repr(connection.alias)
    return [f"The time zone of the session on database {name} was left at {found}; it was undone."]


def _is_in_transaction(connection: Any) -> bool:
    raw = connection.connection
    if connection.vendor == "postgresql":
        return bool(raw.info.transaction_status in (1, 2, 3))  # ACTIVE, INTRANS, INERROR
    if connection.vendor == "sqlite":
        return bool(raw.in_transaction)
    return False  # MariaDB's and MySQL's client would have to ask the server, for every run


def _reset(connection: Any) -> None:
    """Undo what a job has set in a session that goes back to the process's pool."""
    raw = connection.connection
    if raw is None or not connection.settings_dict["OPTIONS"].get("pool"):
        return
    try:
        raw.rollback()
        raw.autocommit = True
        raw.execute("DISCARD ALL")
        connection._configure_connection(raw)
    except Exception:
        raw.close()  # the pool makes another


def _forget(connection: BaseDatabaseWrapper) -> None:
    """Let the thread's next use of this database open a new connection."""
    with contextlib.suppress(AttributeError):
        del connections[connection.alias]
