"""Keeps the history from growing without bound."""

from jobstore import conf
from jobstore.housekeeping import prune
from jobstore.registry import scheduled


# A machine that is off at night makes up for it when it is on again, however late.
@scheduled("cron", id="prune-history", hour=3, minute=30, misfire_grace_time=None)
def prune_history() -> None:
    """Delete what is older than JOB_HISTORY_DAYS or beyond JOB_HISTORY_PER_JOB."""
    prune(days=conf.get("JOB_HISTORY_DAYS"), keep_per_job=conf.get("JOB_HISTORY_PER_JOB"))
