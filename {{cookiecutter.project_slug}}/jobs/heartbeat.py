"""A sample job: shows in the log and in the history that jobs run. Replace it with your own."""

import logging

from jobstore.registry import scheduled
from jobstore.runs import current_run

logger = logging.getLogger(__name__)


@scheduled("interval", id="heartbeat", seconds=10)
def heartbeat() -> str:
    """Log which run this is. What a job returns is kept with its run."""
    run = current_run()
    text = f"due at {run.run_time:%H:%M:%S} UTC" if run else "called by hand"
    logger.info("heartbeat: %s", text)
    return text
