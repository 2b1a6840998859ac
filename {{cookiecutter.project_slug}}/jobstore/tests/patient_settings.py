"""Settings of a scheduler that waits for its database, and loses no lease meanwhile."""

from jobstore.tests.long_settings import *  # noqa: F403

SCHEDULER_STATEMENT_SECONDS = 60.0
