"""The audit: one entry for each operation, in the transaction of its effect."""

import contextlib
import contextvars
import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from jobstore import models
from jobstore.api import access
from jobstore.models import AuditEntry, DjangoJob, DjangoJobExecution
from jobstore.storage import masking
from jobstore.util import as_aware

# Where entries are collected as well; usually nowhere.
_collected: contextvars.ContextVar[list[AuditEntry] | None] = contextvars.ContextVar(
    "collected", default=None
)

SHOWN = (
    *("name", "func", "trigger", "executor", "coalesce", "max_instances", "misfire_grace_time"),
    *("on_lost", "pause_reason"),
)


def snapshot(job: DjangoJob) -> dict[str, Any]:
    """Return what an entry records of a job, secret arguments masked."""
    return {name: getattr(job, name) for name in SHOWN} | {
        "arguments": masking.masked_text(job.arguments),
        "next_run_time": _text(job.next_run_time),
        "quarantined": job.quarantined_at is not None,
        "retired": job.retired_at is not None,
    }


def record(
    verb: str,
    job_id: str,
    by: access.By,
    *,
    using: str,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    run_id: int | None = None,
) -> AuditEntry:
    """Write an entry with the differences of two snapshots, in the operation's transaction."""
    return record_all(verb, {job_id: (run_id, before, after)}, by, using=using)[0]


def record_all(
    verb: str,
    jobs: Mapping[str, tuple[int | None, dict[str, Any] | None, dict[str, Any] | None]],
    by: access.By,
    *,
    using: str,
) -> list[AuditEntry]:
    """Write an entry for each of several jobs, in one statement."""
    entries = ((job_id, *rest) for job_id, rest in jobs.items())
    return record_each(verb, entries, by, using=using)


def record_each(
    verb: str,
    operations: Iterable[tuple[str, int | None, dict[str, Any] | None, dict[str, Any] | None]],
    by: access.By,
    *,
    using: str,
) -> list[AuditEntry]:
    """Write an entry for each of several operations, given as job, run, before and after."""
    now = models.database_now(using)
    entries = []
    for job_id, run_id, before, after in operations:
        old, new = before or {}, after or {}
        differs = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        entries.append(
            AuditEntry(
                at=now,
                job_id=job_id,
                run_id=run_id,
                verb=verb,
                who=access.name_of(by),
                user_id=access.key_of(by),
                through=access.present_way(),
                before=_of(old, differs),
                after=_of(new, differs),
            )
        )
    written = AuditEntry.objects.using(using).bulk_create(entries)
    if (collected_here := _collected.get()) is not None:
        collected_here += written
    return written


@contextlib.contextmanager
def collected() -> Iterator[list[AuditEntry]]:
    """Yield a list of the entries that operations write meanwhile, even if they are rolled back."""
    entries: list[AuditEntry] = []
    token = _collected.set(entries)
    try:
        yield entries
    finally:
        _collected.reset(token)


def of_run(run: DjangoJobExecution) -> dict[str, Any]:
    """Return what an entry records of a run."""
    found: dict[str, Any] = {"status": run.status}
    return found | ({"arguments": run.arguments} if run.arguments_state is not None else {})


def _of(values: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: values[name] for name in names if name in values}


def _text(when: dt.datetime | None) -> str | None:
    return None if when is None else as_aware(when).astimezone(dt.UTC).isoformat()
