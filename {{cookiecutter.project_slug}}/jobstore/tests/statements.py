"""Sees the statements that a scheduler's threads send, and fails some where a test wants that."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

# Counted neither by the outcomes that we promise nor by what we compare ourselves with: the borders
# of transactions, and what a new connection is set up with.
BORDERS = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE")
SETTING_UP = ("PRAGMA", "SET SESSION", "SELECT SET_CONFIG")


def without_borders(statements: list[str]) -> list[str]:
    """Leave out what begins and ends transactions, and what sets a connection up."""
    left_out = BORDERS + SETTING_UP
    return [one for one in statements if not one.lstrip().upper().startswith(left_out)]


class Statements:
    """The statements of all threads but the test's own, in the order in which they are sent."""

    def __init__(self) -> None:
        self._seen: list[tuple[str, str]] = []
        self._test = threading.current_thread()
        self._fail: Callable[[str], Exception | None] | None = None

    def of(self, *threads: str) -> list[str]:
        """Return what threads sent whose names begin so."""
        return without_borders([sql for thread, sql in self._seen if thread.startswith(threads)])

    def fail(self, number: int, error: Exception, besides: tuple[str, ...]) -> threading.Event:
        """Fail one statement: skip `number` and let the next raise, threads `besides` apart.

        Returns an event that is set once it was raised.
        """
        raised = threading.Event()
        left = iter(range(number))

        def decide(thread: str) -> Exception | None:
            if thread.startswith(besides) or raised.is_set() or next(left, None) is not None:
                return None
            raised.set()
            return error

        self._fail = decide
        return raised

    def _wrap(
        self, execute: Callable[..., Any], sql: str, params: Any, many: Any, context: Any
    ) -> Any:
        thread = threading.current_thread()
        if thread is not self._test:
            self._seen.append((thread.name, sql))
            if self._fail is not None and (error := self._fail(thread.name)) is not None:
                raise error
        return execute(sql, params, many, context)


@contextlib.contextmanager
def statements_of_threads() -> Iterator[Statements]:
    """See what is sent on connections that are opened inside the block."""
    statements = Statements()
    wrapped: list[BaseDatabaseWrapper] = []

    def wrap(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
        if statements._wrap not in connection.execute_wrappers:
            connection.execute_wrappers.append(statements._wrap)
            wrapped.append(connection)

    connection_created.connect(wrap)
    try:
        yield statements
    finally:
        connection_created.disconnect(wrap)
        for connection in wrapped:
            connection.execute_wrappers.remove(statements._wrap)
