"""`manage.py sign_jobs_anew`: sign stored jobs with the current secret key, without a scheduler."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import router

from jobstore.leadership.elector import holder
from jobstore.models import DjangoJob, SchedulerLease, database_now
from jobstore.storage import key_rotation


class Command(BaseCommand):
    """Signs the jobs of former keys again, while no scheduler is active."""

    help = (
        "Signs all stored jobs with DJANGO_SECRET_KEY, so that former keys can be removed from "
        "DJANGO_SECRET_KEY_FALLBACKS. A scheduler does this when it becomes active; while one is "
        "active, restart it instead."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare --give-up-unreadable."""
        parser.add_argument(
            "--give-up-unreadable",
            action="store_true",
            help="quarantine the jobs whose key is lost, so that a scheduler can start; it then "
            "stores again those that are declared in code",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Sign jobs, give up unreadable ones if asked to, and report what is left."""
        using = router.db_for_write(DjangoJob)

        def fence() -> None:
            # Locked by a write, so that a scheduler that becomes active waits for the batch to end.
            leases = SchedulerLease.objects.using(using).filter(name=SchedulerLease.DEFAULT)
            leases.update(name=SchedulerLease.DEFAULT)
            if leases.filter(expires_at__gt=database_now(using)).exists():
                raise CommandError(
                    f"{holder(using)[1]} is the active scheduler. It may have another key; restart "
                    "it with the present one, and it signs the jobs anew by itself."
                )

        renewal = key_rotation.sign_anew(using, fence)
        self.stdout.write(f"{renewal.signed} jobs were signed anew.")
        if options["give_up_unreadable"]:
            given_up = key_rotation.give_up_unreadable(using, fence)
            self.stdout.write(f"{given_up} jobs whose key is lost were given up: in quarantine.")
        for text in key_rotation.advice(key_rotation.key_use(using)):
            self.stdout.write(text)
