"""Jobs declared in code, and how the database is brought in line with them.

Operators win over deploys: a job whose declaration did not change is left exactly as it is, be it
paused or edited. Only a changed declaration is written, and a paused job stays paused even then.
"""

import dataclasses
import datetime as dt
import hashlib
import importlib
import logging
import pkgutil
from collections.abc import Callable
from typing import Any, TypeVar

from apscheduler.job import Job
from django.apps import apps
from django.db import transaction
from django.utils import timezone
from django.utils.module_loading import module_has_submodule

from . import conf, defaults, replacing, state
from .jobstores import DjangoJobStore
from .models import DjangoJob, database_now
from .util import as_aware

logger = logging.getLogger("jobstore.registry")

F = TypeVar("F", bound=Callable[..., Any])

JOB_OPTIONS = (
    "args",
    "kwargs",
    "name",
    "executor",
    "max_instances",
    "coalesce",
    "misfire_grace_time",
)
DEFAULT_OPTIONS: dict[str, Any] = {
    "args": (),
    "kwargs": {},
    "executor": "default",
    "max_instances": 1,
    "coalesce": True,
}

_declared: dict[str, "Declaration"] = {}


class DeclarationError(Exception):
    """A declaration that cannot be carried out; its text names the job and what to change."""


@dataclasses.dataclass(frozen=True)
class Declaration:
    """A job as its code declares it, with the arguments of APScheduler's `add_job`."""

    id: str
    func: Callable[..., Any]
    trigger: Any
    options: dict[str, Any]
    on_lost: str = "record"

    @property
    def digest(self) -> str:
        """A digest that changes when, and only when, the declaration does."""
        options = sorted((name, _stable(value)) for name, value in self.options.items())
        parts: tuple[Any, ...] = (_name(self.func), _stable(self.trigger), options)
        if self.on_lost != DjangoJob.OnLost.RECORD:
            parts += (self.on_lost,)
        text = repr(parts)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclasses.dataclass(frozen=True)
class Change:
    """What a sync does to one job: "add", "update" or "retire"."""

    action: str
    job_id: str
    trigger: str = ""


def scheduled(
    trigger: Any, *, id: str | None = None, on_lost: str = "record", **options: Any
) -> Callable[[F], F]:
    """Declare a function as a job.

    Takes what APScheduler's `add_job` takes: a trigger ("cron", "interval", "date" or a trigger
    object), its arguments, and `args`, `kwargs`, `name`, `executor`, `max_instances`, `coalesce`,
    `misfire_grace_time`. Unless said otherwise runs coalesce, one runs at a time, and a run may be
    late by SCHEDULER_MISFIRE_GRACE_SECONDS.

    :param id: identifies the job for ever; default "module.function".
    :param on_lost: what becomes of a run whose process died: "record" shows it as lost, "rerun"
        starts it again as well, for jobs that may safely run twice (three attempts at the most).
    :raises DeclarationError: if another function has declared the same id.
    """
    if on_lost not in DjangoJob.OnLost.values:
        raise DeclarationError(f"on_lost={on_lost!r}: it is one of {DjangoJob.OnLost.values}.")

    def decorate(func: F) -> F:
        job_id = id or f"{func.__module__}.{func.__qualname__}"
        known = _declared.get(job_id)
        if known and _name(known.func) != _name(func):
            raise DeclarationError(
                f"{_name(func)} and {_name(known.func)} both declare a job with the id {job_id!r}. "
                "Give one of them another id."
            )
        _declared[job_id] = Declaration(job_id, func, trigger, options, on_lost)
        return func

    return decorate


def declarations() -> list[Declaration]:
    """Import the jobs of every installed app and return what they declare.

    Jobs live in an app's `jobs` module or package, or anywhere in an app that is named "jobs".
    """
    for app in apps.get_app_configs():
        if app.module is None:
            continue
        if app.name.rpartition(".")[2] == "jobs":
            _import_all(app.name)
        elif module_has_submodule(app.module, "jobs"):
            _import_all(f"{app.name}.jobs")
    return [_declared[job_id] for job_id in sorted(_declared)]


def prepare(declaration: Declaration, scheduler: Any, now: dt.datetime | None = None) -> Job:
    """Return the job of a declaration, with its first run time.

    :param now: the database's time, aware; without it, the machine's.
    Raises DeclarationError if APScheduler does not accept it, if its trigger never fires, or if it
    cannot be stored.
    """
    job_options: dict[str, Any] = {}
    trigger_options: dict[str, Any] = {}
    for name, value in declaration.options.items():
        (job_options if name in JOB_OPTIONS else trigger_options)[name] = value
    options = DEFAULT_OPTIONS | {"misfire_grace_time": conf.get("SCHEDULER_MISFIRE_GRACE_SECONDS")}
    options |= job_options
    try:
        trigger = scheduler._create_trigger(declaration.trigger, trigger_options)
        at = timezone.localtime(now, scheduler.timezone)
        defaults.begin_at(trigger, at)  # it counted from this machine's time
        first = trigger.get_next_fire_time(None, at)
        job = Job(
            scheduler,
            id=declaration.id,
            func=declaration.func,
            trigger=trigger,
            next_run_time=first,
            **options,
        )
        state.values(job)
    except Exception as error:
        raise DeclarationError(
            f"Job {declaration.id!r} ({_name(declaration.func)}): {error}"
        ) from error
    if first is None:
        raise DeclarationError(
            f"Job {declaration.id!r} never runs: its trigger {trigger} has no run time left."
        )
    return job


def sync(store: DjangoJobStore, scheduler: Any, *, dry_run: bool = False) -> list[Change]:
    """Add, update and retire stored jobs so that they match the declarations.

    A declaration that cannot be carried out is logged; its stored job stays as it is.

    :param dry_run: only return what would be done.
    """
    using = store.using
    changes: list[Change] = []
    now = as_aware(database_now(using))
    with transaction.atomic(using=using):
        rows = {row.pk: row for row in DjangoJob.all_objects.using(using).exclude(declaration="")}
        wanted = declarations()
        for declaration in wanted:
            row = rows.get(declaration.id)
            # A quarantined job is stored anew: whatever was wrong may be right in this version.
            if row and row.declaration == declaration.digest and row.quarantined_at is None:
                continue
            try:
                job = prepare(declaration, scheduler, now)
            except DeclarationError as error:
                logger.error("%s", error)
                continue
            in_service = DjangoJob.objects.using(using).filter(pk=job.id).first()
            action = "update" if in_service else "add"
            changes.append(Change(action, job.id, str(job.trigger)))
            if not dry_run:
                _write(job, declaration, in_service, store)
        for job_id in sorted(set(rows) - {declaration.id for declaration in wanted}):
            if rows[job_id].retired_at is None:
                changes.append(Change("retire", job_id, rows[job_id].trigger))
                if not dry_run:
                    leaving = DjangoJob.objects.using(using).filter(pk=job_id)
                    leaving.update(declaration="")  # so that it is added if it ever comes back
                    leaving.retire()
    for change in changes:
        logger.info("%s job %s %s", change.action, change.job_id, change.trigger)
    return changes


def _write(
    job: Job, declaration: Declaration, in_service: DjangoJob | None, store: DjangoJobStore
) -> None:
    if in_service is None:
        store.add_job(job)
    else:
        replacing.keep_schedule(job, in_service)
        store.update_job(job)
    DjangoJob.objects.using(store.using).filter(pk=job.id).update(
        declaration=declaration.digest, on_lost=declaration.on_lost
    )


def _import_all(package: str) -> None:
    module = importlib.import_module(package)
    for found in pkgutil.iter_modules(getattr(module, "__path__", [])):
        if found.name not in ("apps", "migrations", "models", "admin", "tests"):
            importlib.import_module(f"{package}.{found.name}")


def _name(func: Callable[..., Any]) -> str:
    return f"{func.__module__}.{func.__qualname__}"


def _stable(value: Any) -> str:
    """Return text for a value that is the same in every process."""
    return replacing.identity(value) if hasattr(value, "get_next_fire_time") else repr(value)
