"""What a run's thread tells its worker process, and takes in of the answer."""

import datetime as dt
import pickle
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jobstore.execution.run import ActiveRun
from jobstore.executors.request import Request
from jobstore.executors.worker import Message
from jobstore.history import bounded, tracebacks
from jobstore.history.progress import Progress

# The texts of a run that a child may send.
TEXTS = ("result", "exception_type", "exception", "exception_names", "traceback")


class _ChildsTraceback(Exception):
    """Shows, in the log of the scheduler, the traceback of an exception that a child raised."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


def request_of(
    run: ActiveRun,
    clock: Callable[[], dt.datetime],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> Request:
    """Return what a worker process is asked to carry out."""
    return Request(
        execution_id=run.execution_id,
        job_id=str.__str__(run.job_id),
        run_time=run.run_time,
        epoch=run.epoch,
        func=run.func,
        executor=run.executor,
        attempt=run.attempt,
        ahead=clock().timestamp() - time.monotonic(),
        arguments=pickle.dumps((args, kwargs), pickle.HIGHEST_PROTOCOL),
    )


def take_outcome(run: ActiveRun, answer: Message) -> None:
    """Note what a run returned or raised, and when it began, but not yet that it has ended."""
    details = answer["details"]
    run.details = {name: str(details[name]) for name in TEXTS if name in details}
    if answer["note"]:
        run.say(str(answer["note"]))
    if answer["progress"]:
        take_progress(run, answer["progress"])
    if answer["started_at"]:
        run.started_at = dt.datetime.fromisoformat(answer["started_at"])


def take_progress(run: ActiveRun, told: Mapping[str, Any]) -> None:
    """Note how far a run has come, and pass it on."""
    progress = Progress(float(told["done"]), told["total"], str(told["text"]))
    if progress != run.latest:
        run.latest = progress
        if run.reporter is not None:
            run.reporter(run.execution_id, progress)


def failure(details: Mapping[str, str]) -> tracebacks.Failure:
    """Return an exception for loggers and listeners in place of the one that the child raised."""
    kind = details.get("exception_type", "Exception")
    raised = tracebacks.Failure(f"{kind}: {bounded.cut(details['exception'], 1_000)}")
    trace = bounded.cut(details.get("traceback", ""), tracebacks.HUGE)
    raised.__cause__ = _ChildsTraceback(trace)
    return raised
