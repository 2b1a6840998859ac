"""Another process's lease, as this process sees it: is its holder silent, and when to look next.

Silence is measured by this machine's monotonic clock, so that a database clock that jumps cannot
keep a dead holder's lease alive.
"""

import datetime as dt
import time

from jobstore import conf
from jobstore.leadership.lease import LeaseView
from jobstore.util import as_aware

# Seconds between two looks at a lease whose holder has the session lock.
LEASE_LOOK_SECONDS = 5.0


class ObservedLease:
    """What successive looks at another process's lease showed."""

    def __init__(self) -> None:
        # Epoch and expiry, and when they were first seen, on this machine's monotonic clock.
        self._seen: tuple[int, dt.datetime | None] | None = None
        self._seen_since = 0.0
        self._next_look = 0.0
        self.highest_epoch = 0

    def note(self, view: LeaseView, asked_at: float, *, is_watched: bool) -> None:
        """Take in a look that found another process's lease.

        :param asked_at: when the look began, on the monotonic clock.
        :param is_watched: whether the session lock tells when the holder is gone.
        """
        seen = (view.epoch, view.expires_at)
        if seen != self._seen:
            self._seen, self._seen_since = seen, asked_at
        wait = LEASE_LOOK_SECONDS if is_watched else float(conf.get("SCHEDULER_POLL_SECONDS"))
        if view.expires_at is not None:
            remaining = (as_aware(view.expires_at) - as_aware(view.now)).total_seconds()
            # Just after the expiry, in case there is no renewal.
            wait = min(wait, max(remaining, 0.0) + 0.05)
        self._next_look = asked_at + wait

    def forget(self) -> None:
        """Forget the other process's lease: this process has it now."""
        self._seen = None

    def look_at_once(self) -> None:
        """Make the next look due now."""
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
        """Epoch and expiry of a lease that was not renewed for longer than it lives; else None."""
        patience = conf.get("SCHEDULER_LEASE_SECONDS") + conf.get("SCHEDULER_MARGIN_SECONDS")
        is_silent = self._seen is not None and time.monotonic() - self._seen_since > patience
        return self._seen if is_silent else None
