"""Settings of a scheduler process that a test starts: the jobs have a database of their own."""

import os

from config.database import parse
from tests.jobs_settings import *  # noqa: F403
from tests.jobs_settings import BASE_DIR, DATABASES
from tests.routers import ALIAS

DATABASES[ALIAS] = DATABASES["default"] | parse(os.environ["JOBS_DATABASE_URL"], BASE_DIR)
DATABASE_ROUTERS = ["tests.routers.JobsElsewhere"]
