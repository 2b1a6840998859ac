"""Wake: a change made anywhere is noticed at once, where the database can tell of it.

PostgreSQL can. Elsewhere, behind a pooler that gives each transaction another session, and for
changes that pass this module by (raw SQL), the next renewal of the lease notices: within two
seconds. So nothing rests on an announcement; it only saves the wait.
"""

import contextlib
import os
import selectors
import time
import weakref
from typing import Any

from django.db import connections

from jobstore import conf, forks

CHANNEL = "jobstore"
# Seconds after an announcement in which others are taken to belong to it.
COALESCE_SECONDS = 0.03


def notify(using: str) -> None:
    """Tell the active scheduler, once the transaction is committed, to look at the jobs."""
    if connections[using].vendor == "postgresql":
        with connections[using].cursor() as cursor:
            cursor.execute(f"NOTIFY {CHANNEL}")


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


class Listener:
    """Lets one thread sleep until it is nudged, or an announcement comes on its connection."""

    def __init__(self, using: str) -> None:
        self._using = using
        self._nudged, self._nudge = os.pipe()
        os.set_blocking(self._nudged, False)
        os.set_blocking(self._nudge, False)
        forks.guard(self, lambda one: [one._nudged, one._nudge])
        weakref.finalize(self, _close, self._nudged, self._nudge)
        self._raw: Any = None
        self._has_heard = False

    def wake(self) -> None:
        """End the sleep, from any thread."""
        with contextlib.suppress(BlockingIOError):  # then there are nudges enough
            os.write(self._nudge, b".")

    def listen(self) -> None:
        """Listen on this thread's connection, if it can tell and does not listen yet."""
        connection = connections[self._using]
        if connection.vendor != "postgresql" or not conf.get("SCHEDULER_LISTEN"):
            return
        connection.ensure_connection()
        if connection.connection is not self._raw:
            with connection.cursor() as cursor:
                cursor.execute(f"LISTEN {CHANNEL}")
            self._raw = connection.connection
            self._raw.add_notify_handler(self._hear)

    def sleep(self, seconds: float) -> None:
        """Sleep for so long at the most."""
        if self._raw is not None and not self._raw.closed:
            # What came together with the end of the last answer lies in the client's memory, where
            # it wakes nobody.
            self._take_in()
        if not self._has_heard:
            with selectors.DefaultSelector() as sources:
                sources.register(self._nudged, selectors.EVENT_READ, self._take_nudges)
                if self._raw is not None and not self._raw.closed:
                    sources.register(self._raw.fileno(), selectors.EVENT_READ, self._take_in)
                for key, _ in sources.select(seconds):
                    key.data()
        if self._has_heard:
            time.sleep(COALESCE_SECONDS)
            self._has_heard = False

    def close(self) -> None:
        """Stop listening, since the connection may go back to a pool."""
        raw, self._raw = self._raw, None
        if raw is not None and not raw.closed:
            raw.remove_notify_handler(self._hear)
            raw.execute(f"UNLISTEN {CHANNEL}")

    def _take_nudges(self) -> None:
        os.read(self._nudged, 1024)

    def _take_in(self) -> None:
        """Read what the server sent; a lost connection shows at the next statement."""
        try:
            self._raw.pgconn.consume_input()
        except Exception:
            self._raw = None
            return
        while self._raw.pgconn.notifies() is not None:
            self._has_heard = True

    def _hear(self, _: object) -> None:
        self._has_heard = True
