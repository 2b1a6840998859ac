"""Keeps the history from growing without bound."""

from django.conf import settings

from jobstore.housekeeping import prune
from jobstore.registry import scheduled


@scheduled("cron", id="prune-history", hour=3, minute=30)
def prune_history() -> None:
    """Delete what is older than JOB_HISTORY_DAYS or beyond JOB_HISTORY_PER_JOB."""
    prune(days=settings.JOB_HISTORY_DAYS, keep_per_job=settings.JOB_HISTORY_PER_JOB)
