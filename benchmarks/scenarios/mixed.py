"""How late short jobs start while slow ones take all threads."""

import time
from typing import Any

import measure
from contenders import Contender
from scenarios import steady
from scenarios.burst import begin

NAME = "mixed"
TITLE = "Slow jobs, due at one instant, beside short ones at a steady rate, 10 threads"
CONTENDERS = ("ours", "django-apscheduler", "memory", "celery-beat", "django-ox")
PARAMETERS = ("slow", "slow_seconds", "short_per_second")
# (Slow jobs, seconds that each takes, short jobs a second, seconds that are measured).
SIZES = {"smoke": (12, 1.0, 5, 6), "small": (20, 5.0, 20, 25), "full": (40, 10.0, 100, 75)}

# Seconds for which short jobs run alone, at first.
ALONE = 3
# Seconds of delay below which a run counts as in time.
IN_TIME = 0.5
# Seconds after the end in which late runs may still start.
PATIENCE = 10.0


def run(bench: Any) -> list[dict[str, Any]]:
    """Let each contender do it once for each repeat."""
    return [
        measured(bench, contender) | {"repeat": repeat}
        for repeat in range(bench.repeats)
        for contender in bench.contenders(CONTENDERS)
    ]


def measured(bench: Any, contender: Contender) -> dict[str, Any]:
    """Measure one contender once, and print it."""
    slow, slow_seconds, *_ = SIZES[bench.size]
    with bench.step(f"{contender.title}: {slow} jobs of {slow_seconds:g} s beside short ones"):
        return one(bench, contender)


def one(bench: Any, contender: Contender) -> dict[str, Any]:
    """Measure one contender once. Short jobs have the first numbers."""
    slow, slow_seconds, rate, seconds = SIZES[bench.size]
    at = begin(
        bench,
        contender,
        [
            {"count": rate, "spread": 1.0, "every": 1.0, "seconds": 0.0},
            # So rarely that each runs once.
            {"count": slow, "spread": 0.0, "every": 3600.0, "seconds": slow_seconds, "later": ALONE},
        ],
        steady.OPTIONS,
    )
    end = at + seconds
    try:
        measure.sleep_until(end)
        contender.assert_alive()
        while time.time() < end + PATIENCE and not is_complete(contender, end, at, rate):
            time.sleep(0.5)
        now, missed, started = time.time(), contender.missed(), measure.starts(contender.trace)
    finally:
        contender.stop()
    times = steady.starts_by_job(started)
    delays, missing, late_until = [], 0, 0.0
    for number in range(rate):
        own = times.get(number, [])
        for k in range(seconds):
            due = at + number / rate + k
            missing += k >= len(own)
            delay = (own[k] if k < len(own) else now) - due
            delays.append(delay)
            if delay > IN_TIME:
                late_until = max(late_until, due - at - ALONE)
    slow_starts = sorted(when for number in range(rate, rate + slow) for when in times.get(number, []))
    return {
        "contender": contender.name,
        "slow": slow,
        "slow_seconds": slow_seconds,
        "short_per_second": rate,
        "short_due": rate * seconds,
        "short_started": rate * seconds - missing,
        "short_in_time": sum(delay <= IN_TIME for delay in delays),
        **measure.summary(delays),
        "last_late_after_slow_s": round(late_until, 1),
        "slow_started": len(slow_starts),
        "slow_last_start_s": round(slow_starts[-1] - at - ALONE, 1) if slow_starts else None,
        "missed": missed,
        "curve": measure.curve(delays),
        "note": contender.note or None,
    }


def is_complete(contender: Contender, end: float, at: float, rate: int) -> bool:
    """Tell whether each short job has started as often as it was due."""
    times = steady.starts_by_job(measure.starts(contender.trace))
    return all(len(times.get(number, [])) >= round(end - at) for number in range(rate))
