"""`manage.py jobs run`, `cancel` and `rerun`."""

import time

from rich.text import Text

from jobstore import api
from jobstore.history.progress import worded
from jobstore.management.jobs import output
from jobstore.management.jobs.changing import call_of
from jobstore.management.jobs.context import Context
from jobstore.models import DjangoJobExecution
from jobstore.texts import one_line

Run = DjangoJobExecution
# Seconds between two looks at a run that is waited for.
LOOK = 0.2


class DidNotEndWell(Exception):
    """The run that was waited for failed, or was not carried out."""


class StillRuns(Exception):
    """The run that was waited for has not ended in time; it continues."""


def run(context: Context) -> None:
    """Request a run of a job, and wait for its end if asked to."""
    options = context.options
    own = call_of(options["id"], options["argument"]) if options["argument"] else {}
    _asked(context, api.run_now(options["id"], by=context.by, **own))


def rerun(context: Context) -> None:
    """Request another run with a run's arguments, and wait for its end if asked to."""
    _asked(context, api.run_again(context.options["run"], by=context.by))


def cancel(context: Context) -> None:
    """Cancel requested runs that have not started."""
    found: list[DjangoJobExecution] = []
    for run_id in dict.fromkeys(context.options["runs"]):
        try:
            found.append(api.cancel(run_id, by=context.by))
        except api.OperationError as error:
            if found:
                done = ", ".join(str(one.pk) for one in found)
                raise type(error)(f"{error} Done before that: {done}.") from error
            raise
    if context.wants_json:
        context.json([output.of_run(one) for one in found])
        return
    for one in found:
        context.tell(None, f"Run {one.pk} of job {one.job_id} is cancelled.")


def _asked(context: Context, asked: DjangoJobExecution) -> None:
    if not context.options["wait"]:
        context.tell(output.of_run(asked), f"Run {asked.pk} of job {asked.job_id} is asked for.")
        return
    ended = _wait(context, asked)
    reason = output.outcome(ended)
    took = output.seconds(None if ended.duration is None else float(ended.duration))
    text = f"Run {ended.pk} of job {ended.job_id}: {ended.status}"
    text += f" in {took}" if took else ""
    context.tell(output.of_run(ended), f"{text}. {one_line(reason)}".strip())
    if ended.status in Run.UNFINISHED:
        raise StillRuns(f"Run {ended.pk} has not ended after {context.options['timeout']:g} s.")
    if ended.status != Run.SUCCESS:
        raise DidNotEndWell(f"Run {ended.pk} of job {ended.job_id} did not end well.")


def _wait(context: Context, asked: DjangoJobExecution) -> DjangoJobExecution:
    deadline = time.monotonic() + context.options["timeout"]
    began = time.monotonic()
    with context.console.status("", spinner="dots") as status:
        while True:
            current = api.get_run(asked.pk)
            waited = time.monotonic() - began
            told = worded(current)
            text = f"Run {asked.pk}: {current.status}, for {waited:.0f} s"
            # As a Text: what a job tells is no markup.
            status.update(Text(f"{text}, {told}" if told else text))
            if current.status not in Run.UNFINISHED or time.monotonic() >= deadline:
                return current
            time.sleep(LOOK)
