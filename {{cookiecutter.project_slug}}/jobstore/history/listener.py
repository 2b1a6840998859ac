"""From APScheduler's events to rows of history, for every job store."""

import datetime as dt
from typing import Any

from apscheduler import events
from apscheduler.events import JobEvent, JobExecutionEvent, JobSubmissionEvent
from django.db import router

from jobstore.history import bounded, tracebacks
from jobstore.models import DjangoJobExecution, database_now
from jobstore.util import get_django_internal_datetime, outside_event_loop, release_connections

MASK = (
    events.EVENT_JOB_SUBMITTED
    | events.EVENT_JOB_MAX_INSTANCES
    | events.EVENT_JOB_EXECUTED
    | events.EVENT_JOB_ERROR
    | events.EVENT_JOB_MISSED
)
STATUS = {
    events.EVENT_JOB_SUBMITTED: DjangoJobExecution.RUNNING,
    events.EVENT_JOB_MAX_INSTANCES: DjangoJobExecution.MAX_INSTANCES,
    events.EVENT_JOB_EXECUTED: DjangoJobExecution.SUCCESS,
    events.EVENT_JOB_ERROR: DjangoJobExecution.ERROR,
    events.EVENT_JOB_MISSED: DjangoJobExecution.MISSED,
}


class DjangoResultStoreMixin:
    """Writes the history of any job store's jobs to the Django database."""

    _scheduler: Any
    _alias: str

    def start(self, scheduler: Any, alias: str) -> None:
        """Begin to listen to the scheduler's events."""
        super().start(scheduler, alias)  # type: ignore[misc]
        self.register_event_listeners()

    def register_event_listeners(self) -> None:
        """Listen to the events of this store's jobs, and of no other store's."""
        self._scheduler.add_listener(self._record, MASK)

    def shutdown(self) -> None:
        """Stop listening."""
        if self._scheduler is not None:
            self._scheduler.remove_listener(self._record)
        super().shutdown()  # type: ignore[misc]

    def _record(self, event: JobEvent) -> None:
        if event.jobstore != self._alias:
            return
        try:
            if isinstance(event, JobSubmissionEvent):
                outside_event_loop(self.handle_submission_event, event)
            elif event.code == events.EVENT_JOB_EXECUTED:
                outside_event_loop(self.handle_execution_event, event)
            else:
                outside_event_loop(self.handle_error_event, event)
        finally:
            outside_event_loop(release_connections)

    @classmethod
    def handle_submission_event(cls, event: JobSubmissionEvent) -> int:
        """Write a row for each submitted or skipped run; return the first row's id."""
        status = STATUS[event.code]
        first, *_ = [_upsert(event.job_id, time, status) for time in event.scheduled_run_times]
        return first

    @classmethod
    def handle_execution_event(cls, event: JobExecutionEvent) -> int:
        """Write a finished run; return the row's id."""
        fields = describe_event(event)
        return _upsert(event.job_id, event.scheduled_run_time, STATUS[event.code], **fields)

    @classmethod
    def handle_error_event(cls, event: JobExecutionEvent) -> int:
        """Write a failed or missed run; return the row's id."""
        fields = describe_event(event)
        return _upsert(event.job_id, event.scheduled_run_time, STATUS[event.code], **fields)


def describe_event(event: JobExecutionEvent) -> dict[str, str]:
    """Return the result or the exception of an event as fields of history."""
    if event.code == events.EVENT_JOB_EXECUTED:
        if bounded.is_plain(event.retval):
            return bounded.of_result(event.retval)
        return bounded.made_elsewhere(lambda: bounded.of_result(event.retval), "result")
    if event.code == events.EVENT_JOB_MAX_INSTANCES:
        return {
            "exception": f"Execution of job '{event.job_id}' skipped: maximum number of running "
            "instances reached!"
        }
    if event.code == events.EVENT_JOB_MISSED:
        return {"exception": f"Run time of job '{event.job_id}' was missed!"}
    if event.exception is None:
        return {"exception": f"Job '{event.job_id}' raised an error!"}
    error = event.exception
    described = bounded.made_elsewhere(lambda: tracebacks.describe(error), "exception")
    if event.traceback and error.__traceback__ is None:
        described["traceback"] = bounded.clean(event.traceback)
    return described


def _upsert(job_id: str, run_time: dt.datetime, status: str, **details: Any) -> int:
    """Write a run's status by its job and time; a started run never replaces a finished one."""
    using = router.db_for_write(DjangoJobExecution)
    key = {"job_id": job_id, "run_time": get_django_internal_datetime(run_time)}
    runs = DjangoJobExecution.objects.using(using)
    if status == DjangoJobExecution.RUNNING:
        fresh = DjangoJobExecution(status=status, **key)
    else:
        details |= {"status": status, "finished": database_now(using)}
        fresh = DjangoJobExecution(**key, **details)
    runs.bulk_create([fresh], ignore_conflicts=True)
    if status != DjangoJobExecution.RUNNING:
        # Now that the row exists: another thread may have written its start a moment ago.
        runs.filter(status__in=DjangoJobExecution.UNFINISHED, **key).update(**details)
    return runs.values_list("pk", flat=True).get(**key)
