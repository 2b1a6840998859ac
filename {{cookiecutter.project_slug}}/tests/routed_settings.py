"""Settings of a scheduler process that a test starts: the jobs have a database of their own."""

import os

from tests.jobs_settings import *  # noqa: F403
from tests.jobs_settings import DATABASES, env
from tests.routers import ALIAS

DATABASES[ALIAS] = DATABASES["default"] | env.db_url_config(os.environ["JOBS_DATABASE_URL"])
DATABASE_ROUTERS = ["tests.routers.JobsElsewhere"]
