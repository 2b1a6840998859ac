"""Passes on what becomes of runs: to the listeners of a scheduler, and to the recorder."""

import collections
import logging
import threading
from typing import Any

from apscheduler import events
from apscheduler.events import JobEvent, JobExecutionEvent, JobSubmissionEvent

from jobstore.claims.dispatcher import Dispatcher
from jobstore.claims.result import ClaimResult, Settled
from jobstore.execution.run import ActiveRun
from jobstore.history.listener import STATUS, DjangoResultStoreMixin, describe_event
from jobstore.history.recorder import Recorder, Result
from jobstore.leadership.elector import Elector
from jobstore.models import DjangoJobExecution
from jobstore.util import (
    get_apscheduler_datetime,
    get_django_internal_datetime,
    outside_event_loop,
    release_connections,
)

logger = logging.getLogger("jobstore.store")


class ReportingMixin(DjangoResultStoreMixin):
    """Passes events of runs on to listeners, and results to the recorder of the history."""

    elector: Elector | None
    recorder: Recorder | None
    _dispatcher: Dispatcher | None
    _scheduler: Any

    def __init__(self) -> None:
        super().__init__()
        # How many runs of this process ended with each status.
        self.outcomes: collections.Counter[str] = collections.Counter()
        self._counting = threading.Lock()
        # The thread that announces what the claim itself has recorded; it is not recorded again.
        self._announcer: int | None = None

    def _wake(self) -> None:
        """Let the scheduling loop look at the jobs."""
        raise NotImplementedError

    def _announce(self, taken: ClaimResult) -> None:
        """Tell listeners of times that the claim itself recorded, and of jobs that it retired."""
        self._announcer = threading.get_ident()
        try:
            for settled in taken.settled:
                self._announce_settled(settled)
            for job_id in taken.ended:
                self._scheduler._dispatch_event(
                    JobEvent(events.EVENT_JOB_REMOVED, job_id, self._alias)
                )
        finally:
            self._announcer = None

    def _announce_settled(self, settled: Settled) -> None:
        zoned = [get_apscheduler_datetime(time_, self._scheduler) for time_ in settled.times]
        self._count(settled.status, len(zoned))
        before = settled.total - len(zoned)
        # The first time, and then whenever the count has one digit more.
        if not before or len(str(settled.total)) > len(str(before)):
            what = "missed" if settled.status == DjangoJobExecution.MISSED else "skipped"
            often = f", {settled.total} times in a row so far" if settled.total > 1 else ""
            logger.warning("Job %r is %s at %s%s.", settled.job_id, what, zoned[-1], often)
        if settled.status != DjangoJobExecution.MISSED:
            self._scheduler._dispatch_event(
                JobSubmissionEvent(
                    events.EVENT_JOB_MAX_INSTANCES, settled.job_id, self._alias, zoned
                )
            )
            return
        for time_ in zoned:
            self._scheduler._dispatch_event(
                JobExecutionEvent(events.EVENT_JOB_MISSED, settled.job_id, self._alias, time_)
            )

    def _record(self, event: JobEvent) -> None:
        dispatcher = self._dispatcher
        is_known = self._announcer == threading.get_ident()
        if event.jobstore != self._alias or is_known or dispatcher is None:
            return
        times = (
            event.scheduled_run_times
            if isinstance(event, JobSubmissionEvent)
            else [event.scheduled_run_time]
        )
        for time_ in times:
            if event.code == events.EVENT_JOB_SUBMITTED:
                if run := dispatcher.runs.get((event.job_id, time_)):
                    run.submitted = True
            elif run := dispatcher.end(event.job_id, time_):
                details = run.details
                if details is None or (event.code == events.EVENT_JOB_ERROR and not run.failed):
                    details = describe_event(event)
                if event.code == events.EVENT_JOB_ERROR:
                    # Logging the exception made its text, which may have used the database.
                    outside_event_loop(release_connections)
                self.finish(run, STATUS[event.code], **details)
        if dispatcher.wants_more and event.code != events.EVENT_JOB_SUBMITTED:
            self._wake()

    def executor_failed(self, failed: list[ActiveRun], error: BaseException) -> None:
        """Tell listeners, the history's among them, of runs whose function was never called."""
        for run in failed:
            zoned = get_apscheduler_datetime(run.run_time, self._scheduler)
            self._scheduler._dispatch_event(
                JobExecutionEvent(
                    events.EVENT_JOB_ERROR, run.job_id, self._alias, zoned, exception=error
                )
            )

    def _settle_unsubmitted(self, dispatcher: Dispatcher) -> None:
        """Record runs that APScheduler could not hand to an executor, since it sends no event."""
        for run in [run for run in dispatcher.running if not run.submitted]:
            if run.take():  # nobody can start it from now on
                if dispatcher.end(run.job_id, run.run_time):
                    text = "The executor did not accept this run; the scheduler's log says why."
                    self.finish(run, DjangoJobExecution.ERROR, exception=text)
            elif run.details is not None and dispatcher.end(run.job_id, run.run_time):
                # A worker had the run all the same, and no event announces its end.
                status = DjangoJobExecution.ERROR if run.failed else DjangoJobExecution.SUCCESS
                self.finish(run, status, **run.details)

    def finish(self, run: ActiveRun, status: str, **details: Any) -> None:
        """Hand a finished run to the recorder."""
        if self.elector is None or self.recorder is None:
            return
        self._count(status)
        self.recorder.put(
            Result(
                run.execution_id,
                status,
                finished=get_django_internal_datetime(run.finished or self.elector.now()),
                started_at=get_django_internal_datetime(run.started_at),
                duration=run.duration,
                note=run.note,
                **details,
            )
        )

    def _count(self, status: str, times: int = 1) -> None:
        with self._counting:
            self.outcomes[status] += times
