"""Worker processes: runs in children of the scheduler's process, one at a time in each.

A run keeps a thread of the scheduler, which waits for the child. So it counts, is claimed, drained
and recorded as any other run, and a child that dies is noticed at once. What dies with a child is
one run. Each thread has its own child, which the kernel ends with that thread.
"""

import contextlib
import datetime as dt
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.job import Job

from jobstore import conf
from jobstore.execution import deadlines
from jobstore.execution.run import ActiveRun, ClaimedJob
from jobstore.executors.answers import failure, request_of, take_outcome, take_progress
from jobstore.executors.calls import KILL_SECONDS, Call, ended
from jobstore.executors.request import Request
from jobstore.executors.worker import CannotStart, KilledEarly, Message, Worker
from jobstore.models import DjangoJobExecution
from jobstore.repeated import RepeatedFailure

logger = logging.getLogger("jobstore.runs")

# Seconds after which a process that was asked to leave is ended.
LEAVE_SECONDS = 2.0
# Seconds until a process is started after one that could not be: at first, at most.
FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 0.5, 30.0


class WorkerProcesses(ThreadPoolExecutor):  # type: ignore[misc]
    """An APScheduler executor that runs the jobs of a `DjangoJobStore` in child processes.

    They are started when they are first needed, with the settings of this process.

    :param max_workers: how many runs, and processes, there are at a time.
    :param max_runs: after how many runs a process is replaced; 0 for never. Without it,
        SCHEDULER_PROCESS_RUNS.
    :param max_memory_mb: the resident memory, in MB, above which a process is replaced after a
        run; 0 for no limit. Without it, SCHEDULER_PROCESS_MEMORY_MB.
    """

    def __init__(
        self,
        max_workers: int = 1,
        max_runs: int | None = None,
        max_memory_mb: int | None = None,
    ) -> None:
        super().__init__(max_workers, {"thread_name_prefix": "jobstore-processes"})
        self._max_runs = conf.get("SCHEDULER_PROCESS_RUNS") if max_runs is None else max_runs
        if max_memory_mb is None:
            max_memory_mb = conf.get("SCHEDULER_PROCESS_MEMORY_MB")
        self._max_memory = max_memory_mb * 1024 * 1024
        self._calls: dict[int, Call] = {}
        self._workers: set[Worker] = set()
        # What further runs end with at once.
        self._closed: tuple[str, str] | None = None
        self._is_shut_down = False
        self._guard = threading.Lock()
        self._of_thread = threading.local()
        self._not_before = self._pause = 0.0
        self._starting = RepeatedFailure(
            logger, "Worker processes cannot be started", "Worker processes are started again"
        )

    def _do_submit_job(self, job: Job, run_times: Sequence[dt.datetime]) -> None:
        if not isinstance(job, ClaimedJob):
            raise TypeError(
                f"Job {job.id!r} cannot run in a worker process: its job store is not a "
                "DjangoJobStore. Give it another executor."
            )
        super()._do_submit_job(job, run_times)

    def carry_out(
        self,
        run: ActiveRun,
        clock: Callable[[], dt.datetime],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ) -> Any:
        """Have a run carried out by this thread's process; return its result, as text.

        :param clock: returns the database's time.
        :raises RunEnded: if it was ended, or its process died; its details say so as well.
        :raises Failure: if its function raised.
        :raises CannotStart: if there is no process for it.
        """
        call = Call(run)
        with self._guard:
            closed = self._closed
            self._calls[run.execution_id] = call
        try:
            if closed is not None:
                raise ended(run, *closed)
            return self._carry_out(call, request_of(run, clock, args, kwargs), clock)
        finally:
            call.unlimit()
            with self._guard:
                self._calls.pop(run.execution_id, None)
            if run.finished is None:
                run.finished = clock()
                run.duration = time.perf_counter() - run.began if run.began else None
            if self._is_shut_down:
                self._discard()

    def end_run(self, execution_id: int, status: str, why: str) -> bool:
        """End a run that is under way here: SIGTERM, and SIGKILL a second later.

        It returns at once. One that ends by itself at this moment keeps its own end.

        :param status: what the run is recorded with, such as `DjangoJobExecution.TIMED_OUT`.
        :param why: the sentence that is recorded with it.
        :return: whether it is under way here, and nothing else has ended it.
        """
        with self._guard:
            call = self._calls.get(execution_id)
        return call is not None and call.end(status, why)

    def end_all(self, status: str, why: str, patience: float = KILL_SECONDS + 1.0) -> None:
        """End all runs, and every further one at once, and wait for that.

        :param patience: seconds that it waits at most.
        """
        with self._guard:
            self._closed = status, why
            calls = list(self._calls.values())
        for call in calls:
            call.end(status, why)
        until = time.monotonic() + patience
        while self._calls and time.monotonic() < until:
            time.sleep(0.02)

    def shutdown(self, wait: bool = True) -> None:
        """Take no more runs. The processes end, with all that runs left in them.

        :param wait: whether to wait for runs that are under way. If not, they go on.
        """
        self._is_shut_down = True
        super().shutdown(wait)
        with self._guard:
            busy = {call.worker for call in self._calls.values()}
            idle = self._workers - busy
            self._workers &= busy
        for worker in idle:
            worker.end()

    def _carry_out(
        self, call: Call, request: Request, clock: Callable[[], dt.datetime]
    ) -> str | None:
        run = call.run
        for is_last in (False, True):
            try:
                worker = self._worker(call)
            except KilledEarly:
                if is_last or call.ending is not None:
                    raise
                run.details = None
                continue
            call.limit()
            answer = self._ask(call, worker, request, clock)
            if answer is not None:
                return self._take(call, worker, answer)
            call.unlimit()
            how = worker.end()
            self._discard()
            self._start_next()
            # A process that ended before it called the function has done nothing; but a run that
            # ends each of them must not do so for ever.
            if call.ending is not None or run.started_at is not None or is_last:
                break
            logger.info(
                "Worker process %d ended before run %d began.", worker.pid, request.execution_id
            )
        if (ending := call.answered()) is not None:
            raise ended(run, *ending)
        why = f"Its worker process (pid {worker.pid}) ended in the middle of the run, {how}."
        raise ended(run, DjangoJobExecution.LOST, why)

    def _worker(self, call: Call) -> Worker:
        """Return this thread's process, ready for a run."""
        worker: Worker | None = getattr(self._of_thread, "worker", None)
        if worker is not None and not worker.is_alive:
            self._discard()
            worker = None
        try:
            if worker is None:
                call.asked.wait(max(self._not_before - time.monotonic(), 0.0))
                if call.ending is not None:
                    raise ended(call.run, *call.ending)
                worker = self._start()
            call.give_to(worker)
            worker.wait_until_ready()
        except CannotStart as error:
            self._discard()
            if call.ending is not None:
                raise ended(call.run, *call.ending) from None
            self._pause = min(max(2 * self._pause, FIRST_PAUSE_SECONDS), LAST_PAUSE_SECONDS)
            self._not_before = time.monotonic() + self._pause
            self._starting.happened(str(error), level=logging.ERROR)
            call.run.details = {"exception": str(error)}
            raise
        self._pause = self._not_before = 0.0
        self._starting.over()
        return worker

    def _start(self) -> Worker:
        self._of_thread.worker = worker = Worker()
        with self._guard:
            self._workers.add(worker)
        return worker

    def _ask(
        self, call: Call, worker: Worker, request: Request, clock: Callable[[], dt.datetime]
    ) -> Message | None:
        """Return the last message about a run; None if the process ended before."""
        run = call.run
        if not worker.send(request):
            return None
        while (message := worker.receive()) is not None:
            if message.get("run") != run.execution_id:
                continue  # what another run left behind still tells its progress
            if "details" in message:
                return message
            if "began" in message:
                run.begin(clock())
                call.limit()
            elif isinstance(message.get("progress"), dict):
                take_progress(run, message["progress"])
        return None

    def _take(self, call: Call, worker: Worker, answer: Message) -> str | None:
        """Take in how a run ended, and see to the process that it had."""
        run, ending = call.run, call.answered()
        call.unlimit()
        take_outcome(run, answer)
        if ending is not None:
            worker.wait(KILL_SECONDS)  # what it started, and coroutines, may tidy up as well
            worker.end()
            self._discard()
            self._start_next()
        elif self._is_used_up(worker, answer["memory"]):
            self._replace(worker)
        run.finished = dt.datetime.fromisoformat(answer["finished"])
        run.duration = float(answer["duration"])
        if ending is not None and answer["is_ended"]:
            raise ended(run, *ending)
        details = run.details or {}
        if run.failed:
            raise failure(details)
        return details.get("result")

    def _is_used_up(self, worker: Worker, memory: int) -> bool:
        is_large = bool(self._max_memory) and memory > self._max_memory
        if is_large:
            logger.info("Worker process %d has %d MB and is replaced.", worker.pid, memory >> 20)
        return is_large or bool(self._max_runs and worker.runs >= self._max_runs)

    def _replace(self, worker: Worker) -> None:
        self._of_thread.worker = None
        with self._guard:
            self._workers.discard(worker)
        worker.ask_to_leave()
        try:
            deadlines.after(LEAVE_SECONDS, worker.free)
        except RuntimeError:  # no thread could be started
            worker.free()
        self._start_next()

    def _start_next(self) -> None:
        """Start this thread's next process now, so that it is ready when a run comes."""
        if self._closed is None and not self._is_shut_down:
            with contextlib.suppress(CannotStart):  # the next run tries again, and says so
                self._start()

    def _discard(self) -> None:
        """End this thread's process, if it has one."""
        worker: Worker | None = getattr(self._of_thread, "worker", None)
        self._of_thread.worker = None
        if worker is not None:
            worker.end()
            with self._guard:
                self._workers.discard(worker)
