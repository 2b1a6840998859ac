"""Settings of a scheduler that cannot prepare."""

from jobstore.tests.jobs_settings import *  # noqa: F403
from jobstore.tests.jobs_settings import INSTALLED_APPS as USUAL_APPS

INSTALLED_APPS = [*USUAL_APPS, "jobstore.tests.unfit"]
