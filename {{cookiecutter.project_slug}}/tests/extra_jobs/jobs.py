"""Jobs that take their time; they run only when a test asks for it."""

import time

from jobstore.registry import scheduled


@scheduled("cron", id="nap", year=2999)
def nap() -> None:
    """Finish within the drain time."""
    time.sleep(1.5)


@scheduled("cron", id="endless", year=2999)
def endless() -> None:
    """Never finish."""
    time.sleep(3600)
