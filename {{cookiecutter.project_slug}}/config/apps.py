"""The app of the project's own parts: checks of the environment, and Celery if it is used."""

from importlib import import_module
from importlib.util import find_spec

from django.apps import AppConfig
from django.conf import settings


class ProjectConfig(AppConfig):
    """Named "config"; it has no models."""

    name = "config"

    def ready(self) -> None:
        """Import the checks, which registers them, and what becomes Celery's application."""
        from . import checks  # noqa: F401

        # A system check says if Celery is asked for and missing.
        if settings.CELERY_BROKER_URL and find_spec("celery") and find_spec("config.celery"):
            import_module("config.celery")
