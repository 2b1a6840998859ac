"""Settings of a scheduler process whose keys the test chooses."""

import os

from jobstore.tests.jobs_settings import *  # noqa: F403

SECRET_KEY = os.environ["TEST_SECRET_KEY"]
SECRET_KEY_FALLBACKS = os.environ["TEST_SECRET_KEY_FALLBACKS"].split()
