"""How late jobs start that run each second, spread over it, and what that costs."""

import time
from typing import Any

import measure
from contenders import Contender
from scenarios.burst import begin

NAME = "steady"
TITLE = "Runs at a steady rate, 10 threads"
CONTENDERS = ("ours", "django-apscheduler", "memory", "celery-beat", "django-ox")
PARAMETERS = ("rate",)
# (Runs a second) and the seconds that are measured.
SIZES = {"smoke": ((5,), 4), "small": ((1, 100, 1000), 20), "full": ((1, 100, 1000), 60)}

# Seconds in which code and caches warm up; runs that start in them are not counted.
WARM_UP = 3
# Seconds after the last time that counts in which late runs may still start.
PATIENCE = 5.0
# A contender that may leave times out counts as complete if this share of the due runs has started,
# without the last seconds.
MOST, ALLOWED = 0.99, 3.0

OPTIONS = {"misfire_grace_time": None, "coalesce": False, "max_instances": 1000}


def run(bench: Any) -> list[dict[str, Any]]:
    """Let each contender run at each rate, in turn, as often as asked."""
    rates, seconds = SIZES[bench.size]
    rows = []
    for rate in rates:
        for repeat in range(bench.repeats):
            for contender in bench.contenders(CONTENDERS):
                with bench.step(f"{contender.title}: {rate} runs a second ({repeat + 1})"):
                    rows.append(one(bench, contender, rate, seconds) | {"rate": rate, "repeat": repeat})
    return rows


def one(bench: Any, contender: Contender, rate: int, seconds: int) -> dict[str, Any]:
    """Measure one contender once."""
    group = {"count": rate, "spread": 1.0, "every": 1.0, "seconds": 0.0}
    at = begin(bench, contender, [group], OPTIONS)
    try:
        measure.sleep_until(at + WARM_UP)
        contender.assert_alive()
        pids = list(contender.pids())
        before, cpu, began = bench.database.counters(), measure.cpu_seconds(pids), time.monotonic()
        measure.sleep_until(at + WARM_UP + seconds)
        used, took = measure.cpu_seconds(pids) - cpu, time.monotonic() - began
        done = bench.database.counters().since(before)
        memory = measure.resident_mb(pids)
        deadline = time.time() + PATIENCE
        while not is_complete(contender, rate, seconds) and time.time() < deadline:
            time.sleep(0.2)
        now, started = time.time(), measure.starts(contender.trace)
    finally:
        contender.stop()
    due = rate * seconds
    delays, missing = delays_of(started, at, rate, seconds, now)
    row: dict[str, Any] = {
        "contender": contender.name,
        "due": due,
        "started": due - missing,
        **measure.summary(delays),
        "scheduler_cpu_percent": percent(used, took),
        "database_cpu_percent": percent(done.cpu_seconds, took),
        "memory_mb": memory,
        "statements_per_run": None if done.statements is None else round(done.statements / due, 3),
        "commits_per_run": None if done.commits is None else round(done.commits / due, 3),
        "curve": measure.curve(delays),
        "note": contender.note or None,
    }
    if not contender.makes_every_run and len(started) < MOST * rate * (now - at - ALLOWED):
        # The k-th start may belong to a later time than the k-th, so that no start tells its delay.
        row["started"] = sum(at + WARM_UP <= when < at + WARM_UP + seconds for _, when in started)
        row |= dict.fromkeys(("p50_ms", "p99_ms", "max_ms", "curve"))
        row["note"] = f"{contender.note}; it left times out, so that delays are not known"
    return row


def is_complete(contender: Contender, rate: int, seconds: int) -> bool:
    """Tell whether as many runs have started as were due, up to the end."""
    return measure.count_starts(contender.trace) >= rate * (WARM_UP + seconds)


def delays_of(
    started: list[tuple[int, float]], at: float, rate: int, seconds: int, now: float
) -> tuple[list[float], int]:
    """Return the delay of each run that was due while it was measured, and how many have not started.

    The k-th start of a job is the run of its k-th time. Who has not started yet has waited until
    now, at the least.
    """
    times = starts_by_job(started)
    delays, missing = [], 0
    for number in range(rate):
        own = times.get(number, [])
        for k in range(WARM_UP, WARM_UP + seconds):
            missing += k >= len(own)
            delays.append((own[k] if k < len(own) else now) - (at + number / rate + k))
    return delays, missing


def starts_by_job(started: list[tuple[int, float]]) -> dict[int, list[float]]:
    """Return the times of each job's starts, in order."""
    times: dict[int, list[float]] = {}
    for number, when in sorted(started, key=lambda one: one[1]):
        times.setdefault(number, []).append(when)
    return times


def percent(cpu_seconds: float | None, seconds: float) -> float | None:
    """Return the share of one core."""
    return None if cpu_seconds is None else round(100 * cpu_seconds / seconds, 1)
