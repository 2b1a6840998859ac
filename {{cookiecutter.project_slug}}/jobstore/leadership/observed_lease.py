"""The lease as a process sees others keep it: whether its holder is silent, and when to look next.

Silence is measured by the monotonic clock of the one who looks, so that a database clock that
jumps cannot keep a dead holder alive.
"""

import datetime as dt
import time

from jobstore import conf
from jobstore.leadership.lease import LeaseView
from jobstore.util import as_aware

# Seconds between two looks at a lease whose holder the session lock watches.
LEASE_LOOK_SECONDS = 5.0


class ObservedLease:
    """What successive looks at somebody else's lease showed."""

    def __init__(self) -> None:
        # Epoch and expiry, and when they were first seen, on this machine's monotonic clock.
        self._seen: tuple[int, dt.datetime | None] | None = None
        self._seen_since = 0.0
        self._next_look = 0.0
        self.highest_epoch = 0

    def note(self, view: LeaseView, asked_at: float, *, is_watched: bool) -> None:
        """Take in a look that found somebody else's lease.

        :param asked_at: when the look began, on the monotonic clock.
        :param is_watched: whether the session lock tells when the holder is gone.
        """
        seen = (view.epoch, view.expires_at)
        if seen != self._seen:
            self._seen, self._seen_since = seen, asked_at
        wait = LEASE_LOOK_SECONDS if is_watched else float(conf.get("SCHEDULER_POLL_SECONDS"))
        if view.expires_at is not None:
            remaining = (as_aware(view.expires_at) - as_aware(view.now)).total_seconds()
            # Just after the end, in case there is no renewal.
            wait = min(wait, max(remaining, 0.0) + 0.05)
        self._next_look = asked_at + wait

    def forget(self) -> None:
        """Forget what others kept: the lease is one's own."""
        self._seen = None

    def look_at_once(self) -> None:
        """Let the next look be due now."""
        self._next_look = 0.0

    @property
    def is_due(self) -> bool:
        """Whether it is time to look again."""
        return time.monotonic() >= self._next_look

    @property
    def next_look(self) -> float:
        """When to look again, on this machine's monotonic clock."""
        return self._next_look

    @property
    def silent(self) -> tuple[int, dt.datetime | None] | None:
        """The lease as it was seen, if it has not changed for longer than it lives; else None."""
        patience = conf.get("SCHEDULER_LEASE_SECONDS") + conf.get("SCHEDULER_MARGIN_SECONDS")
        is_silent = self._seen is not None and time.monotonic() - self._seen_since > patience
        return self._seen if is_silent else None
