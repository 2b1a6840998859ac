"""Runs that an executor fails to carry out, of which APScheduler only writes to the log."""

import datetime as dt
from collections.abc import Callable
from typing import Any

from apscheduler.executors.base import MaxInstancesReachedError
from apscheduler.job import Job

from jobstore.execution.run import ActiveRun, runs_of


class ExecutorFailures:
    """Hears from executors which runs never came to their function."""

    def __init__(self, report: Callable[[list[ActiveRun], BaseException], None]) -> None:
        """Take whom to tell."""
        self._report = report
        self._watched: set[Any] = set()

    def watch(self, executor: Any) -> None:
        """Hear from an executor; from the second call on this does nothing."""
        if executor in self._watched:
            return
        log, submit = executor._run_job_error, executor.submit_job

        def accept(job: Job, run_times: list[dt.datetime]) -> None:
            try:
                submit(job, run_times)
            except MaxInstancesReachedError:
                raise  # of which APScheduler tells listeners itself
            except BaseException as error:
                # A pool without room for a thread has queued it all the same.
                refused = [run for run in runs_of(job.id) if run.take()]
                self._report(refused, error)
                raise

        def fail(job_id: str, error: BaseException, trace: Any = None) -> None:
            log(job_id, error, trace)
            self._report(runs_of(job_id), error)

        executor._run_job_error, executor.submit_job = fail, accept
        self._watched.add(executor)
