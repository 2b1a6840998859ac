"""Reads stored jobs: their definitions, when they run next, and how they differ from the code."""

import dataclasses
import datetime as dt
import difflib
import hashlib
from collections.abc import Callable
from typing import Any

from django.db import router
from django.db.models import F, Q, QuerySet
from django.utils.translation import gettext_noop as _

from jobstore import conf, registry
from jobstore.api import access, building, inputs
from jobstore.api.errors import InvalidOption, NoSuchJob, NoSuchRun, NotSchedulable, Unreadable
from jobstore.api.visibility import visible_to
from jobstore.declarations.declaration import Declaration, DeclarationError
from jobstore.declarations.offers import Offer
from jobstore.declarations.validation import build
from jobstore.models import DjangoJob, DjangoJobExecution
from jobstore.sentences import said, told
from jobstore.storage import edits, masking, serializer
from jobstore.texts import flattened

IN_SERVICE = Q(retired_at=None)
# The states of a job, by name, with the filter of each.
STATES = {
    "scheduled": IN_SERVICE & Q(quarantined_at=None, next_run_time__isnull=False),
    "paused": IN_SERVICE & Q(quarantined_at=None, next_run_time=None),
    "quarantined": IN_SERVICE & Q(quarantined_at__isnull=False),
    "retired": ~IN_SERVICE,
}
# Times that can be asked for at once.
MOST_TIMES = 1000
OPTIONS = (*edits.OPTIONS, "on_lost")


@dataclasses.dataclass(frozen=True)
class Definition:
    """A job with its schedule and arguments as objects; its row has them as text only.

    `fingerprint` changes with each part. Pass it as `expected` to an operation that must not undo
    another person's change.
    """

    job: DjangoJob
    func: Callable[..., Any] | None
    reference: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    trigger: Any
    options: dict[str, Any]
    fingerprint: str


@dataclasses.dataclass(frozen=True)
class Difference:
    """A part of a job that differs from what the code declares."""

    part: str
    stored: Any
    declared: Any
    # Whether an operator changed it, so that it stays until the code changes it.
    is_edited: bool


def get(job_id: str) -> DjangoJob:
    """Return a job, also a retired one.

    :raises NoSuchJob: if there is none.
    """
    key = inputs.job_key(job_id)
    row = DjangoJob.all_objects.filter(pk=key).first()
    if row is None:
        raise NoSuchJob(said(_("There is no job %(job)r."), job=key))
    return row


def get_run(run_id: int) -> DjangoJobExecution:
    """Return a run of the history.

    :raises NoSuchRun: if there is none, or not any more.
    """
    run = DjangoJobExecution.objects.filter(pk=inputs.run_key(run_id)).first()
    if run is None:
        raise NoSuchRun(said(_("There is no run %(run)s in the history."), run=run_id))
    return run


def find(
    *,
    state: str = "",
    text: str = "",
    func: str = "",
    executor: str = "",
    declared: bool | None = None,
    edited: bool | None = None,
    by: access.By = None,
) -> QuerySet[DjangoJob]:
    """Return the jobs that match all filters, the next to run first. It reads columns only.

    :param by: leaves out the jobs that this user may not view, by JOB_ACCESS.
    :param state: "scheduled", "paused", "quarantined" or "retired"; without it, all in service.
    :param text: a part of the id, the name or the function.
    :param func: the function, as "module:name".
    :param declared: whether the code declares it.
    :param edited: whether an operator has changed it.
    :raises InvalidOption: for an unknown state, and for filters that no job could match.
    """
    if state and state not in map(str, STATES):
        sentence = _("There is no state %(state)s, only %(known)s.")
        shown = flattened(repr(state), 80)
        raise InvalidOption(said(sentence, state=shown, known=", ".join(STATES)))
    inputs.check_texts(text=text, func=func, executor=executor)
    inputs.check_switches(declared=declared, edited=edited)
    jobs = DjangoJob.all_objects.filter(STATES[state] if state else IN_SERVICE)
    if access.is_user(by):
        jobs = jobs.filter(visible_to(by).q("pk") if access.may(by, "view") else Q(pk__in=[]))
    if text:
        jobs = jobs.filter(
            Q(pk__icontains=text) | Q(name__icontains=text) | Q(func__icontains=text)
        )
    if func:
        jobs = jobs.filter(func=func)
    if executor:
        jobs = jobs.filter(executor=executor)
    if declared is not None:
        jobs = jobs.exclude(declaration="") if declared else jobs.filter(declaration="")
    if edited is not None:
        jobs = jobs.exclude(edited="") if edited else jobs.filter(edited="")
    return jobs.defer("job_state").order_by(F("next_run_time").asc(nulls_last=True), "pk")


def definition(job: DjangoJob | str) -> Definition:
    """Return a job's schedule and arguments as objects. Secret arguments are not masked here.

    :raises NoSuchJob: if there is none.
    :raises Unreadable: if it cannot be restored.
    """
    row = job if isinstance(job, DjangoJob) else get(job)
    restored = restore(row)
    return Definition(
        job=row,
        func=restored.func,
        reference=str(restored.func_ref),
        args=tuple(restored.args),
        kwargs=dict(restored.kwargs),
        trigger=restored.trigger,
        options={name: getattr(row, name) for name in OPTIONS},
        fingerprint=fingerprint(row),
    )


def restore(row: DjangoJob) -> Any:
    """Return APScheduler's job of a row.

    :raises Unreadable: if it cannot be restored.
    """
    try:
        return serializer.restore(row)
    except serializer.UnreadableState as error:
        text = _("Job %(job)r cannot be restored: %(error)s")
        raise Unreadable(said(text, job=row.pk, error=told(error))) from error


def fingerprint(row: DjangoJob) -> str:
    """Return a digest of a job's definition; a run of the job does not change it."""
    shown = [str(getattr(row, name)) for name in OPTIONS]
    text = bytes(row.job_state) + "\0".join(shown).encode("utf-8", "surrogatepass")
    return hashlib.sha256(text).hexdigest()[:16]


def next_run_times(job: DjangoJob | str | Any, number: int = 10) -> list[dt.datetime]:
    """Return when a job runs next, in the zone of its schedule; empty if it is paused.

    :param job: an id, a job, or a trigger that is not stored, to see its times from now on.
    :param number: from 1 to 1000.
    :raises NoSuchJob: if there is none with this id.
    :raises Unreadable: if it cannot be restored.
    :raises InvalidOption: for another number.
    """
    inputs.number(number, MOST_TIMES)
    if hasattr(job, "get_next_fire_time"):
        return preview(job, number)
    restored = restore(job if isinstance(job, DjangoJob) else get(job))
    return building.times_from(restored.trigger, restored.next_run_time, number)


def preview(trigger: Any, number: int = 10, **fields: Any) -> list[dt.datetime]:
    """Return when a job with this schedule would run from now on, before anything is stored.

    :param trigger: "cron", "interval", "date", "calendarinterval", or a trigger object.
    :param fields: the arguments of a trigger that is named.
    :raises InvalidSchedule: as the operation that stores it would.
    :raises InvalidOption: for a number that is not from 1 to 1000.
    """
    inputs.number(number, MOST_TIMES)
    made = building.make_trigger(trigger, fields, building.stand_in())
    now = building.now(router.db_for_read(DjangoJob))
    grace = conf.get("SCHEDULER_MISFIRE_GRACE_SECONDS")
    return building.times_from(made, building.first_time(made, now, grace), number)


def made_trigger(trigger: Any, **fields: Any) -> Any:
    """Return the trigger object of a schedule, as the operation that stores it would make it.

    :raises InvalidSchedule: if there is none.
    """
    return building.make_trigger(trigger, fields, building.stand_in())


def declaration_of(job_id: str) -> Declaration | None:
    """Return what the code of this process declares under an id; None if it declares nothing."""
    return next((one for one in registry.declarations() if one.id == job_id), None)


def offered(key: str) -> Offer:
    """Return a function that the code offers or declares, by "module.function".

    :raises NotSchedulable: if it does neither; the text may suggest another name.
    """
    if not isinstance(key, str):
        shown = flattened(repr(key), 80)
        text = _("A function is named by text, such as module.function, not %(value)s.")
        raise NotSchedulable(said(text, value=shown))
    found = registry.offers()
    if key in found:
        return found[key]
    similar = difflib.get_close_matches(key, found, n=1, cutoff=0.5)
    shown = flattened(key, 80)
    if similar:
        text = _(
            "The code offers no function %(name)r, by @schedulable or @scheduled; did you mean "
            "%(similar)s?"
        )
        raise NotSchedulable(said(text, name=shown, similar=similar[0]))
    text = _("The code offers no function %(name)r, by @schedulable or @scheduled.")
    raise NotSchedulable(said(text, name=shown))


def offer_for(job: DjangoJob) -> Offer | None:
    """Return the offer of a job's function; None if the code does not offer it."""
    return registry.offers().get(job.func.replace(":", "."))


def differs_from_code(job: DjangoJob | str) -> list[Difference]:
    """Return the parts of a job that differ from what the code of this process declares.

    Empty for a job that is not declared, or whose declaration is wrong.

    :raises NoSuchJob: if there is none with this id.
    """
    row = job if isinstance(job, DjangoJob) else get(job)
    declaration = declaration_of(row.pk)
    if declaration is None or not row.declaration:
        return []
    try:
        declared = build(declaration, building.stand_in())
        stored = restore(row)
    except (DeclarationError, Unreadable):
        return []
    edited = edits.parts(row)
    values = serializer.columns(declared) | {"on_lost": declaration.on_lost}
    columns = {"schedule": "trigger", **{name: name for name in (*OPTIONS, "func")}}
    found = []
    for part, column in columns.items():
        if getattr(row, column) != values[column]:
            found.append(Difference(part, getattr(row, column), values[column], part in edited))
    # Their texts are masked, and may be equal even if secrets differ.
    if (tuple(stored.args), dict(stored.kwargs)) != (tuple(declared.args), dict(declared.kwargs)):
        text = masking.masked_text(row.arguments)
        difference = Difference("arguments", text, values["arguments"], "arguments" in edited)
        found.append(difference)
    return found


def state_of(job: DjangoJob) -> str:
    """Return "scheduled", "paused", "quarantined" or "retired"."""
    if job.retired_at is not None:
        return "retired"
    if job.quarantined_at is not None:
        return "quarantined"
    return "paused" if job.next_run_time is None else "scheduled"


def shown_arguments(job: DjangoJob | DjangoJobExecution) -> str:
    """Return the arguments of a job, or a run's own, as people may see them."""
    return masking.masked_text(job.arguments)
