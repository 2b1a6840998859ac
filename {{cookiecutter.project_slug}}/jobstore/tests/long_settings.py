"""Settings of a scheduler whose lease does not end while a test waits."""

from jobstore.tests.jobs_settings import *  # noqa: F403

SCHEDULER_LEASE_SECONDS = 600.0
SCHEDULER_DEAD_SECONDS = 600.0
SCHEDULER_SURPLUS = "standby"
