"""Settings of processes whose tasks wait in the database, for workers of django-tasks-db."""

import django

from jobstore.tests.jobs_settings import *  # noqa: F403
from jobstore.tests.jobs_settings import INSTALLED_APPS as OTHERS

INSTALLED_APPS = [*OTHERS, "django_tasks_db"]
if django.VERSION < (6, 0):
    INSTALLED_APPS.append("django_tasks")
TASKS = {
    "default": {
        "BACKEND": "django_tasks_db.DatabaseBackend",
        "QUEUES": ["default", "heavy"],
    }
}
SCHEDULER_EXECUTORS = ("tasks",)
