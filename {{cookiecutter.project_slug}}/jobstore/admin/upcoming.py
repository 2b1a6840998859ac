"""The next runs of a job as people read them, with marks where clocks change."""

import dataclasses
import datetime as dt
import itertools
from collections.abc import Sequence

from jobstore.admin.display import local
from jobstore.util import as_aware

SHOWN_TIMES = 10


@dataclasses.dataclass(frozen=True)
class Upcoming:
    """One run that is to come."""

    # On the clocks of the schedule's zone, with the name of the zone at that time.
    there: str
    # On the clocks of this site; empty if they show the same for all runs.
    here: str
    zone: str
    # What happens to clocks before this run; mostly nothing.
    mark: str


def upcoming(times: Sequence[dt.datetime], now: dt.datetime) -> list[Upcoming]:
    """Return runs in turn, each with what clocks do since the one before, or since now.

    :param times: aware, in the zone of the schedule.
    :param now: aware.
    """
    if not times:
        return []
    before = as_aware(now).astimezone(times[0].tzinfo)
    is_same = all(local(one).utcoffset() == one.utcoffset() for one in times)
    return [
        Upcoming(
            f"{one:%a %d %b %Y %H:%M:%S} {one:%Z}",
            "" if is_same else f"{local(one):%a %d %b %Y %H:%M:%S} {local(one):%Z}",
            str(one.tzinfo),
            _mark(former, one),
        )
        for former, one in itertools.pairwise([before, *times])
    ]


def _mark(former: dt.datetime, one: dt.datetime) -> str:
    offset, old = one.utcoffset(), former.utcoffset()
    if offset is None or old is None:
        return ""
    marks = []
    if offset != old:
        way = "forward" if offset > old else "back"
        marks.append(f"Clocks go {way} by {_length(abs(offset - old))} before this run.")
    if one.replace(fold=0).utcoffset() != one.replace(fold=1).utcoffset():
        which = "second" if one.fold else "first"
        if one.astimezone(dt.UTC).astimezone(one.tzinfo).replace(tzinfo=None) == one.replace(
            tzinfo=None
        ):
            marks.append(f"Clocks show this time twice; this is the {which}.")
    return " ".join(marks)


def _length(length: dt.timedelta) -> str:
    minutes = int(length.total_seconds() // 60)
    return f"{minutes // 60} h" if minutes % 60 == 0 else f"{minutes} min"
