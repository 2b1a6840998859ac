"""Reads the tables of django-apscheduler with SQL through this app's models.

So times are converted as in every other row, and the package itself is not needed.
"""

import contextlib
import datetime as dt
from zoneinfo import ZoneInfo

from django.db import connections

from jobstore.models import DjangoJob, DjangoJobExecution
from jobstore.util import as_aware, get_django_internal_datetime

JOBS = "django_apscheduler_djangojob"
RUNS = "django_apscheduler_djangojobexecution"
# The columns that must exist. Before 0.6 a job also had a name, and a run its start.
NEEDED_COLUMNS = {
    JOBS: {"id", "next_run_time", "job_state"},
    RUNS: {"id", "job_id", "run_time", "finished"},
}
OUTDATED = {JOBS: {"name"}, RUNS: {"started"}}
# Rows read at once.
BATCH_ROWS = 1000


class CannotImport(Exception):
    """There is nothing to import from, or nothing to import into; the text says what to do."""


class Source:
    """The old tables, which are only read."""

    def __init__(self, alias: str, zone: ZoneInfo | None = None) -> None:
        """Prepare to read from a configured database.

        :param zone: the TIME_ZONE of a project that had USE_TZ=False, if its database does not
            know time zones; None for times that are stored as this project stores its own.
        """
        self.alias = alias
        self._connection = connections[alias]
        # PostgreSQL stores the instant, whatever the project's settings were.
        self._zone = None if self._connection.features.supports_timezones else zone

    def require_tables(self) -> None:
        """Check that both tables are there, as versions 0.6 and 0.7 make them.

        :raises CannotImport: if they are not.
        """
        for table, needed in NEEDED_COLUMNS.items():
            columns = columns_of(self.alias, table)
            if not columns:
                raise CannotImport(
                    f"Database {self.alias!r} ({self._connection.settings_dict['NAME']}) has no "
                    f"table {table}. If django-apscheduler kept its jobs in another database, add "
                    "that to DATABASES in config/settings.py and name it with --database."
                )
            if not columns >= needed or columns & OUTDATED[table]:
                raise CannotImport(
                    f"Table {table} is not as django-apscheduler 0.6 and 0.7 make it. In the old "
                    "project, install django-apscheduler 0.6.2 or 0.7.0 and run `python manage.py "
                    "migrate django_apscheduler` first."
                )

    def jobs(self) -> list[DjangoJob]:
        """Return all jobs; their `job_state` is the old, unsigned one."""
        rows = DjangoJob.all_objects.using(self.alias).raw(
            f"SELECT id, next_run_time, job_state FROM {JOBS} ORDER BY id"  # noqa: S608 - constant
        )
        return list(rows)

    def count_runs(self) -> int:
        """Return how many runs there are."""
        with self._connection.cursor() as cursor:
            cursor.execute(f"SELECT COUNT(*) FROM {RUNS}")  # noqa: S608 - constant
            return int(cursor.fetchone()[0])

    def runs(self, after: int) -> list[DjangoJobExecution]:
        """Return the next batch of runs, by id."""
        return self._runs("WHERE id > %s ORDER BY id", after)

    def latest_activity(self) -> dt.datetime | None:
        """Return the latest time in the newest batch of runs, aware; None without any run."""
        times: list[dt.datetime] = []
        for row in self._runs("ORDER BY id DESC"):
            with contextlib.suppress(ValueError):  # reported when it is copied
                times.append(as_aware(self.when(row.run_time)))
                if (finished := moment(row)) is not None:
                    times.append(finished)
        return max(times, default=None)

    def _runs(self, which: str, *parameters: object) -> list[DjangoJobExecution]:
        columns = "id, job_id, status, run_time, exception, traceback, finished AS posix_finished"
        query = f"SELECT {columns} FROM {RUNS} {which} LIMIT {BATCH_ROWS}"  # noqa: S608 - constants
        rows = DjangoJobExecution.objects.using(self.alias).raw(query, parameters)
        return list(rows)

    def when(self, stored: dt.datetime | None) -> dt.datetime:
        """Return a time of the old tables as this project stores times.

        :raises ValueError: if there is none, for example if SQLite holds another text.
        """
        if stored is None:
            raise ValueError("its time cannot be read")
        if self._zone is None:
            return stored
        if stored.tzinfo is not None:
            stored = stored.astimezone(self._connection.timezone)
        return get_django_internal_datetime(stored.replace(tzinfo=self._zone))


def columns_of(alias: str, table: str) -> set[str]:
    """Return the names of a table's columns; none if there is no such table."""
    connection = connections[alias]
    with connection.cursor() as cursor:
        if table not in connection.introspection.table_names(cursor):
            return set()
        described = connection.introspection.get_table_description(cursor, table)
    return {column.name for column in described}


def moment(row: DjangoJobExecution) -> dt.datetime | None:
    """Return when a run of the old tables ended, which they store as a POSIX timestamp.

    :raises ValueError: for a number that is no timestamp.
    """
    posix = row.__dict__["posix_finished"]  # only the raw query above knows it
    try:
        return None if posix is None else dt.datetime.fromtimestamp(float(posix), dt.UTC)
    except (OverflowError, OSError) as error:
        raise ValueError(str(error)) from error
