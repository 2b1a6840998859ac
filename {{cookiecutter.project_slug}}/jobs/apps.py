"""The application that holds this project's jobs."""

from django.apps import AppConfig


class JobsConfig(AppConfig):
    """Named "jobs", so that each of its modules is searched for `@scheduled` functions."""

    name = "jobs"
