"""`manage.py prune_job_history`: delete old history now, as the nightly job does."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from jobstore import conf
from jobstore.conf import Setting
from jobstore.housekeeping import prune
from jobstore.management.arguments import judged

# Zero is allowed here: it deletes all runs that have ended.
AGE = Setting(kind="number", unit="days", most=36_500)
ROWS = Setting(kind="whole", unit="rows")


class Command(BaseCommand):
    """Deletes finished runs by age and by number per job, in batches."""

    help = "Deletes old runs, and retired jobs and ended processes that no run names any more."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare --days and --keep-per-job."""
        parser.add_argument(
            "--days",
            type=judged(AGE),
            default=conf.get("JOB_HISTORY_DAYS"),
            help="delete runs that are older (default: JOB_HISTORY_DAYS, %(default)s)",
        )
        parser.add_argument(
            "--keep-per-job",
            type=judged(ROWS),
            default=conf.get("JOB_HISTORY_PER_JOB"),
            help=(
                "keep at most this many runs of each job (default: JOB_HISTORY_PER_JOB, "
                "%(default)s)"
            ),
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Prune, and say what was deleted. Numbers that make no sense delete nothing."""
        try:
            pruned = prune(days=options["days"], keep_per_job=options["keep_per_job"])
        except ValueError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"Deleted {pruned.runs} runs, {pruned.jobs} retired jobs, {pruned.processes} processes."
        )
