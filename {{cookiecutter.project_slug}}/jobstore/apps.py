"""The application: its name, its system checks, and what its connections are given."""

from django.apps import AppConfig
from django.db.backends.signals import connection_created

from . import defaults  # noqa: F401 - before anybody's trigger is made


class JobStoreConfig(AppConfig):
    """Registers the checks. It never starts a scheduler: only `runapscheduler` does."""

    name = "jobstore"
    verbose_name = "Scheduled jobs"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Import the checks, which registers them, and prepare connections that are made later."""
        from . import checks, children, job_checks, limits  # noqa: F401

        connection_created.connect(limits.notice_silence)
        connection_created.connect(children.note_connection)
