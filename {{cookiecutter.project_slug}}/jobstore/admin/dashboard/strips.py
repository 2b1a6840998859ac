"""The strip of a job: its last 24 hours and its next 24, in slots of half an hour.

Each state has a shape of its own, besides its colour. One run in a slot is a tick, several are a
block. Failures in a slot are marked above it, the worst first.
"""

import collections
import datetime as dt
from collections.abc import Iterable, Mapping

from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from jobstore.admin.dashboard import svg
from jobstore.models import DjangoJobExecution

Run = DjangoJobExecution

SLOT_SECONDS = 1800
SLOTS = 24 * 3600 // SLOT_SECONDS
# Units of the drawing.
SLOT_WIDTH, HEIGHT, FLOOR = 4, 20, 20
NOW_AT = SLOTS * SLOT_WIDTH
EVERY_SIX_HOURS = SLOT_WIDTH * 6 * 3600 // SLOT_SECONDS

# Runs by slot and status; a slot is its number since 1970.
Counts = Mapping[tuple[int, str], int]

GRID = svg.path(
    [f"M{x} 0v{HEIGHT}" for x in range(0, 2 * NOW_AT + 1, EVERY_SIX_HOURS) if x != NOW_AT], "grid"
)
NOW = svg.path([f"M{NOW_AT} 0v{HEIGHT}"], "now")

# The failures, the worst first: class, and shape around the middle of a slot. A shape is wider than
# a slot, and may cover parts of its neighbours.
MARKS = {
    Run.LOST: ("lost", "m-2.5 .8l5 5m0-5l-5 5"),
    Run.ERROR: ("failed", "m0 0l3 3.5-3 3.5-3-3.5z"),
    Run.MISSED: ("missed", "m0 .8a2.6 2.6 0 1 0 .01 0z"),
    Run.MAX_INSTANCES: ("skipped", "m-2.2 1.2h4.4v4.4h-4.4z"),
    Run.CANCELLED: ("cancelled", "m-2 3h4v1.4h-4z"),
}


def slot_of(when: dt.datetime) -> int:
    """Return the number of the slot that an aware time is in."""
    return int(when.timestamp()) // SLOT_SECONDS


def strip(
    job_id: str, counts: Counts, planned: Iterable[int], now: dt.datetime, *, is_whole: bool = True
) -> SafeString:
    """Return the picture of a job's last and next 24 hours.

    :param planned: the slots in which it will run.
    :param is_whole: whether all of these are known. If not, only the next one is drawn.
    """
    current = slot_of(now)
    shapes: dict[str, list[str]] = collections.defaultdict(list)
    ran: dict[int, int] = collections.Counter()
    wrong: dict[int, list[str]] = collections.defaultdict(list)
    # In order, since databases group in any: what is drawn otherwise would be sent as changed.
    for (slot, status), number in sorted(counts.items()):
        if status in MARKS:
            wrong[slot].append(status)
        if status in (Run.SUCCESS, Run.ERROR, Run.LOST):
            ran[slot] += number
        if status in Run.UNFINISHED:
            x = _left(slot - current + SLOTS - 1)
            shapes["busy"].append(f"M{x + 2} 10a3 3 0 1 0 .01 0z")
    for slot, number in ran.items():
        x = _left(slot - current + SLOTS - 1)
        kind = "failed" if wrong.get(slot) and not counts.get((slot, Run.SUCCESS)) else "executed"
        left, width, top = (x + 1, 2, 11) if number == 1 else (x + 0.25, 3.5, 9)
        shapes[kind].append(f"M{svg.number(left)} {top}h{width}V{FLOOR}h-{width}z")
    for slot, found in wrong.items():
        x = _left(slot - current + SLOTS - 1)
        kind, shape = next(MARKS[status] for status in MARKS if status in found)
        shapes[kind].append(f"M{x + SLOT_WIDTH // 2} 0{shape}")
    for slot in planned:
        x = NOW_AT + _left(slot - current)
        if current <= slot < current + SLOTS:
            shapes["planned"].append(f"M{x + 1} 15h2V{FLOOR}h-2z")
    return svg.picture(
        (2 * NOW_AT, HEIGHT),
        GRID,
        *svg.paths(shapes),
        NOW,
        title=_("%(job)s, last and next 24 hours") % {"job": job_id},
        description=_in_words(counts, sum(1 for _slot in planned), is_whole=is_whole),
        class_="jobstore-strip",
    )


def totals(counts: Counts) -> dict[str, int]:
    """Return how many runs there were in each state."""
    found: dict[str, int] = collections.Counter()
    for (_slot, status), number in counts.items():
        found[status] += number
    return found


def _left(position: int) -> int:
    return position * SLOT_WIDTH


def _in_words(counts: Counts, slots: int, *, is_whole: bool) -> str:
    found = totals(counts)
    parts = [f"{_(status).rstrip('!')} {found[status]}" for status in Run.STATUSES if found[status]]
    past = ", ".join(parts) or _("No run in the last 24 hours")
    if not is_whole:
        return past
    ahead = ngettext(
        "to run in %(number)d half hour of the next 24 hours",
        "to run in %(number)d half hours of the next 24 hours",
        slots,
    ) % {"number": slots}
    return f"{past}; {ahead}"
