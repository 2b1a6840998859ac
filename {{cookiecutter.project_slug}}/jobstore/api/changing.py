"""Operations that change what a job is: schedule, arguments, options."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.utils.translation import gettext_noop as _

from jobstore.api import access, building, inputs
from jobstore.api.columns import UNSET, Unset, definition, in_service, warn_of_weekdays
from jobstore.api.errors import (
    InvalidOption,
    InvalidSchedule,
    NotDeclared,
)
from jobstore.api.reading import declaration_of, restore
from jobstore.api.transaction import changing
from jobstore.declarations.declaration import DeclarationError
from jobstore.declarations.validation import build, set_first_run
from jobstore.models import DjangoJob
from jobstore.sentences import said, told
from jobstore.storage import edits, replacement


def reschedule(
    job_id: str, trigger: Any, *, expected: str = "", by: access.By = None, **fields: Any
) -> DjangoJob:
    """Give a job another schedule, from now on; return its row. A paused job stays paused.

    A deploy keeps it until the code declares another schedule.

    :param trigger: as for `add_job`, with its `fields`.
    :param expected: the fingerprint of the definition that was looked at.
    :raises NoSuchJob: if there is none in service.
    :raises InvalidSchedule: if the schedule is wrong, never fires, or fires too often.
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
        change.write(**definition(job), edited=edited)
    warn_of_weekdays(job)
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
    """Change arguments or options of a job; return its row. Others stay as they are.

    What is so already is neither written nor audited.

    A deploy keeps a changed part until the code declares that part differently.

    :param next_run_time: moves the next run; later ones follow the schedule.
    :param expected: the fingerprint of the definition that was looked at.
    :raises NoSuchJob: if there is none in service.
    :raises InvalidArguments: if the function does not take the arguments.
    :raises InvalidOption: if an option is wrong, or none is given.
    :raises InvalidSchedule: if the next run time is wrong, or the job is paused.
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
        raise InvalidOption(said(_("Nothing is given that should change.")))
    scheduler = building.stand_in()
    with changing(job_id, "change", "edit", by, expected=expected) as under_way:
        row = under_way.row
        job, stored = restore(row), restore(row)
        if args is not UNSET or kwargs is not UNSET:
            new_args = job.args if args is UNSET else args
            new_kwargs = job.kwargs if kwargs is UNSET else kwargs
            building.check_call(job.func, new_args, new_kwargs)
            if repr((tuple(new_args), dict(new_kwargs))) != repr((job.args, job.kwargs)):
                job.args, job.kwargs = tuple(new_args), dict(new_kwargs)
        building.modify(job, given, scheduler)
        wanted = row.on_lost if on_lost is UNSET else on_lost
        building.check_on_lost(wanted)
        if next_run_time is not UNSET:
            job.next_run_time = _moved(row, next_run_time, scheduler, under_way.using)
        edited = edits.noted(row, stored, job, wanted)
        if definition(job) != definition(stored) or wanted != row.on_lost:
            under_way.write(**definition(job), edited=edited, on_lost=wanted)
    return row


def reset(job_id: str, *, by: access.By = None) -> DjangoJob:
    """Reset a job to what the code of this process declares; return its row.

    A paused job stays paused. A quarantined job is stored again, which ends its quarantine.

    :raises NoSuchJob: if there is none in service.
    :raises NotDeclared: if the code does not declare it, or declares it wrongly.
    :raises NotAllowed: if the user who asks may not.
    """
    declaration = declaration_of(inputs.job_key(job_id))
    with changing(job_id, "reset", "edit", by) as under_way:
        row = under_way.row
        if declaration is None:
            raise NotDeclared(said(_("The code does not declare a job %(job)r."), job=job_id))
        try:
            job = build(declaration, building.stand_in())
            set_first_run(job, declaration, building.now(under_way.using))
        except DeclarationError as error:
            raise NotDeclared(told(error)) from error
        replacement.keep_schedule(job, row)
        under_way.write(
            **in_service(job),
            edited="",
            on_lost=declaration.on_lost,
            declaration=declaration.digest,
            declared_in=declaration.place.module[:255],
        )
    return row


def _moved(row: DjangoJob, next_run_time: Any, scheduler: Any, using: str) -> Any:
    if row.next_run_time is None:
        text = _("Job %(job)r is paused; resume it, and then move its next run.")
        raise InvalidSchedule(said(text, job=row.pk))
    return building.future_time(next_run_time, row.misfire_grace_time, scheduler, using)
