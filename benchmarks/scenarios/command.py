"""How long `manage.py jobs list` takes with many jobs, as a whole and without the start of Python."""

import json
import statistics
import subprocess
import time
from typing import Any

import measure
from baking import clean_environment
from contenders import PROGRAMS, Contender, Failed

NAME = "command"
TITLE = "The command line with many jobs"
CONTENDERS = ("ours",)
PARAMETERS = ("jobs", "command")
# Stored jobs, and times that each command is given.
SIZES = {"smoke": ((100,), 1), "small": ((10_000,), 10), "full": ((1000, 10_000, 100_000), 10)}
START = "setup of Django alone"
COMMANDS: dict[str, tuple[str, ...]] = {
    "jobs list --limit 0": ("manage.py", "jobs", "list", "--limit", "0"),
    "jobs list": ("manage.py", "jobs", "list"),
    "jobs list --json": ("manage.py", "jobs", "list", "--json"),
    START: ("-c", "import django; django.setup()"),
}


def run(bench: Any) -> list[dict[str, Any]]:
    """Give each command so many times."""
    counts, tries = SIZES[bench.size]
    rows = []
    for count in counts:
        for contender in bench.contenders(CONTENDERS):
            with bench.step(f"{contender.title}: lists of {count} jobs"):
                rows += measured(bench, contender, count, tries)
    return rows


def measured(bench: Any, contender: Contender, count: int, tries: int) -> list[dict[str, Any]]:
    """Measure each command with so many jobs."""
    bench.empty(contender)
    group = {"count": count, "spread": 3600.0, "every": 86400.0, "seconds": 0.0, "later": 86400.0}
    options = {"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
    scenario = {"at": round(time.time()), "threads": 10, "groups": [group], "options": options}
    contender.run(str(PROGRAMS / "many.py"), json.dumps(scenario))
    rows: list[dict[str, Any]] = []
    for name, command in COMMANDS.items():
        given(contender, command)  # Python has compiled all of it afterwards
        found = [given(contender, command) for _ in range(tries)]
        rows.append(
            {
                "contender": contender.name,
                "jobs": count,
                "command": name,
                "wall_ms": ms(statistics.median(seconds for _, seconds, _ in found)),
                "max_ms": ms(max(seconds for _, seconds, _ in found)),
                "cpu_ms": ms(statistics.median(ended.cpu_seconds for ended, _, _ in found)),
                "memory_mb": round(statistics.median(ended.memory_mb for ended, _, _ in found), 1),
                "lines": found[0][2],
            }
        )
    start = next(row["wall_ms"] for row in rows if row["command"] == START)
    for row in rows:
        row["without_start_ms"] = None if row["command"] == START else round(row["wall_ms"] - start, 1)
    return rows


def given(contender: Contender, command: tuple[str, ...]) -> tuple[measure.Ended, float, int]:
    """Give a command once; return what it needed, the seconds, and the lines that it printed."""
    # Compiled modules are kept, as on any machine that gives a command twice.
    environment = {**contender.environment, "PYTHONDONTWRITEBYTECODE": ""}
    output = contender.folder / "output"
    began = time.perf_counter()
    with output.open("wb") as file:
        process = subprocess.Popen(
            [str(contender.python), *command],
            cwd=contender.cwd,
            env=clean_environment(**environment),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        ended = measure.ended(process)
    seconds = time.perf_counter() - began
    text = output.read_bytes()
    if ended.code:
        raise Failed(f"{' '.join(command)} ended with {ended.code}: {text[-2000:].decode()}")
    return ended, seconds, text.count(b"\n")


def ms(seconds: float) -> float:
    """Return milliseconds with a digit behind the point."""
    return round(seconds * 1000, 1)
