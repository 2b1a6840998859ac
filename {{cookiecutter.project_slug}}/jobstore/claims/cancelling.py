"""Runs of this process that somebody cancels while they run.

`api.cancel` writes the wish into the run's row. The process that carries the run out reads it: at
once if a notification wakes it, and otherwise within two seconds. An executor that can end a run
ends it. A thread cannot be ended: its function is told, if it asks `current_run().is_cancelled`.
"""

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeGuard

from jobstore.execution.run import ActiveRun
from jobstore.models import DjangoJobExecution

logger = logging.getLogger("jobstore.runs")

Run = DjangoJobExecution


class EndsRuns(Protocol):
    """An executor that can end a run which is under way."""

    def end_run(self, execution_id: int, status: str, why: str) -> bool:
        """End a run, at once and without waiting; return whether it was under way there."""


class CancelledRuns:
    """Passes on to one process's runs that they are cancelled."""

    def __init__(
        self,
        instance: uuid.UUID,
        using: str,
        running: Callable[[], list[ActiveRun]],
        executors: Callable[[], Mapping[str, Any]],
    ) -> None:
        """Prepare.

        :param running: returns the runs that this process has begun.
        :param executors: returns the executors, by the names that runs have of them.
        """
        self._instance = instance
        self._using = using
        self._running = running
        self._executors = executors

    def look(self) -> None:
        """End the runs that were cancelled since the last look: one statement, none without runs.

        It is called between two renewals of the lease, so it waits for nothing.
        """
        runs = {run.execution_id: run for run in self._running() if not run.cancelled_by}
        if not runs:
            return
        # The index of the status finds them: few runs are under way.
        asked = Run.objects.using(self._using).filter(
            instance=self._instance, status=Run.RUNNING, cancel_requested_at__isnull=False
        )
        for run_id, by in asked.order_by().values_list("pk", "cancel_requested_by"):
            if (run := runs.get(run_id)) is not None:
                self._cancel(run, by or "somebody")

    def _cancel(self, run: ActiveRun, by: str) -> None:
        run.cancelled_by = by
        why = sentence(run, by)
        executor = self._executors().get(run.executor)
        try:
            if _ends_runs(executor) and executor.end_run(run.execution_id, Run.CANCELLED, why):
                return
        except Exception:  # an executor of the project may raise anything
            logger.exception("Run %d of job %r could not be ended.", run.execution_id, run.job_id)
        run.stop_reason = run.stop_reason or why


def _ends_runs(executor: Any) -> TypeGuard[EndsRuns]:
    return hasattr(executor, "end_run")


def sentence(run: ActiveRun, by: str) -> str:
    """Return what the history says of a run that is cancelled now, or was when it ended."""
    if run.duration is not None:
        return f"Cancelled by {by} after {run.duration:.0f} s."
    if run.began:
        return f"Cancelled by {by} after {time.perf_counter() - run.began:.0f} s."
    return f"Cancelled by {by} before its function was called."


def outcome_of(run: ActiveRun, status: str, details: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return how a run is recorded: as cancelled if it was, and its function took note of that.

    One that never asked has done all its work, and is recorded as it ended.
    """
    did_end = status in (Run.SUCCESS, Run.ERROR)
    if not (run.cancelled_by and run.has_seen_cancel and did_end):
        return status, details
    return Run.CANCELLED, details | {"exception": sentence(run, run.cancelled_by)}
