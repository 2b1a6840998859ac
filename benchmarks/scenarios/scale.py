"""The cost of many stored jobs that are not due: at the start, a look, an edit, and in memory."""

import json
import subprocess
import time
from typing import Any, Self

import measure
from baking import clean_environment
from contenders import PROGRAMS, Contender, Failed
from databases import PostgreSQL
from scenarios.change import PROGRAM

NAME = "scale"
TITLE = "Stored jobs that are not due for a day, beside one that runs each second"
CONTENDERS = ("ours", "django-apscheduler", "celery-beat")
PARAMETERS = ("jobs",)
# Numbers of jobs, seconds of a measurement, edits.
SIZES = {"small": ((1000, 10_000, 100_000), 8.0, 10), "full": ((1000, 10_000, 100_000), 60.0, 40)}

DAY = 24 * 3600.0
STARTS = 3
# Seconds after which a start, or the effect of an edit, counts as never.
PATIENCE = 300.0
EDIT_PATIENCE = 90.0
# Seconds after a start or an edit until everything that follows from it is done. The server's own
# counters lag by one.
SETTLING = 4.0
BETWEEN = 0.3
# Seconds after which no more edits are made.
EDITING = 180.0
# Declared jobs are written in code, a few lines each, so nobody has more.
MOST_DECLARED = 10_000
# What a large project declares, which must not make a start slower.
MANY_DECLARED = 200
STARTS_DECLARED = 5
# Contenders with a program of their own that stores all jobs at once.
STORING = {"celery-beat": "beat_store.py"}


def run(bench: Any) -> list[dict[str, Any]]:
    """Let each contender have each number of jobs once for each repeat."""
    rows = []
    for count in SIZES[bench.size][0]:
        for repeat in range(bench.repeats):
            for contender in bench.contenders(CONTENDERS):
                with bench.step(f"{contender.title}: {count} stored jobs ({repeat + 1})"):
                    row = one(bench, contender, count)
                    if contender.name == "ours" and count <= MOST_DECLARED:
                        row |= synced(bench, contender, count)
                    if contender.name == "ours" and count == SIZES[bench.size][0][0]:
                        row |= added_to_a_start(bench, contender)
                rows.append(row | {"repeat": repeat})
    return rows


def one(bench: Any, contender: Contender, count: int) -> dict[str, Any]:
    """Measure one contender once."""
    _, seconds, edits = SIZES[bench.size]
    scenario = stored(bench, contender, count)
    try:
        starts = []
        for _ in range(STARTS):
            contender.stop()
            starts.append(started(contender, scenario))
        time.sleep(SETTLING)
        meter = Meter(bench, contender)
        ran = measure.count_starts(contender.trace)
        time.sleep(seconds)
        memory, tick = measure.resident_mb(contender.pids()), meter.read()
        ran = measure.count_starts(contender.trace) - ran
        with Editor(contender) as editor:
            edit = edited(bench, contender, editor, edits, seconds)
        contender.assert_alive()
    finally:
        contender.stop()
    return {
        "contender": contender.name,
        "jobs": count,
        "start_ms": round(sorted(starts)[len(starts) // 2] * 1000),
        "memory_mb": memory,
        "tick_statements": each(tick["statements"], ran),
        "tick_rows_read": each(tick["rows"], ran),
        "tick_scheduler_cpu_ms": each(tick["cpu_ms"], ran),
        "tick_database_cpu_ms": each(tick["database_cpu_ms"], ran),
        **edit,
    }


def stored(bench: Any, contender: Contender, count: int) -> dict[str, Any]:
    """Store the jobs; the last number is the job that runs each second."""
    bench.empty(contender)
    groups: list[dict[str, Any]] = [
        {"count": count, "spread": 3600.0, "every": DAY, "seconds": 0.0, "later": DAY},
        {"count": 1, "spread": 0.0, "every": 1.0, "seconds": 0.0},
    ]
    options = {"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
    scenario = {"at": round(time.time()), "threads": 10, "groups": groups, "options": options}
    contender.run(str(PROGRAMS / STORING.get(contender.name, "many.py")), json.dumps(scenario))
    if isinstance(bench.database, PostgreSQL):
        bench.database.ask("VACUUM ANALYZE")
        bench.database.ask("CHECKPOINT")
    return scenario


def started(contender: Contender, scenario: dict[str, Any]) -> float:
    """Start a contender; return the seconds until its first job has started, which is overdue."""
    began = time.time()
    contender.start(scenario)
    while not (seen := measure.starts(contender.trace)):
        contender.assert_alive()
        if time.time() > began + PATIENCE:
            raise Failed(f"{contender.title} has not run any job for {PATIENCE:g} s.")
        time.sleep(0.02)
    return seen[0][1] - began


def edited(
    bench: Any, contender: Contender, editor: "Editor", edits: int, seconds: float
) -> dict[str, float | None]:
    """Return the cost of one edit: what is used with edits, minus what is used without."""
    time.sleep(SETTLING)
    idle = Meter(bench, contender, editor)
    time.sleep(seconds)
    without = idle.read()
    busy, delays, made = Meter(bench, contender, editor), [], 0
    deadline = time.time() + EDITING
    while made < edits and time.time() < deadline:
        at, number = editor.make_due(made), made
        made += 1
        while not (when := start_of(contender, number)) and time.time() < at + EDIT_PATIENCE:
            time.sleep(0.02)
        if when:
            delays.append(max(when - at, 0.0))
        time.sleep(BETWEEN)
    time.sleep(SETTLING)
    with_edits = busy.read()
    share = (with_edits["seconds"] or 0.0) / (without["seconds"] or 1.0)

    def cost(key: str) -> float | None:
        much, little = with_edits[key], without[key]
        return None if much is None or little is None else round((much - share * little) / made, 2)

    parts = [cost("cpu_ms"), cost("editor_cpu_ms"), cost("database_cpu_ms")]
    return {
        "edits": made,
        "edit_effect_p50_ms": measure.summary(delays)["p50_ms"],
        "edit_effect_seen": len(delays),
        "edit_cpu_ms": round(sum(part for part in parts if part is not None), 2),
        "edit_scheduler_cpu_ms": parts[0],
        "edit_database_cpu_ms": parts[2],
        "edit_statements": cost("statements"),
        "edit_rows_read": cost("rows"),
    }


def start_of(contender: Contender, number: int) -> float | None:
    """Return when a job last started, None if it has not."""
    found = [when for one, when in measure.starts(contender.trace) if one == number]
    return found[-1] if found else None


def each(value: float | None, count: int) -> float | None:
    """Return the share of one, None where it is not known."""
    return None if value is None or not count else round(value / count, 2)


class Editor:
    """A process that changes jobs, as another program of the same project does."""

    def __init__(self, contender: Contender) -> None:
        self._contender = contender
        program = PROGRAMS / PROGRAM.get(contender.name, "changes.py")
        self._by = "row" if contender.name in PROGRAM else "call"
        with contender.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(contender.python), str(program)],
                cwd=contender.cwd,
                env=clean_environment(**contender.environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        try:
            self._ask("")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def make_due(self, number: int) -> float:
        """Make a job due now; return when that was committed."""
        return float(self._ask(json.dumps({"change": f"due by {self._by}", "job": number}) + "\n"))

    def _ask(self, line: str) -> str:
        if self.process.stdin and self.process.stdout:
            self.process.stdin.write(line)
            self.process.stdin.flush()
            if answer := self.process.stdout.readline():
                return answer
        raise Failed(f"{self._contender.title}: the process that changes jobs ended.")


class Meter:
    """Reads what a contender, the server and an editor have used since it was made."""

    def __init__(self, bench: Any, contender: Contender, editor: Editor | None = None) -> None:
        self._database = bench.database
        self._pids = list(contender.pids())
        self._editor = [editor.process.pid] if editor else []
        self._began = self._now()

    def read(self) -> dict[str, float | None]:
        """Return the figures; None for those that are not known."""
        return {
            key: None if value is None or (began := self._began[key]) is None else value - began
            for key, value in self._now().items()
        }

    def _now(self) -> dict[str, float | None]:
        counters = self._database.counters()
        return {
            "seconds": time.monotonic(),
            "cpu_ms": measure.cpu_seconds(self._pids) * 1000,
            "editor_cpu_ms": measure.cpu_seconds(self._editor) * 1000,
            "database_cpu_ms": None if counters.cpu_seconds is None else counters.cpu_seconds * 1000,
            "statements": counters.statements,
            "rows": self._rows_read(),
        }

    def _rows_read(self) -> int | None:
        """Return how many rows of tables were read so far, by index or by scan."""
        if not isinstance(self._database, PostgreSQL):
            return None
        statement = "SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_user_tables"
        return int(self._database.ask(statement)[0])


# --- Declared jobs ----------------------------------------------------------------------------------


def synced(bench: Any, contender: Contender, count: int) -> dict[str, Any]:
    """Return the cost of storing this many declared jobs, and then of finding no change."""
    bench.empty(contender)
    row: dict[str, Any] = {}
    for name in ("first_sync", "next_sync"):
        done = sync_of(contender, count)
        if done["changes"] != (count if name == "first_sync" else 0):
            raise Failed(f"A sync of {count} jobs changed {done['changes']}.")
        row[f"{name}_ms"] = round(done["seconds"] * 1000, 1)
        row[f"{name}_validation_ms"] = round(done["validation_seconds"] * 1000, 1)
        row[f"{name}_statements"] = done["statements"]
        row[f"{name}_memory_mb"] = round(done["memory_mb"], 1)
    return row


def added_to_a_start(bench: Any, contender: Contender) -> dict[str, Any]:
    """Return what unchanged declared jobs add to the cost of a start."""
    bench.empty(contender)

    def median(count: int) -> float:
        sync_of(contender, count)
        seconds = sorted(sync_of(contender, count)["seconds"] for _ in range(STARTS_DECLARED))
        return float(seconds[STARTS_DECLARED // 2])

    without = median(0)
    return {
        "declared": MANY_DECLARED,
        "declared_added_ms": round((median(MANY_DECLARED) - without) * 1000, 1),
    }


def sync_of(contender: Contender, count: int) -> dict[str, Any]:
    """Let a process declare so many jobs, validate and store them; return what that took."""
    declared = {"BENCH_APPS": "declared", "BENCH_DECLARED": str(count)}
    found: dict[str, Any] = json.loads(contender.run(str(PROGRAMS / "sync.py"), **declared))
    return found
