"""The application: its name and its system checks."""

from django.apps import AppConfig


class JobStoreConfig(AppConfig):
    """Registers the checks. It never starts a scheduler: only `runapscheduler` does."""

    name = "jobstore"
    verbose_name = "Scheduled jobs"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Import the checks, which registers them."""
        from . import checks  # noqa: F401
