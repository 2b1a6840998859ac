"""Settings of a scheduler process that a test starts: more jobs, and little patience."""

import os

from tests.settings import *  # noqa: F403
from tests.settings import INSTALLED_APPS as USUAL_APPS

# Apps that a test wrote itself, on the process's path.
WRITTEN_APPS = os.environ.get("WRITTEN_APPS", "").split()
INSTALLED_APPS = [*USUAL_APPS, "jobstore.tests.extra_jobs", *WRITTEN_APPS]
SCHEDULER_ON_BAD_JOBS = os.environ.get("SCHEDULER_ON_BAD_JOBS", "skip")
SCHEDULER_DRAIN_SECONDS = 3
SCHEDULER_DATABASE_WAIT_SECONDS = 3
SCHEDULER_LEASE_SECONDS = 2.0
SCHEDULER_RENEW_SECONDS = 0.4
SCHEDULER_MARGIN_SECONDS = 0.5
SCHEDULER_POLL_SECONDS = 0.2
SCHEDULER_DEAD_SECONDS = 3.0
SCHEDULER_STATEMENT_SECONDS = 2.0
