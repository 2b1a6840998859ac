"""Many jobs that do nothing are due at one instant: how soon each starts, and what it costs."""

import math
import time
from typing import Any

import measure
from contenders import Contender, Failed

NAME = "burst"
TITLE = "Jobs due at one instant, 10 threads"
CONTENDERS = (
    *("ours", "django-apscheduler", "memory", "raw"),
    *("celery-beat", "celery-beat-results", "django-ox"),
)
SIZES = {"smoke": (30,), "small": (100, 1000, 10_000), "full": (100, 1000, 10_000)}

DAY = 24 * 3600.0
# Seconds before the jobs are due at which the scheduler is started: long enough to load Django and
# to win the lease on two busy cores.
HEAD_START = 6.0
# Seconds after which runs that have not come are given up.
PATIENCE = 240.0


def run(bench: Any) -> list[dict[str, Any]]:
    """Let each contender run each size, in turn, as often as asked."""
    rows = []
    for count in SIZES[bench.size]:
        for repeat in range(bench.repeats):
            for contender in bench.contenders(CONTENDERS):
                with bench.step(f"{contender.title}: {count} jobs ({repeat + 1})"):
                    rows.append(one(bench, contender, count) | {"jobs": count, "repeat": repeat})
    return rows


def one(bench: Any, contender: Contender, count: int) -> dict[str, Any]:
    """Measure one contender once."""
    options = {"misfire_grace_time": None, "coalesce": False, "max_instances": 1}
    at = begin(bench, contender, [{"count": count, "spread": 0.0, "every": DAY, "seconds": 0.0}], options)
    try:
        measure.sleep_until(at - 0.5)
        contender.assert_alive()
        before, cpu = bench.database.counters(), measure.cpu_seconds(contender.pids())
        deadline = at + PATIENCE
        while measure.count_starts(contender.trace) < count and time.time() < deadline:
            time.sleep(0.05)
        while (ended := contender.finished()) is not None and ended < count and time.time() < deadline:
            time.sleep(0.2)
        used = measure.cpu_seconds(contender.pids()) - cpu
        done = bench.database.counters().since(before)
        started = measure.starts(contender.trace)
        durable = contender.durable_at() or max((when for _, when in started), default=at)
    finally:
        contender.stop()
    delays = [when - at for _, when in started]
    distinct = len({number for number, _ in started})
    return {
        "contender": contender.name,
        "ran": distinct,
        "twice": len(started) - distinct,
        "missed": contender.missed(),
        "runs_per_second": round(distinct / (durable - at), 1),
        **measure.summary(delays),
        "curve": measure.curve(delays),
        "statements_per_run": per(done.statements, distinct),
        "commits_per_run": per(done.commits, distinct),
        "wal_bytes_per_run": per(done.wal_bytes, distinct),
        "scheduler_cpu_ms_per_run": per(used * 1000, distinct),
        "database_cpu_ms_per_run": per(
            None if done.cpu_seconds is None else done.cpu_seconds * 1000, distinct
        ),
        "note": contender.note or None,
    }


def begin(bench: Any, contender: Contender, groups: list[dict[str, Any]], options: dict[str, Any]) -> float:
    """Store jobs and start the contender; return the time at which the first are due."""
    count = sum(group["count"] for group in groups)
    # A busy machine may need longer than usual.
    for patience in (4, 12, 36):
        bench.empty(contender)
        ready = time.time() + patience * (1 + count * contender.store_seconds / 4) + HEAD_START
        step = contender.align_seconds if any(group["every"] == DAY for group in groups) else 1
        at = float(math.ceil(ready / step) * step)
        scenario = {"at": at, "threads": 10, "groups": groups, "options": options}
        contender.store(scenario)
        if time.time() <= at - HEAD_START:
            measure.sleep_until(at - HEAD_START)
            try:
                contender.start(scenario)
            except BaseException:
                contender.stop()
                raise
            return at
    raise Failed(f"{contender.title} stored {count} jobs too slowly: raise its store_seconds.")


def per(value: float | None, count: int) -> float | None:
    """Return a share of a value, None where it is not known."""
    return None if value is None or not count else round(value / count, 4)
