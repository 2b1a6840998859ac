"""PostgreSQL's NOTIFY and LISTEN: the active scheduler learns of a change at once.

Other databases have nothing like it, and it does not work through a pooler in transaction mode.
There, and for changes that bypass this module (raw SQL), the next renewal of the lease notices the
change within two seconds. So nothing depends on a notification; it only saves time.
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
# Notifications within this many seconds count as one.
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
    """Lets one thread sleep until it is woken, or a notification comes on its connection."""

    def __init__(self, using: str) -> None:
        self._using = using
        self._woken, self._waker = os.pipe()
        os.set_blocking(self._woken, False)
        os.set_blocking(self._waker, False)
        forks.guard(self, lambda one: [one._woken, one._waker])
        weakref.finalize(self, _close, self._woken, self._waker)
        self._raw: Any = None
        self._has_heard = False

    def wake(self) -> None:
        """End the sleep, from any thread."""
        with contextlib.suppress(BlockingIOError):  # it is awake already
            os.write(self._waker, b".")

    def listen(self) -> None:
        """Listen on this thread's connection, unless it does so already or cannot."""
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
        """Sleep for this long at most."""
        if self._raw is not None and not self._raw.closed:
            # A notification that came with the last answer is in the client's memory already, where
            # `select` does not see it.
            self._read_sent()
        if not self._has_heard:
            with selectors.DefaultSelector() as sources:
                sources.register(self._woken, selectors.EVENT_READ, self._drain_pipe)
                if self._raw is not None and not self._raw.closed:
                    sources.register(self._raw.fileno(), selectors.EVENT_READ, self._read_sent)
                for key, _ in sources.select(seconds):
                    key.data()
        if self._has_heard:
            time.sleep(COALESCE_SECONDS)
            self._has_heard = False

    def close(self) -> None:
        """Stop listening: the connection may go back to a pool."""
        raw, self._raw = self._raw, None
        if raw is not None and not raw.closed:
            raw.remove_notify_handler(self._hear)
            raw.execute(f"UNLISTEN {CHANNEL}")

    def _drain_pipe(self) -> None:
        os.read(self._woken, 1024)

    def _read_sent(self) -> None:
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
