"""`manage.py jobs add`, `reschedule`, `change`, `reset`, `pause`, `resume` and `retire`."""

from collections.abc import Callable
from typing import Any

import yaml

from jobstore import api
from jobstore.management.jobs import output
from jobstore.management.jobs.context import Context
from jobstore.models import DjangoJob
from jobstore.schedules import written

OPTIONS = ("name", "executor", "coalesce", "max_instances", "misfire_grace_time", "on_lost")


def add(context: Context) -> None:
    """Add a job of a function that the code offers."""
    options = context.options
    trigger, fields = schedule_of(options)
    job = api.add_offered(
        options["function"],
        trigger,
        values=values_of(options["argument"], api.offered(options["function"])),
        id=options["id"],
        paused=options["paused"] is not None,
        reason=options["paused"] or "",
        by=context.by,
        **_given(options),
        **fields,
    )
    _tell(context, job, "added")


def reschedule(context: Context) -> None:
    """Give a job another schedule."""
    trigger, fields = schedule_of(context.options)
    job = api.reschedule(context.options["id"], trigger, by=context.by, **fields)
    _tell(context, job, "rescheduled")


def change(context: Context) -> None:
    """Change arguments and options of a job."""
    options = context.options
    changes: dict[str, Any] = _given(options)
    if options["argument"]:
        changes |= call_of(options["id"], options["argument"])
    if options["next_run_time"] is not None:
        changes["next_run_time"] = options["next_run_time"]
    _tell(context, api.change(options["id"], by=context.by, **changes), "changed")


def reset(context: Context) -> None:
    """Reset a job to what the code declares."""
    _tell(context, api.reset(context.options["id"], by=context.by), "as the code declares it")


def pause(context: Context) -> None:
    """Pause jobs."""
    reason = context.options["reason"] or ""
    _each(context, lambda job_id: api.pause(job_id, reason, by=context.by), "paused")


def resume(context: Context) -> None:
    """Resume jobs."""
    _each(context, lambda job_id: api.resume(job_id, by=context.by), "resumed")


def retire(context: Context) -> None:
    """Take jobs out of service."""
    _each(context, lambda job_id: api.retire(job_id, by=context.by), "retired")


def schedule_of(options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Return the trigger that the options of the command describe, and its arguments.

    :raises InvalidSchedule: if they describe none.
    """
    data: dict[str, Any] = {
        "crontab": options["crontab"],
        "interval": options["every"],
        "at": options["at"],
        "cron": _once(options["cron"], "--cron") if options["cron"] else None,
        **{name: options[name] for name in written.BESIDE},
    }
    data = {name: value for name, value in data.items() if value is not None}
    try:
        return written.from_data(data)
    except ValueError as error:
        text = str(error).rstrip(".")
        raise api.InvalidSchedule(f"{text[:1].upper()}{text[1:]}.") from error


def values_of(pairs: list[tuple[str, str]], offer: Any) -> dict[str, Any]:
    """Return values for arguments; those without a type are read as YAML."""
    kinds = {field.name: field.kind for field in offer.fields}
    given = _once(pairs, "-a")
    try:
        return {
            name: yaml.safe_load(text) if kinds.get(name) == "any" else text
            for name, text in given.items()
        }
    except (yaml.YAMLError, RecursionError, ValueError):
        raise api.InvalidArguments(
            "A value of -a is no YAML; write it as -a 'text=\"a: b\"' or -a 'numbers=[1, 2]'."
        ) from None


def _once(pairs: list[tuple[str, str]], option: str) -> dict[str, str]:
    """Return names and values; of two values of a name, one would be ignored in silence."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise api.InvalidOption(f"{option} {twice}=... is given twice; leave out one of both.")
    return found


def call_of(job_id: str, pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """Return the arguments of a job with some of them changed, as `args` and `kwargs`.

    :raises NotSchedulable: if the code does not offer the job's function any more.
    :raises InvalidArguments: for a value that is wrong or unknown.
    :raises InvalidOption: for a name that is given twice.
    """
    definition = api.definition(job_id)
    offer = api.offer_for(definition.job)
    if offer is None:
        raise api.NotSchedulable(
            f"The code does not offer {definition.reference}, so nobody can say its arguments here."
        )
    names = [field.name for field in offer.fields]
    if len(definition.args) > len(names):
        raise api.InvalidArguments(
            f"Job {job_id!r} has positional arguments without names; change them from code."
        )
    known = dict(zip(names, definition.args, strict=False)) | definition.kwargs
    return {"args": [], "kwargs": api.arguments_of(offer, known | values_of(pairs, offer))}


def _given(options: dict[str, Any]) -> dict[str, Any]:
    given = {name: options[name] for name in OPTIONS if options[name] is not None}
    if given.get("misfire_grace_time") == "unlimited":
        given["misfire_grace_time"] = None
    return given


def _each(context: Context, operation: Callable[[str], bool], done: str) -> None:
    """Change each job. The first refusal ends the command, which says what was done before."""
    outcome: dict[str, bool] = {}
    for job_id in context.options["ids"]:
        try:
            outcome[job_id] = operation(job_id)
        except api.OperationError as error:
            if outcome:
                raise type(error)(f"{error} Done before that: {', '.join(outcome)}.") from error
            raise
    if context.wants_json:
        context.json([{"id": job_id, "changed": changed} for job_id, changed in outcome.items()])
        return
    for job_id, changed in outcome.items():
        text = f"Job {job_id} is {done}." if changed else f"Job {job_id}: nothing to do."
        context.tell(None, text)


def _tell(context: Context, job: DjangoJob, done: str) -> None:
    when = output.moment(output.aware(job.next_run_time))
    following = f"; next run {when}" if when else "; it is paused"
    context.tell(output.of_job(job), f"Job {job.pk} is {done}: {job.trigger}{following}.")
