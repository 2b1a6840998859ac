"""Operations that add jobs."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.db import IntegrityError, router, transaction
from django.utils.translation import gettext_noop as _

from jobstore import conf
from jobstore.api import access, audit, building, inputs
from jobstore.api.columns import UNSET, Unset, in_service, warn_of_weekdays
from jobstore.api.errors import (
    AlreadyExists,
    InvalidArguments,
    InvalidOption,
)
from jobstore.api.reading import offered
from jobstore.declarations.offers import Offer
from jobstore.jobstores import initial_values
from jobstore.models import REPLACED, DjangoJob, DjangoJobExecution
from jobstore.sentences import changed, said, told
from jobstore.storage import edits, replacement


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

    If the transaction is rolled back, there is no job, and no scheduler heard of one.

    :param func: any function that can be imported, or its reference "package.module:name".
    :param trigger: "cron", "interval", "date", "calendarinterval", or a trigger object.
    :param id: identifies the job, so never change it; without it, one is made up.
    :param args: stored with the job, like `kwargs`: pass plain values, such as a primary key.
    :param misfire_grace_time: seconds by which a run may be late, None for any; default
        SCHEDULER_MISFIRE_GRACE_SECONDS.
    :param on_lost: "rerun" repeats a run whose process died; "record" only marks it as lost.
    :param next_run_time: the first time, if it is not the schedule's first.
    :param paused: adds the job without scheduling it, for the `reason`.
    :param replace_existing: replaces a job of this id; a pause and what operators edited stay.
    :param by: who asks: a user, whose rights are checked, or a text for the audit.
    :param fields: the arguments of a trigger that is named, such as `hour=3`.
    :raises AlreadyExists: if there is a job of this id, or the code declares it.
    :raises NotSchedulable: if no other process could find the function.
    :raises InvalidSchedule: if the schedule is wrong, never fires, or fires too often.
    :raises InvalidArguments: if the function does not take the arguments.
    :raises InvalidOption: if another option is wrong.
    :raises NotAllowed: if the user who asks may not.
    """
    access.check(by, "add")
    grace = conf.get("SCHEDULER_MISFIRE_GRACE_SECONDS")
    grace = grace if misfire_grace_time is UNSET else misfire_grace_time
    scheduler, reason = building.stand_in(), inputs.reason_of(reason)
    inputs.switch("replace_existing", replace_existing)
    if not inputs.switch("paused", paused) and reason:
        text = _("Only a paused job has a reason; pass paused=True, or leave it out.")
        raise InvalidOption(said(text))
    if paused and next_run_time is not UNSET:
        text = _("A paused job has no next run time; leave out one of both.")
        raise InvalidOption(said(text))
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
        job.next_run_time = building.future_time(next_run_time, grace, scheduler, using)
    if paused:
        job.next_run_time = None
    values = in_service(job) | {"on_lost": on_lost, "pause_reason": reason}
    access.check(by, "add", DjangoJob(pk=job.id, **values))
    with transaction.atomic(using=using):
        before = _store(job, values, replace_existing, using)
        row: DjangoJob = DjangoJob.objects.using(using).get(pk=job.id)
        audit.record("add", job.id, by, using=using, before=before, after=audit.snapshot(row))
    warn_of_weekdays(job)
    return row


def add_offered(
    key: str, trigger: Any, *, values: Mapping[str, Any] | None = None, **options: Any
) -> DjangoJob:
    """Add a job of a function that the code offers, as the admin and the command do.

    :param key: "module.function".
    :param values: its arguments, as texts or as values.
    :param options: as for `add_job`, with the arguments of the trigger.
    :raises NotSchedulable: if the code does not offer the function.
    :raises InvalidArguments: for a value that is wrong, unknown or missing.

    It also raises what `add_job` raises.
    """
    access.check(options.get("by"), "add")
    offer = offered(key)
    return add_job(offer.func, trigger, kwargs=arguments_of(offer, values or {}), **options)


def arguments_of(offer: Offer, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a call of an offered function, from texts or values.

    :raises InvalidArguments: for a value that is wrong, unknown or missing.
    """
    if not isinstance(values, Mapping):
        text = _("The values of arguments are a dict, by their names.")
        raise InvalidArguments(said(text))
    try:
        return offer.arguments(values)
    except ValueError as error:
        raise InvalidArguments(changed(told(error), "{}.".format)) from error


def _store(
    job: Any, values: dict[str, Any], replace_existing: bool, using: str
) -> dict[str, Any] | None:
    """Write a new job, or replace one; return what the audit records of the replaced one."""
    try:
        with transaction.atomic(using=using):
            DjangoJob.all_objects.using(using).create(pk=job.id, **values)
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
        text = _("The code declares a job %(job)r; change that one, or choose another id.")
        raise AlreadyExists(said(text, job=job.id))
    if not replace_existing:
        text = _("There is a job %(job)r; change that one, or choose another id.")
        raise AlreadyExists(said(text, job=job.id))
    edited, values["on_lost"] = edits.keep(job, values["on_lost"], stored)
    replacement.keep_schedule(job, stored)
    if stored.next_run_time is None:
        values["pause_reason"] = stored.pause_reason
    jobs.update(**values | in_service(job) | {"edited": edited})
    return before
