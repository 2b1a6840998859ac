"""The application: its name, its system checks, and what its connections are given."""

from django.apps import AppConfig
from django.db.backends.signals import connection_created
from django.db.models.signals import post_save, pre_save
from django.utils.translation import gettext_lazy

from jobstore.schedules import trigger_defaults  # noqa: F401 - before anybody's trigger is made


class JobStoreConfig(AppConfig):
    """Registers the checks. It never starts a scheduler: only `runapscheduler` does."""

    name = "jobstore"
    verbose_name = gettext_lazy("Scheduled jobs")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Import the checks, which registers them, and prepare connections that are made later."""
        from jobstore import forks, models
        from jobstore.checks import access, configuration, declared_jobs  # noqa: F401
        from jobstore.database import timeouts

        connection_created.connect(timeouts.enable_keepalives)
        connection_created.connect(forks.note_connection)
        pre_save.connect(models.renew_version, sender=models.DjangoJob)
        post_save.connect(models.announce, sender=models.DjangoJob)
