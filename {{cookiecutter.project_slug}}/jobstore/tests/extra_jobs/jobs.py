"""Jobs that count themselves, and jobs that take their time and run only when a test asks."""

import datetime as dt
import os
import time
from pathlib import Path

from apscheduler.triggers.base import BaseTrigger

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


class Hanging(BaseTrigger):  # type: ignore[misc]
    """Never says when it fires the second time, as some combinations of triggers do."""

    def get_next_fire_time(self, previous: dt.datetime | None, now: dt.datetime) -> dt.datetime:
        """Answer the first time only."""
        if previous is not None:
            print("About to hang", flush=True)
            time.sleep(3600)
        return now + dt.timedelta(days=365)

    def __getstate__(self) -> dict[str, str]:
        """There is nothing to tell."""
        return {}

    def __setstate__(self, state: dict[str, str]) -> None:
        """There is nothing to remember."""


@scheduled(Hanging(), id="hang")
def hang() -> None:
    """Never runs."""
