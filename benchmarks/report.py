"""Writes what a benchmark found as tables: report.py results.json > results.md."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bars
from rows import HEADLINES, LIMITS, PEER, PEERS, Figure, Merged, Results, keys

# From this many busy cores just before a scenario on, its figures cannot be trusted.
BUSY = 0.2
# The columns of a table in their order; a scenario that is not here shows all its columns.
COLUMNS = {
    "burst": (
        *("runs_per_second", "p50_ms", "p99_ms", "ran", "twice", "missed", "statements_per_run"),
        *("commits_per_run", "wal_bytes_per_run", "scheduler_cpu_ms_per_run", "database_cpu_ms_per_run"),
    ),
    "failover": (
        *("gap_ms", "gap_begins_after_ms", "twice_before", "twice", "left_out", "due"),
        *("jobs_that_go_on", "goes_on", "restarts"),
    ),
}
UNITS = {
    "ms": "ms",
    "mb": "MB",
    "gb": "GB",
    "kb": "kB",
    "bytes": "bytes",
    "percent": "%",
    "seconds": "s",
    "s": "s",
}


def page(results: Results, names: tuple[str, ...], pictures: tuple[str, ...] = ()) -> str:
    """Return all that was measured, as Markdown; `names` are all scenarios there are.

    `pictures` are where their files lie: burst.svg and burst-delays.svg belong to the burst.
    """
    content = results.content
    parts = [
        f"## {database(content)}, size {content['size']}",
        machine(content),
        promises(results),
    ]
    absent = []
    for name in names:
        scenario = results.scenario(name)
        if scenario.get("rows") or scenario.get("failed"):
            parts += [f"### {scenario['title']}", *section(results, name)]
            parts += [f"![{picture_of(path)}]({path})" for path in pictures if scenario_of(path) == name]
        else:
            absent.append(f"{name} ({scenario['skipped']})" if "skipped" in scenario else name)
    if absent:
        parts += ["### Not run", f"{', '.join(absent)}."]
    parts += ["### Versions", versions(results)]
    return "\n\n".join(part for part in parts if part) + "\n"


def picture_of(path: str) -> str:
    """Return a picture's name."""
    return Path(path).stem.replace("-delays", ", start delays")


def scenario_of(path: str) -> str:
    """Return whose picture a file is: of its name, what comes after the database it may begin with."""
    return re.sub("^(postgresql|mariadb|sqlite)-(full-)?|-delays$", "", Path(path).stem)


def database(content: dict[str, Any]) -> str:
    """Return the database with its version, as far as that is known."""
    return str(content.get("environment", {}).get("database", content["database"]))


# --- Around the figures ---------------------------------------------------------------------------


def machine(content: dict[str, Any]) -> str:
    """Return the machine of the figures, and a warning if it was busy with something else."""
    known = content.get("environment", {})
    if not known:
        return ""
    line = (
        f"{moment(known['date'])}, {known['cpu']}, {known['cores']} cores, {known['memory_gb']} GB, Linux "
        f"{known['kernel']}, {known['flushes_per_second']:,} flushes/s of 8 kB, Python {known['python']}"
    )
    line += f", commit {known['commit']}.\n" if known.get("commit") else ".\n"
    busy = [
        f"{name} ({scenario['busy_cores_at_start']:g})"
        for name, scenario in content["scenarios"].items()
        if scenario.get("rows") and scenario.get("busy_cores_at_start", 0) > BUSY
    ]
    if busy:
        line += (
            f"\n**The machine was busy when these began, so take their figures for nothing: {', '.join(busy)}"
            f" (cores that had something to do; {BUSY} at the most is wanted).**\n"
        )
    return line.strip()


def versions(results: Results) -> str:
    """Return what each contender has installed."""
    found = results.content.get("packages", {})
    return "\n".join(
        f"- {results.title(name)}: {', '.join(f'{package} {version}' for package, version in one.items())}"
        for name, one in found.items()
        if one
    )


def promises(results: Results) -> str:
    """Return the section with the table of bars, nothing where none is set."""
    found = bars.bars(results)
    table = [
        f"| {bar.text} | {bar.measured} | {bar.target} | {bar.verdict} |"
        for bar in found
        if bar.met is not None
    ]
    if not table:
        return ""
    notes = [f"“Not growing” allows {bars.SAME:g} times as much, as two measurements never agree."]
    if left := [bar.text for bar in found if bar.met is None]:
        notes += ["", f"Not measured: {'; '.join(left)}."]
    heading = ["### Bars", "", "| bar | measured | target | |", "|---|---:|---|---|"]
    return "\n".join([*heading, *table, "", *notes])


# --- One scenario ---------------------------------------------------------------------------------


def section(results: Results, name: str) -> Iterator[str]:
    """Return the parts of one scenario: its table and what is to be said of it."""
    scenario = results.scenario(name)
    rows = results.merged(name)
    if scenario.get("failed"):
        yield f"**Failed:** `{scenario['failed'].strip().splitlines()[0]}`"
    if rows:
        yield table(results, name, rows)
        yield "\n".join(notes(results, name, rows))


def table(results: Results, name: str, rows: list[Merged]) -> str:
    """Return a scenario's table."""
    parameters = [
        key for key in results.parameters(name) if any(row.parameters[key] is not None for row in rows)
    ]
    measured = columns(name, rows)
    ratios = [results.times_better(name, row) for row in rows]
    has_ratios = any(value is not None for value in ratios)
    head = [*map(heading, parameters), "", *(["× peer"] if has_ratios else []), *map(heading, measured)]
    lines = [f"| {' | '.join(head)} |"]
    left = len(parameters) + 1
    lines.append(f"|{'|'.join(['---'] * left + ['---:'] * (len(head) - left))}|")
    for row, times in zip(rows, ratios, strict=True):
        cells = [cell(Figure(row.parameters[key])) for key in parameters]
        cells.append(results.title(row.contender))
        if has_ratios:
            cells.append("" if times is None else f"{bars.number(times)} ×")
        cells += [cell(row.figures.get(key)) for key in measured]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def columns(name: str, rows: list[Merged]) -> list[str]:
    """Return the keys that a table shows: neither lists, nor what has parameters' place or is a note."""
    have = [
        key
        for key in keys(row.figures for row in rows)
        if key not in rows[0].parameters
        and key != "note"
        and not any(isinstance(row.figures[key].value, list | dict) for row in rows if key in row.figures)
    ]
    return [key for key in COLUMNS.get(name, have) if key in have]


def heading(key: str) -> str:
    """Return a key as people read it: runs_per_second is runs/s, p99_ms is p99 [ms]."""
    text = key.replace("_per_second", "/s").replace("_per_minute", "/min").replace("_per_run", " per run")
    words = re.split("[_ ]", text)
    # The unit stands last: of "wal bytes per run" the bytes are no unit of the whole.
    unit = f" [{UNITS[words.pop()]}]" if len(words) > 1 and words[-1] in UNITS else ""
    return " ".join(word.upper() if word in ("cpu", "wal") else word for word in words) + unit


def cell(figure: Figure | None) -> str:
    """Return a figure: the median, and the least and the most where repeats differed."""
    if figure is None or figure.value is None:
        return ""
    if not isinstance(figure.value, int | float):
        return str(figure.value)
    if figure.low == figure.high or figure.low is None:
        return bars.number(figure.value)
    return f"{bars.number(figure.value)} ({bars.number(figure.low)}–{bars.number(figure.high)})"


def notes(results: Results, name: str, rows: list[Merged]) -> Iterator[str]:
    """Return what is to be said below a table."""
    scenario = results.scenario(name)
    if any(results.times_better(name, row) is not None for row in rows):
        wanted, is_more_better = HEADLINES[name]
        key = next(key for key in wanted if any(key in row.figures for row in rows))
        peer = results.title(PEERS.get(name, PEER))
        parts = (f"its own {heading(key)}", f"that of {peer}")
        yield "- × peer: {} divided by {}; above 1 is better.".format(*parts[:: 1 if is_more_better else -1])
    if name == "burst" and any(row.contender in LIMITS for row in rows):
        yield "- A limit does less than a scheduler does: it is no peer, but the most that could be reached."
    seen: set[str] = set()
    for row in rows:
        if (note := row.figures.get("note")) and (
            line := f"- {results.title(row.contender)}: {note.value}."
        ) not in seen:
            seen.add(line)
            yield line.replace("..", ".")
        for key, figure in row.figures.items():
            if isinstance(figure.value, list) and key != "curve" and figure.value:
                yield f"- {results.title(row.contender)}{where(row)}, {heading(key)}: {listed(figure.value)}."
    if absent := [
        one for one in scenario.get("contenders", []) if one not in {row.contender for row in rows}
    ]:
        yield f"- Not measured here: {', '.join(map(results.title, absent))}."
    yield f"- Measured {moment(scenario.get('date', ''))}, {repeats(scenario)}."


def where(row: Merged) -> str:
    """Return a row's parameters in words."""
    return "".join(f", {heading(key)} {value}" for key, value in row.parameters.items() if value is not None)


def listed(values: list[Any]) -> str:
    """Return a list in one line: texts as code, with their figures."""
    return "; ".join(
        " ".join(f"`{part}`" if isinstance(part, str) else bars.number(part) for part in one)
        if isinstance(one, list | tuple)
        else str(one)
        for one in values
    )


def repeats(scenario: dict[str, Any]) -> str:
    """Return how often each row was measured, in words."""
    count = max((row.get("repeat", 0) for row in scenario["rows"]), default=0) + 1
    return "once each" if count == 1 else f"the median of {count} (least–most)"


def moment(date: str) -> str:
    """Return a date and time of ISO 8601, which are in UTC, as people read them."""
    return f"{date[:16].replace('T', ' ')} UTC"


# --- The file in which they are published ---------------------------------------------------------


def published_as(kind: str, size: str) -> str:
    """Return the name under which results of a database and a size are published."""
    return kind if size == "small" else f"{kind}-{size}"


def publish(document: Path, name: str, text: str) -> None:
    """Put the tables between the two markers of this name.

    :raises ValueError: if the markers are missing.
    """
    begin, end = f"<!-- results {name} -->", "<!-- end of results -->"
    before, found, rest = document.read_text(encoding="utf-8").partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"{document} does not hold {begin} and {end}.")
    document.write_text(f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print(page(Results(given), tuple(given["scenarios"])), end="")
