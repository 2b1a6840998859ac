"""`manage.py jobs list`, `show`, `history` and `next`."""

import datetime as dt
from typing import Any

from django.utils import timezone

from jobstore import api
from jobstore.management.jobs import output
from jobstore.management.jobs.context import Context
from jobstore.models import DjangoJob, DjangoJobExecution
from jobstore.texts import one_line, requester
from jobstore.util import get_django_internal_datetime

Run = DjangoJobExecution
# Rows that are shown unless more are asked for; runs and times that `show` tells.
ROWS_SHOWN = 200
LATEST = 5
# What a table of jobs is made of.
LISTED = (
    *("next_run_time", "trigger", "func", "pause_reason"),
    *("quarantine_reason", "quarantined_at", "retired_at"),
)
LONG_TEXTS = ("traceback", "note", "arguments_state")


def list_jobs(context: Context) -> None:
    """Print the jobs that match the filters, from columns alone."""
    options = context.options
    jobs = api.find(
        state=options["state"] or "",
        text=options["text"] or "",
        func=options["function"] or "",
        executor=options["executor"] or "",
        declared=options["declared"],
        edited=True if options["edited"] else None,
        by=context.by,
    )
    given = options["limit"]
    limit = (None if context.wants_json else ROWS_SHOWN) if given is None else given or None
    # A table shows a third of the columns; to read them all takes ten thousand jobs a while.
    read = jobs if context.wants_json else jobs.only(*LISTED)
    shown = list(read[:limit])
    number = len(shown) if limit is None or len(shown) < limit else jobs.count()
    if context.wants_json:
        context.json([output.of_job(job) for job in shown])
        return
    rows = [
        (
            job.pk,
            api.state_of(job),
            output.moment(output.aware(job.next_run_time)),
            job.trigger,
            job.func,
            job.pause_reason if job.next_run_time is None else job.quarantine_reason,
        )
        for job in shown
    ]
    columns = ("job", "state", "next run", "schedule", "function", "reason")
    output.print_table(context.console, columns, rows, styled=1)
    left = number - len(shown)
    more = f"; {left} more, --limit 0 shows all" if left else ""
    context.console.print(f"{number} jobs{more}.", highlight=False)


def show_job(context: Context) -> None:
    """Print all that is known of one job, what differs from the code, and its latest runs."""
    job = _visible(context)
    differs = api.differs_from_code(job)
    runs = list(Run.objects.filter(job=job).order_by("-run_time").defer(*LONG_TEXTS)[:LATEST])
    told = output.of_job(job)
    try:
        times = api.next_run_times(job, LATEST) if job.retired_at is None else []
    except api.Unreadable:
        times = []
    if context.wants_json:
        context.json(
            told
            | {
                "next_run_times": times,
                "differs_from_code": [vars(one) for one in differs],
                "runs": [output.of_run(run) for run in runs],
            }
        )
        return
    told["next_run_time"] = output.moment(told["next_run_time"])
    told["is_declared"] = "yes" if job.declaration else "no"
    told["misfire_grace_time"] = (
        "unlimited" if job.misfire_grace_time is None else f"{job.misfire_grace_time} s"
    )
    pairs = [(name.replace("_", " "), value) for name, value in told.items()]
    pairs += [("then", ", ".join(map(output.moment, times[1:])))]
    for one in differs:
        how = "edited" if one.is_edited else "not yet as the code says"
        pairs.append(("differs", f"{one.part}: the code says {one.declared!r} ({how})"))
    output.print_pairs(context.console, pairs)
    if runs:
        context.console.print()
        _print_runs(context, runs)


def history(context: Context) -> None:
    """Print the runs that match the filters, the newest first."""
    options = context.options
    runs = Run.objects.order_by("-run_time").defer(*LONG_TEXTS)
    if options["id"]:
        runs = runs.filter(job=_visible(context))
    if options["status"]:
        runs = runs.filter(status=_status(options["status"]))
    if options["since"]:
        runs = runs.filter(run_time__gte=get_django_internal_datetime(_since(options["since"])))
    if not api.may(context.by, "view"):
        raise api.NotAllowed(f"{context.options['as_user']} may not view jobs.")
    if not options["id"]:
        runs = runs.filter(api.visible_to(context.by).q())
    found = list(runs[: options["limit"]])
    if context.wants_json:
        context.json([output.of_run(run) for run in found])
    else:
        _print_runs(context, found)


def next_times(context: Context) -> None:
    """Print when a job runs next."""
    job = _visible(context)
    times = api.next_run_times(job, context.options["number"])
    if context.wants_json:
        context.json(times)
    elif times:
        for time in times:
            context.console.print(output.moment(time), highlight=False)
    else:
        context.console.print(
            f"Job {one_line(job.pk)} is {api.state_of(job)} and does not run.", markup=False
        )


def _print_runs(context: Context, runs: list[DjangoJobExecution]) -> None:
    rows = []
    for run in runs:
        told = output.of_run(run)
        rows.append(
            (
                run.pk,
                run.job_id,
                run.status,
                output.moment(told["scheduled"]),
                output.seconds(told["delay"]),
                output.seconds(told["duration"]),
                requester(run.requested_by),
                output.outcome(run),
            )
        )
    columns = ("run", "job", "status", "scheduled", "delay", "duration", "asked by", "outcome")
    output.print_table(context.console, columns, rows, styled=2)


def _visible(context: Context) -> DjangoJob:
    job = api.get(context.options["id"])
    if not api.may(context.by, "view", job):
        raise api.NotAllowed(f"{context.options['as_user']} may not view job {job.pk!r}.")
    return job


def _status(given: str) -> str:
    known = {status.lower().rstrip("!"): status for status in Run.STATUSES}
    try:
        return known[given.lower().rstrip("!")]
    except KeyError:
        raise api.InvalidOption(f"There is no status {given!r}, only {', '.join(known)}.") from None


def _since(length: Any) -> dt.datetime:
    try:
        return timezone.now() - dt.timedelta(**length)
    except OverflowError:
        raise api.InvalidOption("--since reaches back before all history; write less.") from None
