"""Where runs run: threads, worker processes, Celery; beside celery-beat and Celery alone."""

import time
from typing import Any

import measure
from contenders import Contender
from scenarios import burst, steady

NAME = "executors"
TITLE = "Threads, worker processes and Celery, on two cores"
PARAMETERS = ("what",)
# Jobs of a burst; short jobs a second, and seconds; CPU-bound jobs, and seconds that each computes.
SIZES = {
    "smoke": (20, 5, 4, 4, 0.2),
    "small": (1000, 100, 20, 16, 1.0),
    "full": (1000, 100, 60, 32, 1.0),
}
BURST = ("ours", "ours-processes", "ours-celery", "celery-beat-processes", "bare-celery")
STEADY = ("ours", "ours-processes", "ours-celery")
CONTENDERS = BURST
# Seconds from the claim of a run to its start, in ms, by the rows of the history.
START_SQL = """
    SELECT round(1000 * extract(epoch FROM percentile_disc(0.99)
        WITHIN GROUP (ORDER BY started_at - claimed_at)))
    FROM jobstore_djangojobexecution WHERE status = 'Executed'
"""
OPTIONS = {"misfire_grace_time": None, "coalesce": False, "max_instances": 1}
PATIENCE = 240.0


def run(bench: Any) -> list[dict[str, Any]]:
    """Measure each kind of load, each contender in turn, as often as asked."""
    rows = []
    for repeat in range(bench.repeats):
        for names, what, measured in (
            (BURST, "no-op jobs at one instant", _burst),
            (STEADY, "no-op jobs at a steady rate", _steady),
            (("ours", "ours-processes"), "CPU-bound jobs", _throughput),
            (("ours", "ours-processes"), "short jobs beside CPU-bound ones", _beside),
        ):
            for contender in bench.contenders(names):
                with bench.step(f"{contender.title}: {what} ({repeat + 1})"):
                    rows.append({"what": what, "repeat": repeat, **measured(bench, contender)})
    return rows


def _burst(bench: Any, contender: Contender) -> dict[str, Any]:
    found = burst.one(bench, contender, SIZES[bench.size][0])
    names = ("contender", "ran", "twice", "runs_per_second", "p50_ms", "p99_ms", "note")
    return {name: found[name] for name in names}


def _steady(bench: Any, contender: Contender) -> dict[str, Any]:
    _, rate, seconds, *_ = SIZES[bench.size]
    found = steady.one(bench, contender, rate, seconds)
    names = ("contender", "due", "started", "p50_ms", "p99_ms", "scheduler_cpu_percent")
    row = {name: found[name] for name in names}
    if bench.database.kind == "postgresql":
        row["claim_to_start_p99_ms"] = contender.count(START_SQL)
    return row


def _throughput(bench: Any, contender: Contender) -> dict[str, Any]:
    *_, count, seconds = SIZES[bench.size]
    group = {"count": count, "spread": 0.0, "every": burst.DAY, "seconds": seconds, "burns": True}
    at = burst.begin(bench, contender, [group], OPTIONS)
    try:
        _wait(lambda: (contender.finished() or 0) >= count)
        took = (contender.durable_at() or time.time()) - at
    finally:
        contender.stop()
    return {"contender": contender.name, "runs_per_second": round(count / took, 3)}


def _beside(bench: Any, contender: Contender) -> dict[str, Any]:
    """Measure how late short jobs start in threads while four others compute all the time."""
    _, rate, seconds, *_ = SIZES[bench.size]
    where = {"executor": "processes"} if contender.name == "ours-processes" else {}
    groups = [
        {"count": rate, "spread": 1.0, "every": 1.0, "seconds": 0.0, "executor": "default"},
        {"count": 4, "spread": 0.0, "every": burst.DAY, "seconds": 2.0 * seconds, "burns": True, **where},
    ]
    at = burst.begin(bench, contender, groups, steady.OPTIONS)
    try:
        measure.sleep_until(at + steady.WARM_UP + seconds)
        contender.assert_alive()
        time.sleep(2)
        now = time.time()
        short = [one for one in measure.starts(contender.trace) if one[0] < rate]
    finally:
        contender.stop()
    delays, missing = steady.delays_of(short, at, rate, seconds, now)
    return {
        "contender": contender.name,
        "due": rate * seconds,
        "started": rate * seconds - missing,
        **measure.summary(delays),
    }


def _wait(is_done: Any) -> None:
    deadline = time.time() + PATIENCE
    while not is_done() and time.time() < deadline:
        time.sleep(0.1)
