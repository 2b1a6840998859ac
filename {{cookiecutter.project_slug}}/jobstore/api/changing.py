"""Operations that add jobs and change what they are: schedule, arguments, options."""

import enum
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from django.db import IntegrityError, router, transaction

from jobstore import conf
from jobstore.api import access, audit, building
from jobstore.api.errors import (
    AlreadyExists,
    InvalidArguments,
    InvalidOption,
    InvalidSchedule,
    NotDeclared,
)
from jobstore.api.reading import declaration_of, offered, restore
from jobstore.api.transaction import changing
from jobstore.database.notifications import notify
from jobstore.declarations.declaration import DeclarationError
from jobstore.declarations.offers import Offer
from jobstore.declarations.validation import build, set_first_run
from jobstore.jobstores import initial_values
from jobstore.models import REPLACED, DjangoJob, DjangoJobExecution
from jobstore.storage import edits, replacement, serializer
from jobstore.storage.serializer import UnreadableState
from jobstore.util import get_django_internal_datetime


class Unset(enum.Enum):
    """The type of `UNSET`."""

    UNSET = "unset"


# What an option is that nobody gave: for some, None means something.
UNSET: Final = Unset.UNSET


def add_job(
    func: Callable[..., Any] | str,
    trigger: Any,
    *,
    id: str | None = None,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    name: str | None = None,
    executor: str = "default",
    coalesce: bool = True,
    max_instances: int = 1,
    misfire_grace_time: int | Unset | None = UNSET,
    on_lost: str = "record",
    next_run_time: Any = UNSET,
    paused: bool = False,
    reason: str = "",
    replace_existing: bool = False,
    by: access.By = None,
    **fields: Any,
) -> DjangoJob:
    """Add a job, from any process and inside the caller's transaction; return its row.

    If the transaction is rolled back, there is no job, and nobody was told of one.

    :param func: any function that can be imported, or its reference "package.module:name".
    :param trigger: "cron", "interval", "date", "calendarinterval", or a trigger object.
    :param id: identifies the job for ever; without it, one is made up.
    :param args: stored with the job, as `kwargs` are: pass plain values, such as a primary key.
    :param misfire_grace_time: seconds by which a run may be late, None for any; default
        SCHEDULER_MISFIRE_GRACE_SECONDS.
    :param on_lost: "rerun" starts a run again whose process died.
    :param next_run_time: the first time, if it is another than the schedule's.
    :param paused: adds the job without scheduling it, for the `reason`.
    :param replace_existing: replaces a job of this id; a pause and what operators edited stay.
    :param by: who asks: a user, whose rights are checked, or a text for the audit.
    :param fields: the arguments of a trigger that is named, such as `hour=3`.
    :raises AlreadyExists: if there is a job of this id, or the code declares it.
    :raises NotSchedulable: if no other process could find the function.
    :raises InvalidSchedule: if the schedule makes no sense, or never fires.
    :raises InvalidArguments: if the function does not take the arguments.
    :raises InvalidOption: if another option makes no sense.
    :raises NotAllowed: if the user who asks may not.
    """
    access.check(by, "add")
    grace = conf.get("SCHEDULER_MISFIRE_GRACE_SECONDS")
    grace = grace if misfire_grace_time is UNSET else misfire_grace_time
    scheduler = building.stand_in()
    found = building.find_function(func)
    building.check_call(building.callable_of(found), args, kwargs or {})
    building.check_on_lost(on_lost)
    made = building.make_trigger(trigger, fields, scheduler)
    options = {
        "args": tuple(args),
        "kwargs": dict(kwargs or {}),
        "name": name,
        "executor": executor,
        "coalesce": coalesce,
        "max_instances": max_instances,
        "misfire_grace_time": grace,
    }
    if name is None:
        del options["name"]
    job = building.make_job(uuid.uuid4().hex if id is None else id, found, made, options, scheduler)
    using = router.db_for_write(DjangoJob)
    job.next_run_time = building.first_time(job.trigger, building.now(using), grace)
    if next_run_time is not UNSET:
        job.next_run_time = building.given_time(next_run_time, scheduler)
    if paused:
        job.next_run_time = None
    values = _values(job) | {"on_lost": on_lost, "pause_reason": reason[:500] if paused else ""}
    access.check(by, "add", DjangoJob(pk=job.id, **values))
    with transaction.atomic(using=using):
        before = _store(job, values, replace_existing, using)
        row: DjangoJob = DjangoJob.objects.using(using).get(pk=job.id)
        audit.record("add", job.id, by, using=using, before=before, after=audit.snapshot(row))
    return row


def add_offered(
    key: str, trigger: Any, *, values: Mapping[str, Any] | None = None, **options: Any
) -> DjangoJob:
    """Add a job of a function that the code offers, as the admin and the command do.

    :param key: "module.function".
    :param values: what somebody gave for its arguments, as text or as values.
    :param options: as for `add_job`, with the arguments of the trigger.
    :raises NotSchedulable: if the code does not offer the function.
    :raises InvalidArguments: for a value that is wrong, unknown or missing.

    Raises what `add_job` raises as well.
    """
    access.check(options.get("by"), "add")
    offer = offered(key)
    return add_job(offer.func, trigger, kwargs=arguments_of(offer, values or {}), **options)


def arguments_of(offer: Offer, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call of an offered function for what somebody gave.

    :raises InvalidArguments: for a value that is wrong, unknown or missing.
    """
    try:
        return offer.arguments(values)
    except ValueError as error:
        raise InvalidArguments(f"{error}.") from error


def _store(
    job: Any, values: dict[str, Any], replace_existing: bool, using: str
) -> dict[str, Any] | None:
    """Write a new job, or in place of one; return what the audit tells of that one."""
    try:
        with transaction.atomic(using=using):
            DjangoJob.all_objects.using(using).create(pk=job.id, **values)
            notify(using)
        return None
    except IntegrityError:
        pass
    jobs = DjangoJob.all_objects.using(using).filter(pk=job.id)
    stored = jobs.select_for_update().get()
    before = audit.snapshot(stored)
    if stored.retired_at is not None:
        jobs.update(**initial_values() | values)
        DjangoJobExecution.objects.db_manager(using).cancel_waiting(jobs, REPLACED)
        return before
    if stored.declaration:
        raise AlreadyExists(
            f"The code declares a job {job.id!r}; change that one, or choose another id."
        )
    if not replace_existing:
        raise AlreadyExists(f"There is a job {job.id!r}; change that one, or choose another id.")
    edited, values["on_lost"] = edits.keep(job, values["on_lost"], stored)
    replacement.keep_schedule(job, stored)
    if stored.next_run_time is None:
        values["pause_reason"] = stored.pause_reason
    jobs.update(**values | _values(job) | {"edited": edited})
    return before


def reschedule(
    job_id: str, trigger: Any, *, expected: str = "", by: access.By = None, **fields: Any
) -> DjangoJob:
    """Give a job another schedule, from now on; return its row. A paused job stays paused.

    A deploy leaves it, until the code declares another schedule.

    :param trigger: as for `add_job`, with its `fields`.
    :param expected: the fingerprint of the definition that was looked at.
    :raises NoSuchJob: if there is none in service.
    :raises InvalidSchedule: if the schedule makes no sense, never fires or fires too often.
    :raises Unreadable: if the stored job cannot be restored.
    :raises Conflict: if the job was changed since it was looked at.
    :raises NotAllowed: if the user who asks may not.
    """
    scheduler = building.stand_in()
    with changing(job_id, "reschedule", "edit", by, expected=expected) as change:
        job, stored = restore(change.row), restore(change.row)
        job.trigger = building.make_trigger(trigger, fields, scheduler)
        now = building.now(change.using)
        first = building.first_time(job.trigger, now, job.misfire_grace_time)
        job.next_run_time = None if change.row.next_run_time is None else first
        edited = edits.noted(change.row, stored, job, change.row.on_lost)
        change.write(**_definition(job), edited=edited)
    return change.row


def change(
    job_id: str,
    *,
    args: Sequence[Any] | Unset = UNSET,
    kwargs: Mapping[str, Any] | Unset = UNSET,
    name: str | Unset = UNSET,
    executor: str | Unset = UNSET,
    coalesce: bool | Unset = UNSET,
    max_instances: int | Unset = UNSET,
    misfire_grace_time: int | Unset | None = UNSET,
    on_lost: str | Unset = UNSET,
    next_run_time: Any = UNSET,
    expected: str = "",
    by: access.By = None,
) -> DjangoJob:
    """Change arguments or options of a job; return its row. What is not given stays.

    A deploy leaves what was changed, until the code declares that part otherwise.

    :param next_run_time: moves the next run; later ones follow the schedule.
    :param expected: the fingerprint of the definition that was looked at.
    :raises NoSuchJob: if there is none in service.
    :raises InvalidArguments: if the function does not take the arguments.
    :raises InvalidOption: if an option makes no sense, or none is given.
    :raises InvalidSchedule: if the next run time makes no sense, or the job is paused.
    :raises Unreadable: if the stored job cannot be restored.
    :raises Conflict: if the job was changed since it was looked at.
    :raises NotAllowed: if the user who asks may not.
    """
    options = {
        "name": name,
        "executor": executor,
        "coalesce": coalesce,
        "max_instances": max_instances,
        "misfire_grace_time": misfire_grace_time,
    }
    given = {key: value for key, value in options.items() if value is not UNSET}
    others = (args, kwargs, on_lost, next_run_time)
    if not given and all(one is UNSET for one in others):
        raise InvalidOption("Nothing is given that should change.")
    scheduler = building.stand_in()
    with changing(job_id, "change", "edit", by, expected=expected) as under_way:
        row = under_way.row
        job, stored = restore(row), restore(row)
        if args is not UNSET or kwargs is not UNSET:
            new_args = job.args if args is UNSET else args
            new_kwargs = job.kwargs if kwargs is UNSET else kwargs
            building.check_call(job.func, new_args, new_kwargs)
            job.args, job.kwargs = tuple(new_args), dict(new_kwargs)
        building.modify(job, given, scheduler)
        wanted = row.on_lost if on_lost is UNSET else on_lost
        building.check_on_lost(wanted)
        if next_run_time is not UNSET:
            job.next_run_time = _moved(row, next_run_time, scheduler)
        edited = edits.noted(row, stored, job, wanted)
        under_way.write(**_definition(job), edited=edited, on_lost=wanted)
    return row


def reset(job_id: str, *, by: access.By = None) -> DjangoJob:
    """Take a job back to what the code of this process declares; return its row.

    A pause stays. A job that cannot be restored is stored anew, and so leaves quarantine.

    :raises NoSuchJob: if there is none in service.
    :raises NotDeclared: if the code does not declare it, or declares it wrongly.
    :raises NotAllowed: if the user who asks may not.
    """
    declaration = declaration_of(job_id)
    with changing(job_id, "reset", "edit", by) as under_way:
        row = under_way.row
        if declaration is None:
            raise NotDeclared(f"The code does not declare a job {job_id!r}.")
        try:
            job = build(declaration, building.stand_in())
            set_first_run(job, declaration, building.now(under_way.using))
        except DeclarationError as error:
            raise NotDeclared(str(error)) from error
        replacement.keep_schedule(job, row)
        under_way.write(
            **_values(job),
            edited="",
            on_lost=declaration.on_lost,
            declaration=declaration.digest,
            declared_in=declaration.place.module[:255],
        )
    return row


def _moved(row: DjangoJob, next_run_time: Any, scheduler: Any) -> Any:
    if row.next_run_time is None:
        raise InvalidSchedule(f"Job {row.pk!r} is paused; resume it, and then move its next run.")
    return building.given_time(next_run_time, scheduler)


def _definition(job: Any) -> dict[str, Any]:
    """Return the columns that tell what a job is and when it runs next."""
    try:
        values = serializer.values(job)
    except (ValueError, UnreadableState) as error:
        raise InvalidOption(str(error)) from error
    return {"next_run_time": get_django_internal_datetime(job.next_run_time), **values}


def _values(job: Any) -> dict[str, Any]:
    """Return the same, of a job that is in service."""
    in_service = {"quarantined_at": None, "quarantine_reason": "", "retired_at": None}
    return in_service | _definition(job)
