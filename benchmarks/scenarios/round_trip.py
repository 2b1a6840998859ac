"""The cost of a longer way to the database, through a proxy that adds time each way."""

import contextlib
from collections.abc import Iterator
from typing import Any

import delay
from contenders import PROGRAMS, Contender
from scenarios import burst, steady
from servers import Server

NAME = "round-trip"
TITLE = "A longer way to the database, 10 threads"
CONTENDERS = ("ours", "django-apscheduler", "raw", "celery-beat-results", "django-ox")
PARAMETERS = ("load", "delay_ms")
# The program that measures a round trip.
PING = str(PROGRAMS / "ping.py")
# Jobs of a burst, runs a second, and for how many seconds.
SIZES = {"smoke": (30, 5, 4), "small": (1000, 100, 20), "full": (1000, 100, 60)}

# Milliseconds that are added each way; None is without the proxy, 0 shows what the proxy costs.
DELAYS = (None, 0.0, 1.0)
# Round trips that storing one job takes at most.
WAYS_PER_JOB = 10
# Contenders with figures for the burst only.
BURST_ONLY = ("raw",)


def run(bench: Any) -> list[dict[str, Any]]:
    """Measure each contender's burst and steady rate with each delay."""
    if not isinstance(bench.database, Server):
        return [
            {"contender": name, "load": "all", "delay_ms": None, "note": "a file has no network"}
            for name in CONTENDERS[:1]
        ]
    return [
        row | {"repeat": repeat}
        for milliseconds in DELAYS
        for repeat in range(bench.repeats)
        for contender in bench.contenders(CONTENDERS)
        for row in measured(bench, contender, milliseconds)
    ]


def measured(bench: Any, contender: Contender, milliseconds: float | None) -> Iterator[dict[str, Any]]:
    """Measure one contender with one delay."""
    count, rate, seconds = SIZES[bench.size]
    way = "no proxy" if milliseconds is None else f"+{milliseconds:g} ms each way"
    with lengthened(bench, contender, milliseconds):
        common = {"delay_ms": milliseconds, "measured_round_trip_ms": float(contender.run(PING))}
        with bench.step(f"{contender.title}: burst of {count}, {way}"):
            row = burst.one(bench, contender, count)
        yield row | {"load": f"burst of {count}"} | common
        if contender.name in BURST_ONLY:
            return
        with bench.step(f"{contender.title}: {rate} runs a second, {way}"):
            row = steady.one(bench, contender, rate, seconds)
        yield row | {"load": f"{rate} a second"} | common


@contextlib.contextmanager
def lengthened(bench: Any, contender: Contender, milliseconds: float | None) -> Iterator[None]:
    """Add the delay, and allow more time for storing jobs."""
    if milliseconds is None:
        yield
        return
    usual = contender.store_seconds
    contender.store_seconds = usual + WAYS_PER_JOB * 2 * milliseconds / 1000
    try:
        with delay.through(bench.database, milliseconds):
            yield
    finally:
        contender.store_seconds = usual
