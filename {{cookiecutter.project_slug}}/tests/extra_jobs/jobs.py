"""Jobs that count themselves, and jobs that take their time and run only when a test asks."""

import os
import time
from pathlib import Path

from jobstore.registry import scheduled


@scheduled("interval", id="tick", seconds=1)
def tick() -> None:
    """Leave a trace outside the database, so that a run which history hides still shows."""
    if trace := os.environ.get("TICK_TRACE"):
        with Path(trace).open("a") as file:
            file.write(f"{os.getpid()}\n")


@scheduled("cron", id="nap", year=2999)
def nap() -> None:
    """Finish within the drain time."""
    time.sleep(1.5)


@scheduled("cron", id="endless", year=2999)
def endless() -> None:
    """Never finish."""
    time.sleep(3600)
