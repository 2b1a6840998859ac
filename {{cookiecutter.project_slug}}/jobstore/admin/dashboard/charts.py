"""The charts of the last hour: runs and start delay, a bar for each minute."""

import functools
import math
from collections.abc import Sequence

from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import get_language, ngettext
from django.utils.translation import gettext as _

from jobstore.admin.dashboard import svg
from jobstore.admin.dashboard.queries import Minute
from jobstore.admin.display import local, seconds

# Units of a drawing, which fills its box.
BAR, GAP, HEIGHT = 8, 2, 100
# The least height of a minute with runs, so that one run is visible beside thousands.
LEAST = 3.0


def runs_chart(minutes: Sequence[Minute]) -> tuple[SafeString, str]:
    """Return the picture of runs per minute, and the text of its highest line."""
    top = nice(max((one.good + one.bad for one in minutes), default=0))
    good: list[str] = []
    bad: list[str] = []
    for position, one in enumerate(minutes):
        x, floor = position * BAR, float(HEIGHT)
        for number, shapes in ((one.good, good), (one.bad, bad)):
            if number:
                height = max(LEAST, number / top * HEIGHT)
                shapes.append(_bar(x, floor, height))
                floor -= height
        if one.bad:  # visible without colours, too
            bad.append(f"M{x} {svg.number(max(0.0, floor - 6))}l3 -5 3 5z")
    number, failed = sum(one.good for one in minutes), sum(one.bad for one in minutes)
    picture = _chart(
        {"executed": good, "failed": bad},
        len(minutes),
        title=_("Runs per minute in the last hour"),
        description=ngettext(
            "%(good)d run went well, %(bad)d did not; at most %(most)d in a minute.",
            "%(good)d runs went well, %(bad)d did not; at most %(most)d in a minute.",
            number,
        )
        % {
            "good": number,
            "bad": failed,
            "most": max((m.good + m.bad for m in minutes), default=0),
        },
    )
    return picture, number_format(f"{top:g}")


def delay_chart(minutes: Sequence[Minute]) -> tuple[SafeString, str]:
    """Return the picture of start delays per minute, and the text of its highest line."""
    longest = max((one.longest_delay or 0.0 for one in minutes), default=0.0)
    top = nice(longest)
    most, mean = [], []
    for position, one in enumerate(minutes):
        x = position * BAR
        if one.longest_delay is not None and one.delay is not None:
            most.append(_bar(x, HEIGHT, max(1.0, one.longest_delay / top * HEIGHT)))
            y = HEIGHT - max(1.5, one.delay / top * HEIGHT)
            mean.append(f"M{x} {svg.number(y - 1.5)}h{BAR - GAP}v3h-{BAR - GAP}z")
    picture = _chart(
        {"longest": most, "mean": mean},
        len(minutes),
        title=_("Start delay per minute in the last hour"),
        description=_("The longest delay was %(longest)s.") % {"longest": seconds(longest)},
    )
    return picture, _("%(seconds)s s") % {"seconds": number_format(f"{top:g}")}


def times(minutes: Sequence[Minute]) -> list[str]:
    """Return the clock times below a chart: every quarter of it."""
    step = max(1, len(minutes) // 4)
    return [date_format(local(one.at), "H:i") for one in minutes[::step]]


def table(minutes: Sequence[Minute]) -> list[SafeString]:
    """Return a row for each minute in which something was scheduled, the last first."""
    said_in = get_language(), timezone.get_current_timezone_name()
    return [_row(one, *said_in) for one in reversed(minutes) if one.good or one.bad]


@functools.lru_cache(maxsize=1000)
def _row(one: Minute, _language: str, _zone: str) -> SafeString:
    """Return the figures of a minute as a row. They are kept: only the last minutes change."""
    return format_html(
        '<tr><th scope="row">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>',
        date_format(local(one.at), "H:i"),
        number_format(one.good),
        number_format(one.bad),
        seconds(one.delay),
        seconds(one.longest_delay),
    )


def nice(most: float) -> float:
    """Return the value of the highest line: 1, 2 or 5 times a power of ten.

    >>> [nice(value) for value in (0, 3, 50, 120, 0.0004)]
    [1.0, 5.0, 50.0, 200.0, 0.001]
    """
    if not most > 0:
        return 1.0
    most = max(most, 0.001)
    power = 10.0 ** math.floor(math.log10(most))
    found = next(step * power for step in (1, 2, 5, 10) if step * power >= most * 0.999999)
    return round(found, 6)


def elapsed_bar(share: float) -> SafeString:
    """Return the bar of a run that has taken this share of its job's usual duration."""
    kind = "over" if share > 1 else "within"
    width = max(1, min(100, round(share * 100)))
    return svg.element(
        "svg",
        svg.path(["M0 0h100v6h-100z"], "track"),
        svg.path([f"M0 0h{width}v6h-{width}z"], kind),
        class_="jobstore-elapsed",
        viewBox="0 0 100 6",
        preserveAspectRatio="none",
        aria_hidden="true",
    )


def _bar(x: float, floor: float, height: float) -> str:
    width = BAR - GAP
    return (
        f"M{svg.number(x)} {svg.number(floor)}v-{svg.number(height)}h{width}V{svg.number(floor)}z"
    )


def _chart(
    shapes: dict[str, list[str]], number: int, *, title: str, description: str
) -> SafeString:
    width = number * BAR - GAP
    lines = [f"M0 {y}h{width}" for y in (0, HEIGHT // 2, HEIGHT)]
    return svg.picture(
        (width, HEIGHT),
        svg.path(lines, "grid"),
        *svg.paths(shapes),
        title=title,
        description=description,
        stretched=True,
        class_="jobstore-chart",
    )
