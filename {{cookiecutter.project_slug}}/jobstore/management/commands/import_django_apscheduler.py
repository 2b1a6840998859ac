"""`manage.py import_django_apscheduler`: take over jobs and history from django-apscheduler."""

import argparse
import datetime as dt
import re
from collections import Counter
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DEFAULT_DB_ALIAS, connections, router
from django.utils import timezone

from jobstore import conf
from jobstore.importer import history, jobs
from jobstore.importer import source as tables
from jobstore.importer.history import HistoryReport
from jobstore.importer.jobs import JobReport
from jobstore.importer.unpickler import Allowed
from jobstore.models import DjangoJob, database_now
from jobstore.texts import one_line
from jobstore.util import as_aware

# Runs after which a line says how far it is.
PROGRESS_RUNS = 10_000
REFERENCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")
# If the old scheduler wrote within this time, it may still be running.
RECENT_WRITE = dt.timedelta(minutes=10)


class Command(BaseCommand):
    """Prints what it would copy; copies it with --apply. May be interrupted and repeated."""

    help = (
        "Copies jobs and history from the tables of django-apscheduler (0.6 or 0.7). It only "
        "reads these tables. Without --apply it says what it would do: look at the functions and "
        "arguments that it shows, since anybody who could write to the old tables may have put "
        "any there. Functions and classes of other packages than this project are skipped until "
        "you name them with --allow. Stop the old scheduler first."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare --apply, --database, --allow and --time-zone."""
        parser.add_argument(
            "--apply",
            action="store_true",
            help="copy; without it the command only says what it would copy",
        )
        parser.add_argument(
            "--database",
            default=DEFAULT_DB_ALIAS,
            help="name, in DATABASES, of the database with the old tables (default: %(default)s)",
        )
        parser.add_argument(
            "--allow",
            action="append",
            default=[],
            type=_reference,
            metavar="MODULE:NAME",
            help="a function or class outside of this project that jobs may use; may be repeated",
        )
        parser.add_argument(
            "--time-zone",
            type=_zone,
            help="zone of the times in the old tables, where they are not PostgreSQL's: the old "
            "project's TIME_ZONE if it had USE_TZ=False, else UTC",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Look, warn, copy jobs and then history, and account for every row."""
        if options["database"] not in connections:
            raise CommandError(
                f"DATABASES in config/settings.py has no {options['database']!r}, but "
                f"{', '.join(map(repr, connections))}."
            )
        using = router.db_for_write(DjangoJob)
        if not tables.columns_of(using, DjangoJob._meta.db_table):
            raise CommandError(
                f"Database {using!r} has no tables to import into. Run `python manage.py migrate` "
                "first."
            )
        source = tables.Source(options["database"], options["time_zone"])
        try:
            source.require_tables()
        except tables.CannotImport as error:
            raise CommandError(str(error)) from error
        self._warn_of_activity(source, using)
        allowed = Allowed(options["allow"])
        reports = jobs.examine_jobs(source, allowed)
        for name in sorted({*allowed} - allowed.needed):
            text = f"--allow {name} was not needed: no job of the old table names it so."
            self.stderr.write(self.style.WARNING(text))
        if jobs.disagree(reports) and options["time_zone"] is None:
            self._explain_disagreement(reports, apply=options["apply"])
        self._jobs(reports, using, apply=options["apply"])
        self._history(source, apply=options["apply"])
        if not options["apply"]:
            self.stdout.write("Nothing was written; run this again with --apply to copy.")

    def _warn_of_activity(self, source: tables.Source, using: str) -> None:
        latest = source.latest_activity()
        if latest is not None and as_aware(database_now(using)) - latest < RECENT_WRITE:
            self.stderr.write(
                self.style.WARNING(
                    f"The old history goes up to {_text(latest)}. Is the old scheduler still "
                    "running? It would run the same jobs as this project's: stop it first."
                )
            )

    def _explain_disagreement(self, reports: list[JobReport], *, apply: bool) -> None:
        """Refuse to copy history whose times are probably wrong, since it could not be undone."""
        text = (
            "Every next run time in the old table is another than in the state of its job. That "
            "comes of USE_TZ=False in the old project: name its TIME_ZONE with --time-zone, or the "
            "times of the history are wrong. If it had USE_TZ=True, say --time-zone UTC."
        )
        if apply:
            raise CommandError(text)
        self.stderr.write(self.style.WARNING(text))

    def _jobs(self, reports: list[JobReport], using: str, *, apply: bool) -> None:
        counts: Counter[str] = Counter()
        now = as_aware(database_now(using))
        for report in jobs.store_jobs(reports) if apply else reports:
            counts[report.action] += 1
            self.stdout.write(_line(report, now))
        quarantined = counts[JobReport.QUARANTINED]
        imported = counts[JobReport.IMPORTED] + quarantined
        self.stdout.write(
            f"Jobs: {counts.total()} read = {imported} {_verb(apply)} ({quarantined} of them into "
            f"quarantine) + {counts[JobReport.KNOWN]} already there "
            f"+ {counts[JobReport.UNREADABLE]} that could not be read "
            f"+ {counts[JobReport.FOREIGN]} that need --allow. The last two stay where they are."
        )
        if quarantined:
            self.stdout.write(
                "Jobs in quarantine do not run. Repair what they name, then run "
                "`python manage.py retry_quarantined_jobs`."
            )

    def _history(self, source: tables.Source, *, apply: bool) -> None:
        total = source.count_runs()

        def progress(report: HistoryReport) -> None:
            if report.read % PROGRESS_RUNS == 0:
                self.stdout.write(f"{report.read} of {total} runs …")
                self.stdout.flush()

        report = history.import_history(source, apply=apply, progress=progress)
        for reason in report.reasons:
            self.stdout.write(f"{JobReport.UNREADABLE:<14} {one_line(reason)}")
        self.stdout.write(
            f"Runs: {report.read} read = {report.imported} {_verb(apply)} "
            f"+ {report.completed} whose end is now known + {report.known} already there "
            f"+ {report.unreadable} that could not be read."
        )
        if report.first is not None and report.last is not None:
            self.stdout.write(f"Those runs are from {_text(report.first)} to {_text(report.last)}.")
            self._warn_of_pruning(as_aware(report.first))

    def _warn_of_pruning(self, first: dt.datetime) -> None:
        days = conf.get("JOB_HISTORY_DAYS")
        if dt.datetime.now(dt.UTC) - first > dt.timedelta(days=days):
            self.stderr.write(
                self.style.WARNING(
                    f"Of these, the nightly pruning deletes what is older than {days} days. To "
                    "keep more, raise JOB_HISTORY_DAYS, and JOB_HISTORY_PER_JOB, first."
                )
            )


def _reference(text: str) -> str:
    if not REFERENCE.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!a} is not MODULE:NAME, such as os.path:exists")
    return text


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        text = f"there is no time zone {name!r}; one is Europe/Berlin"
        raise argparse.ArgumentTypeError(text) from None


def _verb(apply: bool) -> str:
    return "imported" if apply else "to import"


def _line(report: JobReport, now: dt.datetime) -> str:
    # Each text is cut on its own, so that a long one does not hide the others.
    parts = [one_line(text) for text in (report.job_id, report.call, report.text) if text]
    line = f"{report.action:<14} {'  '.join(parts)}"
    if report.action != JobReport.IMPORTED:
        return line
    if report.next_run_time is None:
        line += "  paused"
    else:
        line += f"  next run {_text(report.next_run_time)}"
        line += ", overdue" if report.next_run_time < now else ""
    if report.column is not None:
        line += f" (the table's {_text(report.column)} is not used)"
    if report.executor != "default":
        line += f" (needs an executor named {one_line(repr(report.executor))})"
    return line


def _text(when: dt.datetime) -> str:
    zone = timezone.get_default_timezone() if settings.USE_TZ else None
    return as_aware(when).astimezone(zone).isoformat(" ", "seconds")
