"""Settings of a scheduler that cannot prepare."""

from tests.jobs_settings import *  # noqa: F403
from tests.jobs_settings import INSTALLED_APPS as USUAL_APPS

INSTALLED_APPS = [*USUAL_APPS, "tests.unfit"]
