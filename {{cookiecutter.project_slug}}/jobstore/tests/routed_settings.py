"""Settings of a scheduler process that a test starts: the jobs have a database of their own."""

import os

from config.database import parse
from jobstore.tests.jobs_settings import *  # noqa: F403
from jobstore.tests.jobs_settings import BASE_DIR, DATABASES
from jobstore.tests.routers import ALIAS

DATABASES[ALIAS] = DATABASES["default"] | parse(os.environ["JOBS_DATABASE_URL"], BASE_DIR)
DATABASE_ROUTERS = ["jobstore.tests.routers.JobsElsewhere"]
