"""Run time and start delay of the latest runs of a job, as a small picture made here."""

from collections.abc import Sequence
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from jobstore.admin.display import MEANINGS, moment, seconds

WIDTH, ROW, GAP, HEAD = 600, 48, 22, 14
ROWS = (("duration", "Run time"), ("start_delay", "Start delay"))


def chart(runs: Sequence[Any]) -> SafeString | str:
    """Return a picture of runs; nothing if none of them has a length.

    :param runs: the newest first, as they are stored.
    """
    ordered = list(reversed(runs))
    if not any(run.duration is not None for run in ordered):
        return ""
    told = "; ".join(f"{name.lower()} {_span(field, ordered)}" for field, name in ROWS)
    rows = [_row(number, *row, ordered) for number, row in enumerate(ROWS)]
    return format_html(
        '<svg class="jobstore-chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>',
        WIDTH,
        len(ROWS) * (ROW + GAP),
        f"The latest {len(ordered)} runs, the newest on the right: {told}.",
        format_html_join("", "{}", ((row,) for row in rows)),
    )


def _row(number: int, field: str, name: str, runs: Sequence[Any]) -> SafeString:
    top = number * (ROW + GAP) + HEAD
    most = max((_value(run, field) for run in runs), default=0.0)
    step = WIDTH / max(len(runs), 10)
    bars = []
    for position, run in enumerate(runs):
        value = getattr(run, field)
        if value is None:
            continue
        height = max(1.0, ROW * _value(run, field) / most if most else 1.0)
        kind = "bad" if MEANINGS.get(run.status) == "bad" else "delay" if number else "good"
        title = f"{moment(run.run_time)}: {name.lower()} {seconds(value)}, {run.status}"
        bars.append(
            (
                f"{position * step:.1f}",
                f"{top + ROW - height:.1f}",
                f"{step * 0.8:.1f}",
                f"{height:.1f}",
                kind,
                title,
            )
        )
    return format_html(
        '<text x="0" y="{}">{}</text>{}',
        top - 4,
        f"{name}, at most {seconds(most)}",
        format_html_join(
            "",
            '<rect x="{}" y="{}" width="{}" height="{}" class="jobstore-bar jobstore-bar-{}">'
            "<title>{}</title></rect>",
            bars,
        ),
    )


def _span(field: str, runs: Sequence[Any]) -> str:
    values = [_value(run, field) for run in runs if getattr(run, field) is not None]
    return f"from {seconds(min(values))} to {seconds(max(values))}" if values else "not known"


def _value(run: Any, field: str) -> float:
    """Return a length in seconds; a clock that was set back makes no negative ones."""
    length = getattr(run, field)
    found = length.total_seconds() if hasattr(length, "total_seconds") else float(length or 0)
    return max(0.0, found)
