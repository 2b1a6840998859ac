"""Runs that an executor fails to carry out. APScheduler itself would only log them."""

import datetime as dt
from collections.abc import Callable
from typing import Any

from apscheduler.executors.base import MaxInstancesReachedError
from apscheduler.job import Job

from jobstore.execution.run import ActiveRun, runs_of


class ExecutorFailures:
    """Reports runs whose function an executor never called."""

    def __init__(self, report: Callable[[list[ActiveRun], BaseException], None]) -> None:
        """Prepare.

        :param report: called with the runs and the error.
        """
        self._report = report
        self._watched: set[Any] = set()

    def watch(self, executor: Any) -> None:
        """Begin to report failures of an executor; further calls for it do nothing."""
        if executor in self._watched:
            return
        log, submit = executor._run_job_error, executor.submit_job

        def accept(job: Job, run_times: list[dt.datetime]) -> None:
            try:
                submit(job, run_times)
            except MaxInstancesReachedError:
                raise  # APScheduler tells listeners of this itself
            except BaseException as error:
                # A pool that cannot start another thread has queued the job all the same.
                refused = [run for run in runs_of(job.id) if run.take()]
                self._report(refused, error)
                raise

        def fail(job_id: str, error: BaseException, trace: Any = None) -> None:
            log(job_id, error, trace)
            self._report(runs_of(job_id), error)

        executor._run_job_error, executor.submit_job = fail, accept
        self._watched.add(executor)
