"""`manage.py jobs export` and `import`: jobs as YAML that a person can read, edit and compare."""

import contextlib
import difflib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from django.db import router, transaction

from jobstore import api, conf, registry
from jobstore.management.jobs.context import Context
from jobstore.management.jobs.reading import InvalidFile, check_types, may_be_id, read
from jobstore.models import DjangoJob
from jobstore.schedules import written
from jobstore.storage.masking import MASK
from jobstore.texts import flattened, one_line

HEAD = (
    "# Jobs, written by `manage.py jobs export`. What is not said of a job is as by default.\n"
    f"# A value {MASK} is secret: it stays as it is where the file is imported.\n"
)
DEFAULTS: dict[str, Any] = {
    "executor": "default",
    "coalesce": True,
    "max_instances": 1,
    "on_lost": "record",
}
# Mistakes of a file that are told at once.
MOST_TOLD = 20


def export_jobs(context: Context) -> None:
    """Write jobs into a file, or print them."""
    options = context.options
    rows = [api.get(job_id) for job_id in options["ids"]] or list(api.find(state="").defer(None))
    rows = [row for row in rows if row.retired_at is None and api.may(context.by, "view", row)]
    offers = registry.offers()
    jobs, left = {}, []
    for row in sorted(rows, key=lambda one: str(one.pk)):
        try:
            jobs[row.pk] = described(row, offers)
        except (api.OperationError, ValueError) as error:
            left.append(f"Job {row.pk!r} is left out: {error}")
    text = HEAD + dumped({"jobs": jobs})
    if options["file"] is not None:
        try:
            Path(options["file"]).write_text(text, encoding="utf-8", newline="\n")
        except OSError as error:
            text = f"{options['file']} cannot be written: {error.strerror}."
            raise api.InvalidOption(text) from error
        context.tell({"exported": len(jobs), "left_out": left}, f"{len(jobs)} jobs are exported.")
    else:
        context.console.file.write(text)
    for line in left:
        sys.stderr.write(f"{line}\n")


def import_jobs(context: Context) -> None:
    """Show what a file of jobs would change, and change it once that is confirmed."""
    options = context.options
    wanted = read(options["file"])
    using = router.db_for_write(DjangoJob)
    plan, problems = _plan(wanted)
    if problems:
        left = len(problems) - MOST_TOLD
        more = [f"And {left} more."] if left > 0 else []
        raise InvalidFile("\n".join([*problems[:MOST_TOLD], *more]))
    if context.wants_json:
        context.json([{"id": one, "action": what, "diff": lines} for one, what, lines in plan])
    else:
        _print_plan(context, plan)
    with transaction.atomic(using=using):  # refusals are reported before anybody is asked
        _carry_out_all(context, plan, wanted)
        transaction.set_rollback(True, using=using)
    if options["dry_run"] or not plan:
        return
    if not options["yes"] and not _confirmed(context, len(plan)):
        context.console.print("Nothing was changed.")
        return
    with transaction.atomic(using=using):
        _carry_out_all(context, plan, wanted)
    if not context.wants_json:
        context.console.print(f"Jobs changed: {len(plan)}.", highlight=False)


def described(row: DjangoJob, offers: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored job as a file holds it.

    :raises ValueError: if a file cannot hold its schedule or an argument.
    """
    definition = api.definition(row)
    key = definition.reference.replace(":", ".")
    offer = offers.get(key)
    if offer is None:
        raise ValueError(f"the code does not offer {key}")
    fields = {field.name: field for field in offer.fields}
    if len(definition.args) > len(fields):
        raise ValueError("it has positional arguments without names")
    given = dict(zip(fields, definition.args, strict=False)) | definition.kwargs
    arguments = {
        name: MASK
        if name in fields and fields[name].is_secret
        else _plain(fields[name].text_of(value) if name in fields else value, name)
        for name, value in given.items()
    }
    found: dict[str, Any] = {"function": key, "schedule": written.as_data(definition.trigger)}
    if arguments:
        found["arguments"] = arguments
    if row.next_run_time is None:
        found["paused"] = row.pause_reason or True
    standard = _defaults(offer.func)
    options = definition.options.items()
    return found | {name: value for name, value in options if value != standard[name]}


def dumped(data: Any) -> str:
    """Return plain data as YAML, in the order in which it is given."""
    text: str = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=100)
    return text


def _defaults(func: Any) -> dict[str, Any]:
    grace = conf.get("SCHEDULER_MISFIRE_GRACE_SECONDS")
    return DEFAULTS | {"misfire_grace_time": grace, "name": getattr(func, "__name__", "")}


def _plain(value: Any, name: str) -> Any:
    try:
        if yaml.safe_load(yaml.safe_dump(value)) == value:
            return value
    except yaml.YAMLError:
        pass
    raise ValueError(f"its argument {name} is a {type(value).__name__}, which no file can hold")


Step = tuple[str, str, list[str]]


def _plan(wanted: dict[str, Any]) -> tuple[list[Step], list[str]]:
    """Return the steps of the import, with a diff for each job, and the mistakes of the file."""
    offers = registry.offers()
    declared = {one.id for one in registry.declarations()}
    rows = DjangoJob.objects.in_bulk(list(filter(may_be_id, wanted)))
    plan: list[Step] = []
    problems: list[str] = []
    for job_id, data in wanted.items():
        try:
            row = rows.get(job_id)
            after = _checked(job_id, data, row, offers, declared)
            before = described(row, offers) if row is not None else {}
        except (api.OperationError, ValueError) as error:
            text = str(error)
            text = text if text.endswith("?") else f"{text.rstrip('.')}."
            problems.append(f"{flattened(job_id, 80)}: {text}")
            continue
        old, new = (dumped(one).splitlines() if one else [] for one in (before, after))
        if row is None:
            plan.append((job_id, "add", [f"+ {line}" for line in new]))
        elif old != new:
            changes = [line for line in difflib.ndiff(old, new) if line[0] in "+- "]
            plan.append((job_id, "change", changes))
    return plan, problems


def _checked(
    job_id: Any, data: Any, row: DjangoJob | None, offers: Mapping[str, Any], declared: set[str]
) -> dict[str, Any]:
    """Return a job of a file in the form that `described` returns for a stored job.

    :raises ValueError: with what is wrong with it.
    """
    check_types(job_id, data)
    offer = api.offered(data["function"])
    if row is None and job_id in declared:
        raise ValueError("the code declares it, and no scheduler has stored it yet; start one")
    if row is not None and row.func.replace(":", ".") != offer.key:
        raise ValueError(f"the stored job calls {row.func}; retire it, or choose another id")
    trigger, fields = written.from_data(data.get("schedule"))
    made = api.made_trigger(trigger, **fields)
    values = data.get("arguments")
    values = {} if values is None else values
    if not isinstance(values, dict):
        raise ValueError("arguments have names and values")
    typed = {field.name: field for field in offer.fields}
    api.arguments_of(offer, values | _secrets(row, values, offer))
    found: dict[str, Any] = {"function": offer.key, "schedule": written.as_data(made)}
    if values:
        found["arguments"] = {
            name: value if value == MASK else typed[name].text_of(typed[name].value_of(value))
            for name, value in values.items()
        }
    if data.get("paused"):
        found["paused"] = data["paused"]
    standard = _defaults(offer.func)
    options = {name: data.get(name, standard[name]) for name in api.OPTIONS}
    return found | {name: value for name, value in options.items() if value != standard[name]}


def _secrets(row: DjangoJob | None, values: Mapping[str, Any], offer: Any) -> dict[str, Any]:
    """Return the stored values of secret arguments, which the file does not contain."""
    masked = [name for name, value in values.items() if value == MASK]
    if not masked:
        return {}
    known = _named_arguments(api.definition(row), offer) if row is not None else {}
    if missing := next((name for name in masked if name not in known), None):
        raise ValueError(f"write the value of {missing} in place of {MASK}")
    return {name: known[name] for name in masked}


def _named_arguments(definition: api.Definition, offer: Any) -> dict[str, Any]:
    names = [field.name for field in offer.fields]
    return dict(zip(names, definition.args, strict=False)) | definition.kwargs


def _carry_out_all(context: Context, plan: list[Step], wanted: dict[str, Any]) -> None:
    for job_id, action, _ in plan:
        with _named(job_id):
            _carry_out(context, job_id, action, wanted[job_id])


def _carry_out(context: Context, job_id: str, action: str, data: dict[str, Any]) -> None:
    offer = api.offered(str(data["function"]))
    row = api.get(job_id) if action == "change" else None
    values = dict(data.get("arguments") or {})
    values |= _secrets(row, values, offer)
    trigger, fields = written.from_data(data["schedule"])
    standard = _defaults(offer.func)
    options = {name: data.get(name, standard[name]) for name in api.OPTIONS}
    paused = data.get("paused") or False
    reason = paused if isinstance(paused, str) else ""
    if row is None:
        api.add_offered(
            offer.key, trigger, values=values, id=job_id, paused=bool(paused), reason=reason,
            by=context.by, **options, **fields,
        )  # fmt: skip
        return
    definition = api.definition(row)
    made = api.made_trigger(trigger, **fields)
    if written.as_data(made) != written.as_data(definition.trigger):
        api.reschedule(job_id, trigger, by=context.by, **fields)
    call = {"args": (), "kwargs": api.arguments_of(offer, values)}
    changed = {name: one for name, one in options.items() if definition.options[name] != one}
    if _named_arguments(definition, offer) != call["kwargs"]:
        changed |= call
    if changed:
        api.change(job_id, by=context.by, **changed)
    if paused:
        api.pause(job_id, reason, by=context.by)
    else:
        api.resume(job_id, by=context.by)


@contextlib.contextmanager
def _named(job_id: str) -> Iterator[None]:
    """Turn a refusal into an InvalidFile that names the job."""
    try:
        yield
    except api.OperationError as error:
        raise type(error)(f"{flattened(job_id, 80)}: {error} Nothing was changed.") from error


def _print_plan(context: Context, plan: list[Step]) -> None:
    for job_id, action, lines in plan:
        context.console.print(
            f"{action} {one_line(job_id)}", style="bold", markup=False, highlight=False
        )
        for line in lines:
            style = {"+": "green", "-": "red"}.get(line[0], "")
            context.console.print(f"  {line}", style=style, markup=False, highlight=False)
    if not plan:
        context.console.print("All is as in the file.")


def _confirmed(context: Context, number: int) -> bool:
    if not sys.stdin.isatty():
        raise api.InvalidOption("Nobody can be asked here; give --yes, or --dry-run.")
    return input(f"Change {number} jobs? [y/N] ").strip().lower() in ("y", "yes")
