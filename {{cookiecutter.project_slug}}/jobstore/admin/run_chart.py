"""Duration and start delay of the latest runs of a job, as a small picture made here."""

from collections.abc import Sequence
from typing import Any

from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from jobstore.admin.dashboard.svg import element, picture
from jobstore.admin.display import MEANINGS, moment, seconds

WIDTH, ROW, GAP, HEAD = 600, 48, 22, 14
# Each with its name at the beginning of a sentence, and inside of one.
ROWS = (
    ("duration", gettext_lazy("Duration"), gettext_lazy("duration")),
    ("start_delay", gettext_lazy("Start delay"), gettext_lazy("start delay")),
)
# Places for bars at least, so that the bars of two runs are not too wide.
LEAST_PLACES = 10


def chart(runs: Sequence[Any]) -> SafeString | str:
    """Return a picture of runs; empty if none of them has a duration.

    :param runs: the newest first, as they are stored.
    """
    ordered = list(reversed(runs))
    if not any(run.duration is not None for run in ordered):
        return ""
    told = "; ".join(_span(field, name, ordered) for field, _begin, name in ROWS)
    parts = [part for number, row in enumerate(ROWS) for part in _row(number, *row, ordered)]
    title = ngettext(
        "The latest run", "The latest %(number)d runs, the newest on the right", len(ordered)
    ) % {"number": len(ordered)}
    size = (WIDTH, len(ROWS) * (ROW + GAP))
    return picture(size, *parts, title=title, description=told, class_="jobstore-chart")


def _row(number: int, field: str, begin: Any, name: Any, runs: Sequence[Any]) -> list[SafeString]:
    top = number * (ROW + GAP) + HEAD
    most = max((_value(run, field) for run in runs), default=0.0)
    step = WIDTH / max(len(runs), LEAST_PLACES)
    heading = _("%(name)s, at most %(length)s") % {"name": begin, "length": seconds(most)}
    parts = [element("text", heading, x=0, y=top - 4)]
    for position, run in enumerate(runs):
        value = getattr(run, field)
        if value is None:
            continue
        height = max(1.0, ROW * _value(run, field) / most if most else 1.0)
        kind = "bad" if MEANINGS.get(run.status) == "bad" else "delay" if number else "good"
        told = f"{moment(run.run_time)}: {name} {seconds(value)}, {_(run.status)}"
        parts.append(
            element(
                "rect",
                element("title", told),
                x=position * step,
                y=top + ROW - height,
                width=step * 0.8,
                height=height,
                class_=f"jobstore-bar jobstore-bar-{kind}",
            )
        )
    return parts


def _span(field: str, name: Any, runs: Sequence[Any]) -> str:
    values = [_value(run, field) for run in runs if getattr(run, field) is not None]
    if not values:
        return _("%(name)s not known") % {"name": name}
    text = _("%(name)s from %(shortest)s to %(longest)s")
    return text % {
        "name": name,
        "shortest": seconds(min(values)),
        "longest": seconds(max(values)),
    }


def _value(run: Any, field: str) -> float:
    """Return a length in seconds, never negative, even if a clock was set back."""
    length = getattr(run, field)
    found = length.total_seconds() if hasattr(length, "total_seconds") else float(length or 0)
    return max(0.0, found)
