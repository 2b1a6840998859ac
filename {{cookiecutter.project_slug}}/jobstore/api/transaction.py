"""The parts that all operations on a job share: its lock, the check of rights, the audit."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

from django.db import DataError, router, transaction
from django.utils.translation import gettext_noop as _

from jobstore.api import access, audit, inputs
from jobstore.api.errors import Conflict, InvalidOption, NoSuchJob
from jobstore.api.reading import fingerprint
from jobstore.models import DjangoJob
from jobstore.sentences import said
from jobstore.texts import flattened


@dataclasses.dataclass
class Change:
    """An operation in progress: the locked row, and whether anything was changed."""

    row: DjangoJob
    using: str
    is_done: bool = False

    def write(self, **values: Any) -> None:
        """Store columns that differ, and let the active scheduler notice."""
        if all(_plain(getattr(self.row, name)) == _plain(one) for name, one in values.items()):
            return
        jobs = DjangoJob.all_objects.using(self.using).filter(pk=self.row.pk)
        try:
            with transaction.atomic(using=self.using):
                jobs.update(**values)
        except DataError as error:
            text = _("Job %(job)r cannot be stored: %(error)s")
            raise InvalidOption(said(text, job=self.row.pk, error=flattened(error))) from error
        self.is_done = True


def _plain(value: Any) -> Any:
    return bytes(value) if isinstance(value, memoryview) else value


@contextlib.contextmanager
def changing(
    job_id: str, verb: str, permission: str, by: access.By, *, expected: str = ""
) -> Iterator[Change]:
    """Lock a job in service, and record in the audit what was done to it, all or nothing.

    It runs inside the caller's transaction, if there is one.

    :param verb: what the audit calls it.
    :param expected: the fingerprint that the job had when it was read; empty for any.
    :raises NoSuchJob: if there is none, or it is retired.
    :raises NotAllowed: if the user who asks may not.
    :raises Conflict: if the job was changed since it was read.
    """
    using = router.db_for_write(DjangoJob)
    job_id = inputs.job_key(job_id)
    with transaction.atomic(using=using):
        rows = DjangoJob.all_objects.using(using)
        row = rows.select_for_update().filter(pk=job_id).first()
        if row is None:
            raise NoSuchJob(said(_("There is no job %(job)r."), job=job_id))
        access.check(by, permission, row)
        if row.retired_at is not None and verb != "retire":
            text = _("Job %(job)r is retired; add it again to have it run.")
            raise NoSuchJob(said(text, job=job_id))
        if expected and fingerprint(row) != expected:
            text = _("Job %(job)r was changed since you looked at it; look again.")
            raise Conflict(said(text, job=job_id))
        before = audit.snapshot(row)
        change = Change(row, using)
        yield change
        if change.is_done:
            row.refresh_from_db(using=using)
            audit.record(verb, job_id, by, using=using, before=before, after=audit.snapshot(row))
