"""Time limits for the scheduler's own statements and transactions.

A process that is frozen inside a transaction keeps its locks, and would block a take-over for as
long. A server that hangs, or a network that drops packets, would keep a thread waiting forever. So
the database ends what is too slow, and TCP ends connections that are silent. Only the scheduler's
own threads are limited; a statement of a job may take an hour.
"""

import contextlib
import os
import socket
from collections.abc import Iterator
from typing import Any

from django.db import DatabaseError, InterfaceError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from jobstore import conf

# Share of SCHEDULER_STATEMENT_SECONDS that a statement may wait for a lock. While a claim waits for
# a job's lock the lease cannot be renewed, and the renewal must still be in time afterwards.
LOCK_WAIT_SHARE = 0.4
# Seconds of silence after which the kernel probes a server, and after which it gives it up.
TCP_IDLE_SECONDS, TCP_SILENCE_SECONDS = 5, 8
# Seconds that a statement of a health check may take, waiting for locks included.
PROBE_STATEMENT_SECONDS = 2.0


def set_session_timeouts(using: str) -> None:
    """Set the limits on this thread's connection, once, unless the connection is shared.

    A pool, in the process or in front of the server, would pass the limits on to its next user.
    There only `set_transaction_timeout` helps.
    """
    connection = connections[using]
    connection.ensure_connection()
    if is_shared(connection) or getattr(connection, "_limited", None) is connection.connection:
        return
    seconds = float(conf.get("SCHEDULER_STATEMENT_SECONDS"))
    with connection.cursor() as cursor:
        for statement, values in _limits(connection, seconds):
            cursor.execute(statement, values)
    connection._limited = connection.connection  # type: ignore[attr-defined]


def set_transaction_timeout(using: str) -> None:
    """Limit the open transaction, also through a pooler: PostgreSQL ends it if it idles."""
    connection = connections[using]
    if connection.vendor == "postgresql":
        seconds = float(conf.get("SCHEDULER_STATEMENT_SECONDS"))
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('idle_in_transaction_session_timeout', %s, true)",
                [_milliseconds(seconds)],
            )


@contextlib.contextmanager
def limited_look(using: str) -> Iterator[None]:
    """Limit the statements inside to PROBE_STATEMENT_SECONDS seconds each; they must only read.

    The session is left as it was, also through a pooler. Inside an open transaction nothing is
    limited: the transaction's owner decides.
    """
    connection = connections[using]
    if connection.in_atomic_block:
        yield
    elif connection.vendor == "postgresql":
        with transaction.atomic(using=using), connection.cursor() as cursor:
            cursor.execute(
                "SELECT set_config('statement_timeout', %s, true)",
                [_milliseconds(PROBE_STATEMENT_SECONDS)],
            )
            yield
    elif limit := _look_limit(connection):
        before, (name, value) = "", limit
        with connection.cursor() as cursor:
            is_pragma = connection.vendor == "sqlite"
            cursor.execute(f"PRAGMA {name}" if is_pragma else f"SELECT @@SESSION.{name}")
            before = cursor.fetchone()[0]
            setting = "PRAGMA {} = {}" if is_pragma else "SET SESSION {} = {}"
            cursor.execute(setting.format(name, value))
        try:
            yield
        finally:
            # A connection that is lost takes the limit with it.
            with contextlib.suppress(DatabaseError, InterfaceError), connection.cursor() as cursor:
                cursor.execute(setting.format(name, before))
    else:
        yield


def _look_limit(connection: Any) -> tuple[str, float] | None:
    if connection.vendor == "sqlite":
        return "busy_timeout", int(1000 * PROBE_STATEMENT_SECONDS)
    if connection.vendor == "mysql":
        if connection.mysql_is_mariadb:
            return "max_statement_time", PROBE_STATEMENT_SECONDS
        return "max_execution_time", int(1000 * PROBE_STATEMENT_SECONDS)
    return None


def is_shared(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether a session is shared through a pool, so that no setting may be left in it.

    Django's own setting for a pooler in transaction mode is DISABLE_SERVER_SIDE_CURSORS.
    """
    settings = connection.settings_dict
    return bool(settings.get("DISABLE_SERVER_SIDE_CURSORS") or settings["OPTIONS"].get("pool"))


def _limits(connection: Any, seconds: float) -> list[tuple[str, list[Any]]]:
    waiting = LOCK_WAIT_SHARE * seconds
    if connection.vendor == "postgresql":
        return [
            (
                "SELECT set_config('statement_timeout', %s, false),"
                " set_config('idle_in_transaction_session_timeout', %s, false),"
                " set_config('lock_timeout', %s, false)",
                [_milliseconds(seconds), _milliseconds(seconds), _milliseconds(waiting)],
            )
        ]
    if connection.vendor == "mysql":
        lock_wait = ("SET SESSION innodb_lock_wait_timeout = %s", [max(1, int(waiting))])
        if connection.mysql_is_mariadb:
            idle = ("SET SESSION idle_transaction_timeout = %s", [max(1, round(seconds))])
            return [lock_wait, idle, ("SET SESSION max_statement_time = %s", [seconds])]
        # MySQL limits only SELECT, and does not end idle transactions.
        return [lock_wait, ("SET SESSION max_execution_time = %s", [int(1000 * seconds)])]
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout")
            patience = min(cursor.fetchone()[0], int(1000 * seconds))
        return [(f"PRAGMA busy_timeout = {patience}", [])]
    return []


def _milliseconds(seconds: float) -> str:
    return f"{int(1000 * seconds)}ms"


def enable_keepalives(connection: Any, **_: object) -> None:
    """Let the kernel give up a silent server, as config/settings.py does for PostgreSQL.

    MySQL's client has no such options, only some that would also end a slow query. Called for every
    new connection of the process, including those of jobs and requests.
    """
    if connection.vendor != "mysql":
        return
    with socket.socket(fileno=os.dup(connection.connection.fileno())) as peer:
        if peer.family not in (socket.AF_INET, socket.AF_INET6):
            return
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in {
            "TCP_KEEPIDLE": TCP_IDLE_SECONDS,
            "TCP_KEEPINTVL": 2,
            "TCP_KEEPCNT": 2,
            "TCP_USER_TIMEOUT": 1000 * TCP_SILENCE_SECONDS,
        }.items():
            if option := getattr(socket, name, None):  # not every system has all of them
                peer.setsockopt(socket.IPPROTO_TCP, option, value)
