"""Figures of a mix: how long nobody claimed after each fault, who was active when, what was lost."""

import bisect
import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any

from faults.cluster import Event
from faults.history import LOST, History, pause_after

# As people read them, with whom they befell.
NAMES = {
    "kill": "kill -9",
    "term": "SIGTERM",
    "freeze": "frozen (SIGSTOP)",
    "cut": "network cut (RST)",
    "stall": "network silent",
    "restart": "database restarted",
    "crash": "database crashed",
    "away": "database away for 8 s",
    "file": "bad file deployed",
    "rotate": "secret key rotated",
    "key": "wrong key on one machine",
    "table": "column renamed",
}


@dataclasses.dataclass
class Fault:
    """A fault that happened; `until` is when it was healed.

    `gap` is the longest time in seconds that nobody claimed, of those that began with the fault or
    soon after; `after_return` is the time from a database's return to the next claim. `alone` says
    whether claims were being made before, and no other fault hit the active process or the database
    before they were made again.
    """

    at: float
    kind: str
    name: str
    was_active: bool
    until: float | None = None
    alone: bool = False
    gap: float | None = None
    after_return: float | None = None

    @property
    def title(self) -> str:
        """The kind and whom it befell, as people read it."""
        if self.name in ("database", "people"):
            return NAMES[self.kind]
        return f"{NAMES[self.kind]}, {'the active one' if self.was_active else 'a standby'}"


def measure(faults: Sequence[Fault], claims: Sequence[float], events: Sequence[Event]) -> None:
    """Find out how long nobody claimed after each fault, and whether that was this fault's doing.

    :param claims: when anybody claimed, sorted.
    """
    pauses: list[tuple[float, float]] = []
    for fault, following in itertools.zip_longest(faults, faults[1:]):
        # A pause that begins with the next fault, or just before, is that one's.
        within = min(2.0, following.at - fault.at - 0.3) if following else 2.0
        fault.gap = pause_after(claims, fault.at, within)
        before = bisect.bisect_right(claims, fault.at) - 1
        fault.alone = before >= 0 and fault.at - claims[before] < 1.0
        if fault.was_active or fault.name == "database":
            pauses.append((fault.at, fault.at + (fault.gap or 0.0)))
        if fault.name == "database":
            back = next((e.at for e in events if e.what == "database up" and e.at > fault.at), math.inf)
            fault.after_return = next((claim - back for claim in claims if claim > back), None)
    for fault in faults:
        end = fault.at + (fault.gap or 0.0)
        others = [pause for pause in pauses if pause[0] != fault.at]
        fault.alone &= not any(since < end and fault.at < until for since, until in others)


def lost(history: History) -> dict[str, int]:
    """Count the lost runs by how far they had come, as the trace tells."""
    begun = {start.execution: start.ended is not None for start in history.starts}
    found = {"never begun": 0, "broken off": 0, "ended, result not written": 0}
    for row in history.rows:
        if row.status == LOST:
            ended = begun.get(row.id)
            found[
                "never begun" if ended is None else "ended, result not written" if ended else "broken off"
            ] += 1
    return found


def terms(history: History) -> list[dict[str, Any]]:
    """Return who was active when: for each epoch its process, first and last claim, and runs."""
    found: dict[int, dict[str, Any]] = {}
    names = {event.pid: event.name for event in history.events if event.what == "started"}
    for row in history.rows:
        if row.epoch is None or row.claimed_at is None:
            continue
        first = {"epoch": row.epoch, "name": names.get(row.pid), "pid": row.pid, "runs": 0}
        one = found.setdefault(row.epoch, first | {"from": row.claimed_at, "to": row.claimed_at})
        one["from"], one["to"] = min(one["from"], row.claimed_at), max(one["to"], row.claimed_at)
        one["runs"] += 1
    return [found[epoch] for epoch in sorted(found)]
