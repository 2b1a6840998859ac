"""The session lock: a lock in the database session of the lease's holder, which shows its death.

The database drops the lock when the session ends. If a process gets the lock although the lease
says that its holder has it, the holder's process or its connection is gone. The process then takes
over at once and does not wait for the lease to expire. The lock only saves time. A holder that is
taken for dead although it lives is fenced by the epoch. If sessions do not last (behind a pooler),
or if a frozen process keeps its session, the lease's expiry decides.
"""

import contextlib
import fcntl
import hashlib
import logging
import os
from pathlib import Path
from typing import Any

from django.db import DatabaseError, InterfaceError, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from jobstore import conf, forks
from jobstore.database.timeouts import is_shared

logger = logging.getLogger("jobstore.scheduler")

# PostgreSQL names a lock by two numbers: one of this app, one of the schema.
KEY = int.from_bytes(hashlib.sha256(b"jobstore").digest()[:4], "big", signed=True)
TAKE = {
    "postgresql": f"SELECT pg_try_advisory_lock({KEY}, hashtext(current_schema()))",
    "mysql": "SELECT GET_LOCK(CONCAT('jobstore.', MD5(DATABASE())), 0)",
}
GIVE = {
    "postgresql": f"SELECT pg_advisory_unlock({KEY}, hashtext(current_schema()))",
    "mysql": "SELECT RELEASE_LOCK(CONCAT('jobstore.', MD5(DATABASE())))",
}
# Ends the session that has the lock. A process may do that to others of its own user.
EVICT = {
    "postgresql": "SELECT pg_terminate_backend(pid) FROM pg_locks"  # noqa: S608 - of constants
    " WHERE locktype = 'advisory'"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    f" AND classid = {KEY % 2**32}"
    " AND objid = (hashtext(current_schema())::bigint & 4294967295)::oid"
    " AND granted AND pid <> pg_backend_pid()",
    "mysql": "SELECT IS_USED_LOCK(CONCAT('jobstore.', MD5(DATABASE())))",
}
SESSION = {"postgresql": "SELECT pg_backend_pid()", "mysql": "SELECT CONNECTION_ID()"}


class SessionLock:
    """One process's side of the lock. Only one thread may use it, since it uses its connection."""

    def __init__(self, using: str) -> None:
        """Prepare; nothing is locked.

        :param using: alias of the database that holds the jobs.
        """
        self.using = using
        self.is_on = bool(conf.get("SCHEDULER_SESSION_LOCK"))
        self._is_proven = False
        self._raw: Any = None
        self._file: int | None = None
        # A child process that inherits the file would keep the lock after this process's death.
        forks.guard(self, lambda one: [] if one._file is None else [one._file])

    @property
    def holds(self) -> bool:
        """Whether this process has the lock, as far as it knows."""
        if self._file is not None:
            return True
        return self._raw is not None and connections[self.using].connection is self._raw

    def try_hold(self) -> bool:
        """Take the lock if it is free, without waiting; return whether this process has it now."""
        if self.holds:
            return True
        self._raw = None
        if not self.is_on:
            return False
        connection = connections[self.using]
        if connection.vendor == "sqlite":
            return self._lock_file(str(connection.settings_dict["NAME"]))
        if connection.vendor not in TAKE:
            return self._switch_off("this database has no locks of that kind")
        try:
            if not self._is_proven and not _lasts(connection):
                return self._switch_off("its sessions do not last; a pooler may be in between")
            self._is_proven = True
            if _ask(connection, TAKE[connection.vendor]):
                self._raw = connection.connection
        except (DatabaseError, InterfaceError) as error:
            if not connection.is_usable():
                raise
            return self._switch_off(str(error).strip())
        return self.holds

    def let_go(self) -> None:
        """Release the lock, if this process has it."""
        file, self._file = self._file, None
        if file is not None:
            os.close(file)
        elif self.holds:
            connection = connections[self.using]
            # The connection may be lost, and the lock with it.
            with contextlib.suppress(DatabaseError, InterfaceError):
                _ask(connection, GIVE[connection.vendor])
        self._raw = None

    def evict(self) -> None:
        """End the session of the process that has the lock. Only the lease's holder may do so.

        A frozen process keeps its session. While it has the lock, nobody would notice the death of
        its successor. It gets a new session when it continues.
        """
        connection = connections[self.using]
        if not self.is_on or connection.vendor not in EVICT:
            return
        try:
            with connection.cursor() as cursor:
                cursor.execute(EVICT[connection.vendor])
                found = cursor.fetchone()
                if connection.vendor == "mysql" and found[0] is not None:
                    cursor.execute("KILL CONNECTION %s", [found[0]])
        except (DatabaseError, InterfaceError) as error:
            if not connection.is_usable():
                raise
            logger.warning("The former holder's session could not be ended: %s", error)

    def _lock_file(self, name: str) -> bool:
        """Lock a file beside the database's: processes on one host share both."""
        if not Path(name).is_absolute():
            return False  # in memory
        try:
            file = os.open(f"{name}-scheduler", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            return self._switch_off(str(error))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)
            return False
        self._file = file
        return True

    def _switch_off(self, reason: str) -> bool:
        self.is_on = False
        logger.warning(
            "If the active scheduler dies, that is noticed when its lease ends, not at once: %s.",
            reason,
        )
        return False


def _ask(connection: BaseDatabaseWrapper, question: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(question)
        return cursor.fetchone()[0]


def _lasts(connection: BaseDatabaseWrapper) -> bool:
    """Tell whether a connection keeps its session while others are at work.

    A pooler in transaction mode gives another client the session that has just been used.
    """
    if is_shared(connection) and not connection.settings_dict["OPTIONS"].get("pool"):
        return False
    question = SESSION[connection.vendor]
    mine = _ask(connection, question)
    other = connection.copy()
    # Not from the process's own pool, which may have no second connection to give.
    other.settings_dict["OPTIONS"].pop("pool", None)
    try:
        other.set_autocommit(False)
        theirs = _ask(other, question)  # in a transaction that is still open
        return bool(theirs != mine and _ask(connection, question) == mine)
    finally:
        other.close()
