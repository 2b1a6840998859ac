"""One page that shows what a mix did and what came of it: no script, nothing from the network."""

import html
import itertools
import statistics
import time
from collections import defaultdict
from typing import Any

Result = dict[str, Any]

# Seconds and pixels that one strip of the timeline shows, and strips that are drawn at the most.
STRIP, WIDTH, STRIPS = 120.0, 940.0, 12
LEFT, LANE, BARS = 74.0, 22.0, 44.0
LETTERS = {"kill": "K", "term": "T", "freeze": "F", "cut": "C", "stall": "S"}
LETTERS |= {"restart": "R", "crash": "X", "away": "A"}
LETTERS |= {"file": "B", "rotate": "N", "key": "W", "table": "M"}
COLOURS = {
    "active": "#1f5fa8",
    "standby": "#cfd9e4",
    "frozen": "#8e5bb5",
    "cut off": "#e08a2b",
    "up": "#9cc5a1",
    "away": "#c0392b",
}
STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; color: #1b1f24; background: #fff; max-width: 1040px;
  margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.6em; margin: 0 0 .2em; } h2 { font-size: 1.15em; margin: 2em 0 .5em; }
p { max-width: 75ch; } .quiet { color: #57606a; } .good { color: #1a6b2f; } .bad { color: #b3261e; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(165px, 1fr)); gap: 10px;
  margin: 1.2em 0; }
.figures div { border: 1px solid #d0d7de; border-radius: 6px; padding: 8px 12px; }
.figures b { display: block; font-size: 1.55em; font-variant-numeric: tabular-nums; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 14px 3px 0; text-align: right; border-bottom: 1px solid #e3e7eb; }
th { font-weight: 600; color: #57606a; } th:first-child, td:first-child { text-align: left; }
svg { display: block; width: 100%; height: auto; margin: 0 0 12px; break-inside: avoid; }
svg text { font: 11px system-ui, sans-serif; fill: #1b1f24; }
svg .letter { font-weight: 700; font-size: 10px; }
svg .axis { fill: #57606a; } svg .many { font-size: 8px; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 0 0 10px; }
.legend i { display: inline-block; width: 14px; height: 12px; margin-right: 5px; vertical-align: -1px; }
li { margin: 3px 0; } code { background: #f3f5f7; padding: 1px 5px; border-radius: 4px; }
tr, .figures div { break-inside: avoid; } * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
@media print { body { margin: 0; max-width: none; font-size: 12px; } }
"""


def page(result: Result) -> str:
    """Return the page of a mix's result, as `Mix.run` gives it."""
    parts = [heading(result), figures(result), timeline(result), gaps(result), checks(result), memory(result)]
    title = f"{result['runs']:,} runs under {len(result['faults'])} faults"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>\n'
        f"<body>\n{chr(10).join(parts)}\n</body></html>\n"
    )


# --- Words and figures ------------------------------------------------------------------------------


def heading(result: Result) -> str:
    """Say what was done, and the verdict."""
    findings = result["findings"]
    verdict = (
        f'<p class="bad"><b>The checker found {len(findings)} things wrong, listed below.</b></p>'
        if findings
        else '<p class="good"><b>The checker found nothing wrong.</b></p>'
    )
    count = len({event["name"] for event in result["events"] if event["what"] == "started"})
    versions = ", ".join(
        text if name == "database" else f"{name} {text}" for name, text in result["versions"].items()
    )
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(result["began"]))
    return (
        f"<h1>{result['runs']:,} runs under {len(result['faults'])} faults</h1>\n"
        f'<p class="quiet">{count} scheduler processes on one database, {when}. '
        f"{html.escape(versions)}.</p>\n"
        "<p>While jobs were due all the time, processes were killed, stopped and frozen, networks cut and "
        "silenced, and the database restarted, as a seed decided. Each run left a trace in a file outside "
        "the database; afterwards the traces were compared with the history that the database tells.</p>\n"
        f"{verdict}"
    )


def figures(result: Result) -> str:
    """Show the figures that matter most."""
    length = result["faults_ended"] - result["began"]
    shown = [
        (f"{result['runs']:,}", "runs started"),
        (f"{len(result['faults'])}", "faults"),
        (f"{len(result['terms']) - 1}", "take-overs"),
        (f"{result['checks']['no time is started twice']}", "times started twice"),
        (f"{result['checks']['no time is left out']}", "gaps in the schedules"),
        (f"{sum(result['lost'].values()):,}", "runs lost with their process"),
        (f"{result['rows'].get('Missed!', 0)}", "missed"),
        (f"{len(result['edits'])}", "edits by people meanwhile"),
        (f"{length / 60:.1f} min", "of faults"),
        (f"{result['seed']}", "seed"),
    ]
    return (
        f'<div class="figures">{"".join(f"<div><b>{value}</b>{name}</div>" for value, name in shown)}</div>'
    )


def gaps(result: Result) -> str:
    """Tell for each kind of fault how long nobody claimed."""
    kinds: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for fault in result["faults"]:
        kinds[fault["title"]].append(fault)
    lines = []
    for title, faults in sorted(kinds.items(), key=lambda item: order(item[1][0])):
        alone = [fault["gap"] for fault in faults if fault["alone"] and fault["gap"] is not None]
        back = [fault["after_return"] for fault in faults if fault["after_return"] is not None]
        cells = f"<td>{len(faults)}</td><td>{len(alone)}</td>{spread(alone)}<td>{middle(back)}</td>"
        lines.append(f"<tr><td>{html.escape(title)}</td>{cells}</tr>")
    return (
        "<h2>How long nobody claimed</h2>\n<p>Seconds without a claim by any process, by the database's own "
        "records, that began with the fault or within two seconds after it. A fault is measured only if "
        "claims were being made before it, and if no other fault hit the active process or the database "
        "before they were made again: where one follows another, the pause is not its own. What is due "
        "meanwhile runs afterwards.</p>\n"
        "<table><tr><th>fault</th><th>times</th><th>measured</th><th>shortest</th><th>median</th>"
        "<th>longest</th>"
        f"<th>median after its return</th></tr>\n{chr(10).join(lines)}\n</table>"
    )


def order(fault: dict[str, Any]) -> tuple[bool, int, bool]:
    """Return where a kind of fault stands in the table."""
    return fault["name"] == "database", list(LETTERS).index(fault["kind"]), not fault["was_active"]


def spread(values: list[float]) -> str:
    """Return three cells: the shortest, the median, the longest."""
    if not values:
        return "<td></td>" * 3
    three = (min(values), statistics.median(values), max(values))
    return "".join(f"<td>{value:.2f}</td>" for value in three)


def middle(values: list[float]) -> str:
    """Return the median, or nothing."""
    return f"{statistics.median(values):.2f}" if values else ""


def checks(result: Result) -> str:
    """List what was checked, what was found, and how runs ended."""
    lines = [
        f'<li>{html.escape(promise.capitalize())}: <span class="{"bad" if count else "good"}">'
        f"{f'broken {count} times' if count else 'holds'}</span></li>"
        for promise, count in result["checks"].items()
    ]
    found = [f'<li class="bad">{html.escape(sentence)}</li>' for sentence in result["findings"]]
    ended = ", ".join(f"{count:,} {html.escape(status)}" for status, count in result["rows"].items())
    lost = ", ".join(f"{count:,} {how}" for how, count in result["lost"].items())
    listed = f"<h2>Findings</h2>\n<ul>{''.join(found)}</ul>" if found else ""
    return (
        f"{listed}<h2>What was checked</h2>\n<ul>{''.join(lines)}</ul>\n"
        f"<p>How runs ended: {ended}. The lost ones had come so far: {lost}. A run that was declared lost "
        "because its process was frozen or cut off may go on in that process for a while; its successor may "
        "then start beside it, which the check for overlaps allows. Skipped runs are those of the one job "
        "that takes longer than its interval.</p>\n"
        f"<p>Unforeseen errors in the schedulers' logs: {result['surprises']}.</p>\n"
        f"<p>Again with the same decisions: <code>make chaos DATABASE={result['database'].lower()} "
        f"SEED={result['seed']}</code>. What they meet depends on the speed of the machine.</p>"
    )


def memory(result: Result) -> str:
    """Tell what the processes that lived longest took, at their beginning and at their end."""
    lives: dict[tuple[str, int], list[tuple[float, float, int]]] = defaultdict(list)
    for sample in result["samples"]:
        for name, seen in sample["schedulers"].items():
            lives[name, seen["pid"]].append((sample["at"], seen["mb"], seen["threads"]))
    lines = []
    for (name, _), seen in sorted(lives.items(), key=lambda item: item[1][0][0] - item[1][-1][0])[:5]:
        life = seen[-1][0] - seen[0][0]
        # The first quarter of a minute is the start.
        settled = [one for one in seen if one[0] >= seen[0][0] + 15] or seen
        threads = f"{min(one[2] for one in settled)} to {max(one[2] for one in settled)}"
        top = max(one[1] for one in settled)
        cells = (f"{life:.0f} s", f"{settled[0][1]:.0f}", f"{settled[-1][1]:.0f}", f"{top:.0f}", threads)
        lines.append(f"<tr><td>{name}</td>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    return (
        "<h2>Memory and threads</h2>\n"
        "<p>Of the processes that lived longest; from 15 s after the first look on.</p>\n"
        "<table><tr><th>place</th><th>watched for</th><th>MB at first</th><th>MB at last</th><th>most</th>"
        f"<th>threads</th></tr>\n{chr(10).join(lines)}\n</table>"
    )


# --- The timeline -----------------------------------------------------------------------------------


def timeline(result: Result) -> str:
    """Draw who was what when, the faults, and the runs of each second, in strips of two minutes."""
    began = result["per_second"]["from"]
    whole = result["per_second"]["from"] + len(result["per_second"]["runs"]) - began
    # A short mix fills its strip.
    length = min(STRIP, 10.0 * -(-whole // 10))
    count = max(1, -(-int(whole) // int(length)))
    numbers = list(range(count))
    note = ""
    if count > STRIPS:
        numbers = numbers[: STRIPS // 2] + numbers[-STRIPS // 2 :]
        note = f'<p class="quiet">Of {count} strips, the first and the last {STRIPS // 2} are drawn.</p>'
    strips = [strip(result, began + number * length, began, length) for number in numbers]
    return f"<h2>What happened when</h2>\n{legend()}{note}\n{chr(10).join(strips)}"


def legend() -> str:
    """Explain colours and letters."""
    named = {
        "active": "active: claims runs",
        "standby": "stands by",
        "frozen": "frozen",
        "cut off": "cut off or silent",
        "up": "database up",
        "away": "database away",
    }
    colours = [f'<span><i style="background:{COLOURS[key]}"></i>{text}</span>' for key, text in named.items()]
    colours.append('<span><i style="border:1px dashed #8c959f;box-sizing:border-box"></i>no process</span>')
    words = {
        "K": "kill -9",
        "T": "SIGTERM",
        "F": "frozen",
        "C": "cut (RST)",
        "S": "silent",
        "R": "restart",
        "X": "crash",
        "A": "away 8 s",
        "B": "bad file deployed",
        "N": "new key",
        "W": "wrong key",
        "M": "column renamed",
    }
    letters = [f"<span><b>{letter}</b> {word}</span>" for letter, word in words.items()]
    return f'<div class="legend">{"".join(colours)}</div><div class="legend quiet">{"".join(letters)}</div>'


def strip(result: Result, since: float, began: float, length: float) -> str:
    """Draw one strip, of `length` seconds from `since` on."""
    names = sorted({event["name"] for event in result["events"] if event["what"] == "started"})
    if any(event["name"] == "database" for event in result["events"]):
        names.append("database")
    if any(fault["name"] == "people" for fault in result["faults"]):
        names.append("people")
    height = 20 + len(names) * LANE + BARS + 34
    drawn = []
    for number, name in enumerate(names):
        top = 20 + number * LANE
        drawn.append(f'<text x="0" y="{top + 14:g}">{name}</text>')
        for begin, end, kind in spans(result, name):
            drawn.append(box(begin, end, kind, top, since, length))
        for fault in result["faults"]:
            if fault["name"] == name and since <= fault["at"] < since + length:
                drawn.append(mark(fault, LEFT + place(fault["at"], since, length), top))
    drawn += bars(result, since, length, 20 + len(names) * LANE + 12)
    axis = [
        f'<text class="axis" x="{LEFT + second * WIDTH / length:g}" y="{height - 4:g}">'
        f"{int(since - began + second) // 60}:{int(since - began + second) % 60:02}</text>"
        for second in range(0, int(length), 10)
    ]
    return f'<svg viewBox="0 0 {LEFT + WIDTH:g} {height:g}" role="img">{"".join(drawn + axis)}</svg>'


def place(at: float, since: float, length: float) -> float:
    """Return how many pixels from the left of a strip a time lies."""
    return min(max(at - since, 0.0), length) * WIDTH / length


def box(begin: float, end: float, kind: str, top: float, since: float, length: float) -> str:
    """Draw a span in its lane, as far as it lies in the strip."""
    left, right = place(begin, since, length), place(end, since, length)
    if right <= left:
        return ""
    thin = 5 if kind == "standby" else 2
    return (
        f'<rect x="{LEFT + left:.1f}" y="{top + thin:g}" width="{max(right - left, 0.8):.1f}" '
        f'height="{LANE - 2 * thin - 1:g}" {look(kind)}/>'
    )


def look(kind: str) -> str:
    """Return how a span looks."""
    if kind == "none":
        return 'fill="none" stroke="#8c959f" stroke-dasharray="3 2"'
    return f'fill="{COLOURS[kind]}"'


def mark(fault: dict[str, Any], x: float, top: float) -> str:
    """Draw the letter of a fault, with its name for those who point at it."""
    text = (
        f"{fault['title']}: {fault['gap']:.2f} s without a claim"
        if fault["gap"] is not None
        else fault["title"]
    )
    return (
        f'<g><title>{html.escape(text)}</title><circle cx="{x:.1f}" cy="{top + LANE / 2 - 0.5:g}" r="7.5" '
        f'fill="#fff" stroke="#1b1f24" stroke-width="1.4"/><text class="letter" x="{x:.1f}" '
        f'y="{top + LANE / 2 + 3:g}" text-anchor="middle">{LETTERS[fault["kind"]]}</text></g>'
    )


def bars(result: Result, since: float, length: float, top: float) -> list[str]:
    """Draw the runs that started in each second; what had waited for a cure stands out, as a number."""
    first, runs = result["per_second"]["from"], result["per_second"]["runs"]
    most = int(2.5 * statistics.median([count for count in runs if count] or [1]))
    drawn = [
        f'<text x="0" y="{top + 12:g}">runs/s</text>',
        f'<text class="axis" x="0" y="{top + 26:g}">to {most:,}</text>',
        f'<rect x="{LEFT:g}" y="{top + BARS:g}" width="{WIDTH:g}" height="1" fill="#8c959f"/>',
    ]
    for number, count in enumerate(runs):
        at = first + number
        if since - 0.001 <= at < since + length - 0.001 and count:
            left, wide = LEFT + place(at, since, length), WIDTH / length - 1.2
            tall = BARS * min(count, most) / most
            drawn.append(
                f'<rect x="{left:.1f}" y="{top + BARS - tall:.1f}" width="{wide:.1f}" '
                f'height="{tall:.1f}" fill="{"#57606a" if count <= most else "#24292f"}"/>'
            )
            if count > most and (number == 0 or runs[number - 1] <= most):
                drawn.append(
                    f'<text class="many" x="{left + wide / 2:.1f}" y="{top - 2:g}" text-anchor="middle">'
                    f"{count}</text>"
                )
    return drawn


def spans(result: Result, name: str) -> list[tuple[float, float, str]]:
    """Return what a scheduler's place, or the database, was from when to when; later ones lie on top."""
    events = [event for event in result["events"] if event["name"] == name]
    end = result["ended"]
    if name == "people":
        return []
    if name == "database":
        away = between(events, {"database down"}, {"database up"}, end)
        return [(result["began"], end, "up"), *((begin, until, "away") for begin, until in away)]
    lives = between(events, {"started"}, {"killed", "ended"}, end)
    found = [(before[1], after[0], "none") for before, after in itertools.pairwise(lives)]
    found += [(begin, until, "standby") for begin, until in lives]
    found += [(term["from"], term["to"], "active") for term in result["terms"] if term["name"] == name]
    kinds = {
        "cut off": ({"cut", "stalled"}, {"healed"}),
        "frozen": ({"frozen"}, {"thawed", "killed", "ended"}),
    }
    for kind, (begins, ends) in kinds.items():
        found += [(begin, until, kind) for begin, until in between(events, begins, ends, end)]
    return found


def between(
    events: list[dict[str, Any]], begins: set[str], ends: set[str], at_the_end: float
) -> list[tuple[float, float]]:
    """Return from when to when something held that these events begin and end."""
    found: list[tuple[float, float]] = []
    since: float | None = None
    for event in events:
        if since is None and event["what"] in begins:
            since = event["at"]
        elif since is not None and event["what"] in ends:
            found.append((since, event["at"]))
            since = None
    return found if since is None else [*found, (since, at_the_end)]
