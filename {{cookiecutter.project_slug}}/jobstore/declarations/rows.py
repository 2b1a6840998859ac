"""Declared jobs as rows, written by one statement for any number of them.

In plain SQL: Django would take a second for a thousand rows.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from apscheduler.job import Job
from django.db import connections, models
from django.db.models.expressions import DatabaseDefault

from jobstore.declarations.declaration import Declaration
from jobstore.models import DjangoJob, first_version

Row = dict[str, Any]


@dataclasses.dataclass
class Wanted:
    """A job to be written."""

    declaration: Declaration
    job: Job
    values: Row = dataclasses.field(default_factory=dict)

    @property
    def id(self) -> str:
        """The id of the job."""
        return self.declaration.id


class JobRows:
    """Writes rows of declared jobs to one database."""

    def __init__(self, using: str) -> None:
        """Take the alias of the database."""
        self._using = using

    def insert(self, jobs: Sequence[Wanted]) -> None:
        """Insert rows of jobs that have none."""
        rows = [DjangoJob(pk=one.id, version=first_version(), **_values(one)) for one in jobs]
        fields = [
            field
            for field in DjangoJob._meta.concrete_fields
            if not isinstance(getattr(rows[0], field.attname), DatabaseDefault)
        ]
        columns = ", ".join(self._quoted(field) for field in fields)
        places = ", ".join(["%s"] * len(fields))
        self._execute(
            f"INSERT INTO {DjangoJob._meta.db_table} ({columns}) VALUES ({places})",  # noqa: S608 - names
            [self._prepared(fields, row) for row in rows],
        )

    def update(self, jobs: Sequence[Wanted]) -> None:
        """Write over rows of jobs, and raise their versions."""
        rows = [DjangoJob(pk=one.id, **_values(one)) for one in jobs]
        written = {*_values(jobs[0])}
        fields = [field for field in DjangoJob._meta.concrete_fields if field.name in written]
        changes = ", ".join(f"{self._quoted(field)} = %s" for field in fields)
        self._execute(
            f"UPDATE {DjangoJob._meta.db_table} SET {changes}, version = version + 1 WHERE id = %s",  # noqa: S608 - names
            [[*self._prepared(fields, row), row.pk] for row in rows],
        )

    def _execute(self, statement: str, rows: list[list[Any]]) -> None:
        with connections[self._using].cursor() as cursor:
            cursor.executemany(statement, rows)

    def _quoted(self, field: "models.Field[Any, Any]") -> str:
        return connections[self._using].ops.quote_name(str(field.column))

    def _prepared(self, fields: Iterable["models.Field[Any, Any]"], row: DjangoJob) -> list[Any]:
        connection = connections[self._using]
        return [
            field.get_db_prep_save(getattr(row, field.attname), connection=connection)
            for field in fields
        ]


def _values(one: Wanted) -> Row:
    return {
        "on_lost": one.declaration.on_lost,
        **one.values,
        "declaration": one.declaration.digest,
        "declared_in": one.declaration.place.module[:255],
    }
