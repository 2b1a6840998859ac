"""A sample job: shows in the log and in the history that jobs run. Replace it with your own."""

import logging

from jobstore.models import DjangoJobExecution
from jobstore.registry import scheduled

logger = logging.getLogger(__name__)


@scheduled("interval", id="heartbeat", seconds=10)
def heartbeat() -> None:
    """Log how often jobs have run so far."""
    runs = DjangoJobExecution.objects.filter(status=DjangoJobExecution.SUCCESS).count()
    logger.info("heartbeat: %d runs so far", runs)
