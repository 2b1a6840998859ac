"""`manage.py retry_quarantined_jobs`: put jobs back into service once they can be restored."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from jobstore.storage import quarantine


class Command(BaseCommand):
    """Tries to restore quarantined jobs; what still cannot be restored stays where it is."""

    help = (
        "Tries quarantined jobs again, for example after the function that they name is back. "
        "Exit code 1 if one stays in quarantine."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the ids."""
        parser.add_argument("ids", nargs="*", help="ids of jobs (default: all in quarantine)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Try again, and say what came of each job."""
        wanted = options["ids"] or None
        retried = quarantine.retry(wanted)
        for one in retried:
            if not one.reason:
                self.stdout.write(self.style.SUCCESS(f"{one.job_id}: back in service"))
        kept = [f"{one.job_id}: {one.reason}" for one in retried if one.reason]
        unknown = sorted(set(wanted or ()) - {one.job_id for one in retried})
        kept += [f"{job_id}: no job with this id is in quarantine" for job_id in unknown]
        if kept:
            raise CommandError("\n".join(kept))
        if not retried:
            self.stdout.write("No job is in quarantine.")
