"""The next runs of a job as text for people, with marks where clocks change."""

import dataclasses
import datetime as dt
import itertools
from collections.abc import Sequence

from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from jobstore.admin.display import local
from jobstore.util import as_aware

SHOWN_TIMES = 10


@dataclasses.dataclass(frozen=True)
class Upcoming:
    """A future run."""

    # The time in the schedule's zone, with the name of the zone at that time.
    there: str
    # The time in this site's zone; empty if both zones agree for all runs.
    here: str
    zone: str
    # The change of clocks before this run; usually empty.
    mark: str


def upcoming(times: Sequence[dt.datetime], now: dt.datetime) -> list[Upcoming]:
    """Return the runs in order, each with the change of clocks since the one before, or since now.

    :param times: aware, in the zone of the schedule.
    :param now: aware.
    """
    if not times:
        return []
    before = as_aware(now).astimezone(times[0].tzinfo)
    is_same = all(local(one).utcoffset() == one.utcoffset() for one in times)
    return [
        Upcoming(
            _written(one),
            "" if is_same else _written(local(one)),
            str(one.tzinfo),
            _mark(former, one),
        )
        for former, one in itertools.pairwise([before, *times])
    ]


def _written(when: dt.datetime) -> str:
    pattern = pgettext("format of a day with its weekday", "D d M Y")
    return f"{date_format(when, pattern)} {when:%H:%M:%S} {when:%Z}"


def _mark(former: dt.datetime, one: dt.datetime) -> str:
    offset, old = one.utcoffset(), former.utcoffset()
    if offset is None or old is None:
        return ""
    marks = []
    if offset != old:
        text = (
            _("Clocks go forward by %(length)s before this run.")
            if offset > old
            else _("Clocks go back by %(length)s before this run.")
        )
        marks.append(text % {"length": _length(abs(offset - old))})
    comes_twice = one.replace(fold=0).utcoffset() != one.replace(fold=1).utcoffset()
    back = one.astimezone(dt.UTC).astimezone(one.tzinfo).replace(tzinfo=None)
    if comes_twice and back == one.replace(tzinfo=None):
        marks.append(
            _("Clocks show this time twice; this is the second.")
            if one.fold
            else _("Clocks show this time twice; this is the first.")
        )
    return " ".join(marks)


def _length(length: dt.timedelta) -> str:
    minutes = int(length.total_seconds() // 60)
    if minutes % 60 == 0:
        return _("%(a)d h") % {"a": minutes // 60}
    return _("%(a)d min") % {"a": minutes}
