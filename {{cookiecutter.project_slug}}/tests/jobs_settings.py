"""Settings of a scheduler process that a test starts: two more jobs, and little patience."""

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS as USUAL_APPS

INSTALLED_APPS = [*USUAL_APPS, "tests.extra_jobs"]
SCHEDULER_DRAIN_SECONDS = 3
SCHEDULER_DATABASE_WAIT_SECONDS = 3
