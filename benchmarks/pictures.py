"""Draws what a benchmark found: pictures.py results.json folder.

Runs in an environment of its own, the only one that has matplotlib. The same results give the same
files, byte for byte.
"""

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from bars import number
from rows import LIMITS, Merged, Results

# Okabe and Ito's colours, which people tell apart however they see colours.
COLOURS = {
    "ours": "#0072B2",
    "django-apscheduler": "#D55E00",
    "celery-beat": "#009E73",
    "django-ox": "#CC79A7",
    "memory": "#7F7F7F",
    "raw": "#BFBFBF",
}
OTHER = "#E69F00"
# Lines are told apart by their strokes, bars of one family by how pale they are.
STROKES = {"ours": "-", "django-apscheduler": "--", "celery-beat": "-.", "django-ox": ":"}
PALE = (1.0, 0.6, 0.35, 0.2)

mpl.rcParams |= {
    "svg.hashsalt": "benchmark",
    "svg.fonttype": "path",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
}
WIDTH = 8.4
# Inches of height that a bar takes, and the gap between groups in bars.
BAR, GAP = 0.2, 0.6
# What stands beside a group of bars.
WORDS = {
    "jobs": "{} jobs",
    "stored": "{} stored jobs",
    "rate": "{} runs/s",
    "slow": "{} slow jobs",
    "slow_seconds": "of {} s each",
    "short_per_second": "{} short ones/s",
    "delay_ms": "+{} ms each way",
    "rows": "{} runs",
    "page": "{}",
    "filters": "{} filter(s)",
}


def main() -> None:
    """Draw every picture for which there are figures."""
    results = Results(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    folder = Path(sys.argv[2])
    for name, draw in PICTURES.items():
        # What an earlier run drew of figures that are no longer there must not stay.
        (folder / f"{name}.svg").unlink(missing_ok=True)
        if picture := draw(results):
            picture.savefig(folder / f"{name}.svg", metadata={"Date": None, "Creator": None})


# --- Bars -----------------------------------------------------------------------------------------


def bars(
    scenario: str, *panels: tuple[str, str], by: Sequence[str] = ()
) -> Callable[[Results], Figure | None]:
    """Return what draws bars of a scenario: a panel for each (key, title), grouped by parameters.

    Where `by` names fewer than all, the first row of each group is drawn.
    """

    def draw(results: Results) -> Figure | None:
        keys = by or results.parameters(scenario)
        rows: dict[tuple[str, str], Merged] = {}
        for row in results.merged(scenario):
            if "effect" in row.figures or any(row.number(key) is not None for key, _ in panels):
                rows.setdefault((group_of(row, keys), row.contender), row)
        shown = [part for part in panels if any(row.number(part[0]) is not None for row in rows.values())]
        if not shown:
            return None
        names = list(dict.fromkeys(name for _, name in rows))
        groups = len({group for group, _ in rows})
        height = 0.9 + BAR * (len(rows) + GAP * groups)
        picture = Figure(figsize=(WIDTH, max(height, 1.6)), layout="constrained")
        for panel, (key, title) in zip(picture.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
            fill(panel, list(rows.values()), key, [group for group, _ in rows], names)
            panel.set_title(title)
        for panel in picture.axes[1:]:
            panel.set_yticklabels([])
        legend(picture, results, names)
        return picture

    return draw


def fill(panel: Axes, rows: list[Merged], key: str, groups: list[str], names: list[str]) -> None:
    """Draw a bar for each row, from the top, with its figure beside it."""
    values = [value for row in rows if (value := row.number(key)) is not None]
    most = max(values, default=1) or 1
    place, last = 0.0, groups[0]
    ticks: dict[str, list[float]] = {}
    for row, group in zip(rows, groups, strict=True):
        place += GAP if group != last else 0.0
        last = group
        ticks.setdefault(group, []).append(place)
        value = row.number(key)
        panel.barh(place, value or 0, height=0.86, color=shade(row.contender, names))
        # Such as "never", which is no length.
        effect = row.figures["effect"].value if "effect" in row.figures else "–"
        label = effect if value is None else number(value)
        panel.text((value or 0) + most * 0.012, place, label, va="center", fontsize=7.5)
        place += 1
    panel.set_ylim(place - 0.4, -0.6)
    panel.set_xlim(0, most * 1.16)
    panel.set_yticks([sum(places) / len(places) for places in ticks.values()], list(ticks))
    panel.tick_params(axis="y", length=0)
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    panel.locator_params(axis="x", nbins=4)
    panel.grid(axis="x", color="#E3E3E3", linewidth=0.6)
    panel.set_axisbelow(True)


def group_of(row: Merged, keys: Sequence[str]) -> str:
    """Return what stands beside a group of bars."""
    parts = {key: row.parameters[key] for key in keys if row.parameters.get(key) is not None}
    return "\n".join(
        WORDS.get(key, key + " {}").format(number(value)) if isinstance(value, int | float) else str(value)
        for key, value in parts.items()
    )


# --- Curves of delays -----------------------------------------------------------------------------


def curves(scenario: str, title: str) -> Callable[[Results], Figure | None]:
    """Return what draws the delays of all runs, from the shortest to the longest, for each load."""

    def draw(results: Results) -> Figure | None:
        rows = [row for row in results.merged(scenario) if "curve" in row.figures]
        keys = results.parameters(scenario)
        groups = list(dict.fromkeys(group_of(row, keys) for row in rows))
        if not groups:
            return None
        picture = Figure(figsize=(WIDTH, 3.4), layout="constrained")
        panels = picture.subplots(1, len(groups), squeeze=False, sharey=True)[0]
        for panel, group in zip(panels, groups, strict=True):
            for row in rows:
                if group_of(row, keys) == group:
                    line(panel, row)
            panel.set_title(f"{title}: {group}".replace("\n", ", "))
            panel.set_yscale("log")
            panel.set_xlim(0, 100)
            panel.set_xlabel("share of runs that started sooner [%]")
            panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: seconds(value)))
            panel.minorticks_off()
            panel.grid(color="#E3E3E3", linewidth=0.6)
        panels[0].set_ylabel("start delay")
        legend(picture, results, list(dict.fromkeys(row.contender for row in rows)), lines=True)
        return picture

    return draw


def line(panel: Axes, row: Merged) -> None:
    """Draw one curve; a delay of next to nothing is drawn as a tenth of a millisecond."""
    # A third of the points is enough for the eye, and keeps the file small.
    values = [max(value, 1e-4) for value in row.figures["curve"].value[::3]]
    shares = [100 * position / max(len(values) - 1, 1) for position in range(len(values))]
    stroke = STROKES.get(row.contender, "-")
    panel.plot(shares, values, color=colour(row.contender), linestyle=stroke, linewidth=1.8)


def seconds(value: float) -> str:
    """Return a time as people read it."""
    return f"{number(value * 1000)} ms" if value < 1 else f"{number(value)} s"


# --- What all have --------------------------------------------------------------------------------


def colour(contender: str) -> str:
    """Return a contender's colour, that of its family if it has none of its own."""
    family = max((name for name in COLOURS if contender.startswith(name)), key=len, default="")
    return COLOURS.get(family, OTHER)


def shade(contender: str, names: Sequence[str]) -> tuple[float, ...]:
    """Return a contender's colour, paler for each of its family that comes before it in a picture."""
    family = [name for name in names if colour(name) == colour(contender)]
    strength = PALE[family.index(contender) % len(PALE)]
    return tuple(1 - strength * (1 - part) for part in to_rgb(colour(contender)))


def legend(picture: Figure, results: Results, names: list[str], *, lines: bool = False) -> None:
    """Say below who is who: ours first, limits last."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    names = sorted(names, key=lambda name: (name in LIMITS, not name.startswith("ours")))
    signs = [
        Line2D([], [], color=colour(name), linestyle=STROKES.get(name, "-"), linewidth=1.8)
        if lines
        else Patch(facecolor=shade(name, names))
        for name in names
    ]
    picture.legend(
        signs,
        [results.title(name) for name in names],
        loc="outside lower left",
        ncols=3,
        frameon=False,
        fontsize=8,
    )


PICTURES: dict[str, Callable[[Results], Figure | None]] = {
    "burst": bars(
        "burst",
        ("runs_per_second", "Burst: durable runs/s (more is better)"),
        ("statements_per_run", "Statements per run (less is better)"),
    ),
    "burst-delays": curves("burst", "Burst"),
    "steady": bars(
        "steady", ("p50_ms", "Steady: start delay, median [ms]"), ("p99_ms", "Start delay, p99 [ms]")
    ),
    "steady-delays": curves("steady", "Steady"),
    "mixed-delays": curves("mixed", "Slow and short"),
    "idle": bars(
        "idle",
        ("statements_per_minute", "Idle: statements a minute"),
        ("scheduler_cpu_ms_per_minute", "CPU [ms a minute]"),
    ),
    "change": bars("change", ("p50_ms", "From a change to its effect, median [ms]"), by=("change",)),
    "failover": bars(
        "failover",
        ("gap_ms", "Longest gap [ms]"),
        ("twice_before", "Twice before the fault"),
        ("twice", "Twice after it"),
    ),
    "scale": bars("scale", ("start_ms", "Start-up [ms]"), ("memory_mb", "Resident memory [MB]")),
    "round-trip": bars(
        "round-trip", ("runs_per_second", "A longer way: runs/s"), ("p99_ms", "Start delay, p99 [ms]")
    ),
    "pages": bars("pages", ("p50_ms", "A page, median [ms]"), ("web_cpu_ms", "CPU of the web server [ms]")),
    "filters": bars("filters", ("p50_ms", "The history, filtered, median [ms]"), ("p95_ms", "p95 [ms]")),
    "effect": bars("effect", ("p50_ms", "From a click to its effect, median [ms]"), ("p99_ms", "p99 [ms]")),
}

if __name__ == "__main__":
    main()
