"""What these tests change in how messages are sent: each is sent twice, and again soon if nobody comes."""

from typing import Any

from jobstore.executors import publisher  # type: ignore[import-not-found]
from jobstore.executors.celery import CeleryExecutor  # type: ignore[import-not-found]
from jobstore.process import scheduler  # type: ignore[import-not-found]

from load import celery_app  # type: ignore[import-not-found]  # noqa: F401 - the default application

# Seconds until a run is published again that nobody has taken; in production a minute.
UNTAKEN = 8.0


class TwiceExecutor(CeleryExecutor):  # type: ignore[misc]
    """Sends every message twice, as brokers do now and then."""

    def publish(self, message: Any) -> None:
        """Send a message, and send it again."""
        super().publish(message)
        super().publish(message)


def prepare() -> None:
    """Give schedulers of this process the executor."""
    publisher.UNTAKEN_SECONDS = UNTAKEN
    usual = scheduler.executors
    scheduler.executors = lambda: usual() | {"celery": TwiceExecutor()}
