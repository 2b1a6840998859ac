"""A run that somebody cancels while it runs: it ends, or its function is told, or nobody can."""

import datetime as dt
import time
import uuid
from typing import Any

import pytest
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from django.db import connection
from django.test.utils import CaptureQueriesContext

from jobstore import api
from jobstore.executors.processes import WorkerProcesses
from jobstore.models import AuditEntry, DjangoJob, DjangoJobExecution, SchedulerInstance
from jobstore.tests import callables
from jobstore.tests.conftest import StartScheduler, eventually

pytestmark = pytest.mark.django_db(transaction=True)

Run = DjangoJobExecution


class EndingPool(ThreadPoolExecutor):  # type: ignore[misc]
    """Threads that pretend that they can be ended."""

    ended: list[tuple[int, str, str]]
    answer: Any = True

    def end_run(self, execution_id: int, status: str, why: str) -> bool:
        """Note the call."""
        self.ended.append((execution_id, status, why))
        if isinstance(self.answer, Exception):
            raise self.answer
        return bool(self.answer)


def begin(scheduler: BackgroundScheduler, func: Any, said: str = "working") -> Run:
    """Have a function called by a scheduler; return its run once it runs."""
    scheduler.add_job(func, "interval", hours=1, id="job")
    run = api.run_now("job")
    eventually(lambda: said in callables.calls)
    run.refresh_from_db()
    return run


def ended(run: Run, status: str) -> Run:
    return eventually(lambda: Run.objects.filter(pk=run.pk, status=status).first())  # type: ignore[no-any-return]


def test_a_function_that_asks_is_told_and_its_run_is_recorded_as_cancelled(
    start_scheduler: StartScheduler,
) -> None:
    run = begin(start_scheduler(), callables.work_until_cancelled)
    asked = api.cancel(run, by="Ann")
    assert (asked.status, asked.cancel_requested_by) == (Run.RUNNING, "Ann")
    found = ended(run, Run.CANCELLED)
    assert (found.exception or "").startswith("Cancelled by Ann after ")
    assert found.result == "stopped half way"
    entry = AuditEntry.objects.get(verb="cancel")
    assert (entry.who, entry.run_id, entry.after) == ("Ann", run.pk, {"asked_to_stop": True})


def test_a_function_that_raises_when_it_is_told_is_cancelled_and_not_tried_again(
    start_scheduler: StartScheduler,
) -> None:
    scheduler = start_scheduler()
    run = begin(scheduler, callables.fail_when_cancelled)
    DjangoJob.objects.update(retries=3, retry_delay=0.0)
    api.cancel(run, by="Ann")
    found = ended(run, Run.CANCELLED)
    assert found.exception_type == "RuntimeError"
    assert Run.objects.count() == 1


def test_a_function_that_never_asks_is_recorded_as_it_ended(
    start_scheduler: StartScheduler,
) -> None:
    run = begin(start_scheduler(), callables.block, "blocked")
    api.cancel(run, by="Ann")
    time.sleep(0.5)
    callables.release.set()
    assert ended(run, Run.SUCCESS).cancel_requested_by == "Ann"


def test_an_executor_that_can_end_a_run_is_asked_to(start_scheduler: StartScheduler) -> None:
    scheduler = start_scheduler()
    pool = EndingPool(2)
    pool.ended = []
    scheduler.add_executor(pool, "ending")
    scheduler.add_job(
        callables.work_until_cancelled, "interval", hours=1, id="job", executor="ending"
    )
    run = api.run_now("job")
    eventually(lambda: "working" in callables.calls)
    api.cancel(run, by="Ann")
    eventually(lambda: pool.ended)
    time.sleep(0.6)
    assert pool.ended == [(run.pk, Run.CANCELLED, "Cancelled by Ann after 0 s.")]
    scheduler._jobstores["default"].running[0].stop_reason = "the test is over"


def test_an_executor_that_fails_to_end_a_run_does_not_cost_the_lease(
    start_scheduler: StartScheduler,
) -> None:
    scheduler = start_scheduler()
    pool = EndingPool(2)
    pool.ended, pool.answer = [], RuntimeError("broken")
    scheduler.add_executor(pool, "ending")
    scheduler.add_job(
        callables.work_until_cancelled, "interval", hours=1, id="job", executor="ending"
    )
    run = api.run_now("job")
    eventually(lambda: "working" in callables.calls)
    api.cancel(run, by="Ann")
    ended(run, Run.CANCELLED)  # it was told all the same
    elector = scheduler._jobstores["default"].elector
    assert elector.term is not None
    assert not elector.last_error


def test_the_second_who_cancels_is_told_who_was_first(start_scheduler: StartScheduler) -> None:
    run = begin(start_scheduler(), callables.block, "blocked")
    api.cancel(run, by="Ann")
    with pytest.raises(api.CannotCancel, match="was asked to stop before, by Ann"):
        api.cancel(run, by="Bob")
    assert AuditEntry.objects.filter(verb="cancel").count() == 1


def test_a_run_that_ends_just_then_is_said_to_have_ended(start_scheduler: StartScheduler) -> None:
    run = begin(start_scheduler(), callables.block, "blocked")
    callables.release.set()
    ended(run, Run.SUCCESS)
    with pytest.raises(api.CannotCancel, match="has ended"):
        api.cancel(run)
    # The row was read before it ended.
    assert not run.ask_to_stop("Ann")


def test_a_run_whose_process_is_gone_cannot_be_ended_by_anybody() -> None:
    now = dt.datetime.now(dt.UTC)
    silent = SchedulerInstance.objects.create(
        host="gone", pid=1, role="active", started_at=now, heartbeat_at=now - dt.timedelta(hours=1)
    )
    for instance in (silent.pk, uuid.uuid4(), None):
        run = Run.objects.create(
            job_id="job", status=Run.RUNNING, run_time=dt.datetime.now(dt.UTC), instance_id=instance
        )
        with pytest.raises(api.CannotCancel, match="gives no sign of life"):
            api.cancel(run)
        assert api.cancel_all([run.pk]).left == {"belong to processes that give no sign of life": 1}
    assert not AuditEntry.objects.exists()


def test_many_runs_are_cancelled_whether_they_wait_or_run(start_scheduler: StartScheduler) -> None:
    running = begin(start_scheduler(), callables.work_until_cancelled)
    waiting = Run.objects.request("job", "Ann", put_off=100.0)
    outcome = api.cancel_all([running.pk, waiting.pk], by="Bob")
    assert set(outcome.done) == {running.pk, waiting.pk}
    assert "by Bob after" in (ended(running, Run.CANCELLED).exception or "")
    assert ended(waiting, Run.CANCELLED).exception == "Cancelled by Bob before it started."
    assert api.cancel_all([running.pk]).left == {"have ended already": 1}


def test_a_process_that_gave_the_lease_up_is_asked_too(start_scheduler: StartScheduler) -> None:
    former = start_scheduler()
    run = begin(former, callables.work_until_cancelled)
    former._jobstores["default"].elector.drain()
    start_scheduler()
    eventually(lambda: SchedulerInstance.objects.filter(role="active").exists())
    api.cancel(run, by="Ann")
    ended(run, Run.CANCELLED)


def test_without_runs_nobody_is_asked(start_scheduler: StartScheduler) -> None:
    store = start_scheduler()._jobstores["default"]
    eventually(lambda: store.elector.term)
    with CaptureQueriesContext(connection) as captured:
        store._look_at_cancelled()
    assert len(captured) == 0


@pytest.mark.slow
def test_a_run_in_a_worker_process_is_ended(start_scheduler: StartScheduler) -> None:
    scheduler = start_scheduler()
    scheduler.add_executor(WorkerProcesses(1), "processes")
    scheduler.add_job(
        callables.sleep, "interval", hours=1, id="job", executor="processes", args=[60.0]
    )
    run = api.run_now("job")
    eventually(lambda: Run.objects.filter(pk=run.pk, status=Run.RUNNING).exists(), 30)
    time.sleep(1.0)
    api.cancel(run, by="Ann")
    found = ended(run, Run.CANCELLED)
    assert (found.exception or "").startswith("Cancelled by Ann ")
