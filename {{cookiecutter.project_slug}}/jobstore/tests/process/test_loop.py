"""Nothing that a store, a trigger, a listener, an executor or a job raises ends the loop."""

import asyncio
import functools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from apscheduler.events import EVENT_ALL, EVENT_JOB_ERROR
from apscheduler.executors.pool import ProcessPoolExecutor
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.schedulers.base import BaseScheduler
from apscheduler.schedulers.blocking import BlockingScheduler
from django.db import InterfaceError, OperationalError

from jobstore import registry
from jobstore.claims import claim
from jobstore.jobstores import DjangoJobStore
from jobstore.models import DjangoJob, DjangoJobExecution, SchedulerLease, database_now
from jobstore.process.scheduler import SchedulerProcess
from jobstore.tests import callables, hazards, misdeeds
from jobstore.tests.conftest import eventually
from jobstore.tests.statements import Statements, statements_of_threads

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

Run = DjangoJobExecution
# Threads that send statements and are not the loop.
OTHERS = ("jobstore-elector", "jobstore-recorder")
# Statements of the longest look at the database, in which each of them fails in turn.
LONGEST = 12


class Background:
    """A scheduler whose loop is on a thread of its own: start it, stop it."""

    def __init__(self) -> None:
        self.scheduler: Any = self.make()

    def make(self) -> BaseScheduler:
        return BackgroundScheduler(jobstores={"default": DjangoJobStore()}, timezone="UTC")

    def start(self) -> None:
        self.scheduler.start()

    def stop(self) -> None:
        self.scheduler.shutdown()


class Command(Background):
    """What `runapscheduler` runs."""

    def make(self) -> BaseScheduler:
        self.process = SchedulerProcess()
        return self.process.scheduler

    def start(self) -> None:
        self.process.start()

    def stop(self) -> None:
        assert self.process.stop()


class Blocking(Background):
    """A scheduler whose start() returns when it has been shut down."""

    def make(self) -> BaseScheduler:
        return BlockingScheduler(jobstores={"default": DjangoJobStore()}, timezone="UTC")

    def start(self) -> None:
        self.thread = threading.Thread(target=self.scheduler.start, name="blocking")
        self.thread.start()
        eventually(lambda: self.scheduler.running)

    def stop(self) -> None:
        self.scheduler.shutdown()
        self.thread.join(10)


class Asyncio(Background):
    """A scheduler in an event loop, which the test leaves to another thread."""

    def make(self) -> BaseScheduler:
        self.loop = asyncio.new_event_loop()
        self.faults: list[Any] = []
        self.loop.set_exception_handler(lambda _, context: self.faults.append(context))
        stores = {"default": DjangoJobStore()}
        return AsyncIOScheduler(jobstores=stores, timezone="UTC", event_loop=self.loop)

    def start(self) -> None:
        self.thread = threading.Thread(target=self.loop.run_forever, name="asyncio")
        self.thread.start()
        self.loop.call_soon_threadsafe(self.scheduler.start)
        eventually(lambda: self.scheduler.running)

    def stop(self) -> None:
        async def end() -> None:
            self.scheduler.shutdown()
            while self.scheduler.running:
                await asyncio.sleep(0.02)
            await self.loop.shutdown_default_executor()

        asyncio.run_coroutine_threadsafe(end(), self.loop).result(20)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()
        assert self.faults == []


KINDS = {
    "runapscheduler": Command,
    "background": Background,
    "blocking": Blocking,
    "asyncio": Asyncio,
}


@pytest.fixture
def seen() -> Iterator[Statements]:
    """The statements of all threads but the test's."""
    with statements_of_threads() as statements:
        yield statements


@pytest.fixture(params=KINDS)
def scheduler(
    request: pytest.FixtureRequest,
    transactional_db: None,
    seen: Statements,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Any]:
    """Each kind of scheduler, running, with the lease and one job."""
    registry.declarations()
    monkeypatch.setattr(registry, "_declared", {})
    kind = KINDS[request.param]()
    kind.start()
    eventually(lambda: SchedulerLease.objects.filter(epoch=1).exists())
    kind.scheduler.add_job(
        callables.note, "interval", hours=1, id="tick", misfire_grace_time=None, max_instances=9
    )
    yield kind.scheduler
    callables.release.set()
    kind.stop()


def let_it_run(scheduler: Any, job_id: str = "tick") -> None:
    """Let a job be due now, and have the loop look."""
    DjangoJob.objects.filter(pk=job_id).update(next_run_time=database_now("default"))
    scheduler.wakeup()


def wake_until(raised: threading.Event, scheduler: Any) -> bool:
    """Have the loop look until something was raised."""
    scheduler.wakeup()
    return raised.wait(0.02)


def has_run_all() -> bool:
    """Whether the job is not due, and its history tells of as many runs as there were calls."""
    if DjangoJob.objects.get(pk="tick").next_run_time <= database_now("default"):
        return False
    runs = list(Run.objects.filter(job="tick").values_list("status", flat=True))
    return runs == [Run.SUCCESS] * callables.calls.count("ran")


def assert_it_goes_on(scheduler: Any) -> None:
    """Run the job once more, recorded."""
    eventually(has_run_all)
    before = callables.calls.count("ran")
    let_it_run(scheduler)
    eventually(lambda: callables.calls.count("ran") > before)
    eventually(has_run_all)


def the_run(job_id: str) -> DjangoJobExecution:
    """Return the one run of a job once it is over."""
    over = Run.objects.filter(job=job_id).exclude(status__in=Run.UNFINISHED)
    return eventually(lambda: over.first())  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "error", [OperationalError("away"), InterfaceError("closed"), RuntimeError("odd")], ids=repr
)
def test_any_statement_of_the_loop_may_fail(
    scheduler: Any, seen: Statements, error: Exception
) -> None:
    for number in range(LONGEST):
        raised = seen.fail(number, error, besides=OTHERS)
        let_it_run(scheduler)
        eventually(functools.partial(wake_until, raised, scheduler))
        assert_it_goes_on(scheduler)


def test_any_statement_of_the_threads_beside_the_loop_may_fail(
    scheduler: Any, seen: Statements
) -> None:
    loops = tuple({thread for thread, _ in seen._seen if not thread.startswith(OTHERS)})
    for number in range(6):
        raised = seen.fail(number, RuntimeError("odd"), besides=loops)
        let_it_run(scheduler)
        eventually(raised.is_set)
        assert_it_goes_on(scheduler)


@pytest.mark.parametrize("scheduler", ["runapscheduler"], indirect=True)
@pytest.mark.parametrize("method", ["get_due_jobs", "get_next_run_time", "update_job"])
def test_a_method_of_the_store_may_raise(
    scheduler: Any, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = getattr(DjangoJobStore, method)
    raised = threading.Event()

    def once(*args: Any) -> Any:
        if not raised.is_set():
            raised.set()
            raise RuntimeError("nobody foresaw this")
        return original(*args)

    monkeypatch.setattr(DjangoJobStore, method, once)
    let_it_run(scheduler)
    eventually(raised.is_set)
    eventually(lambda: "ran" in callables.calls)
    eventually(lambda: not Run.objects.filter(status=Run.RUNNING).exists())
    before = callables.calls.count("ran")
    let_it_run(scheduler)
    eventually(lambda: callables.calls.count("ran") > before)


def test_a_listener_may_raise(scheduler: Any) -> None:
    heard: list[int] = []

    def listen(event: Any) -> None:
        heard.append(event.code)
        raise RuntimeError("a bad listener")

    scheduler.add_listener(listen, EVENT_ALL)
    assert_it_goes_on(scheduler)
    assert_it_goes_on(scheduler)
    assert len(set(heard)) >= 2


def test_an_executor_may_refuse_a_job(scheduler: Any) -> None:
    executor = hazards.RaisesOnce()
    scheduler.add_executor(executor, "moody")
    for job_id in ("first", "second"):
        scheduler.add_job(
            callables.sleep,
            "interval",
            hours=1,
            args=[0],
            id=job_id,
            executor="moody",
            misfire_grace_time=None,
        )
        let_it_run(scheduler, job_id)
        the_run(job_id)
    assert executor.refused == ["first"]
    refused = the_run("first")
    assert (refused.status, refused.exception) == (Run.ERROR, "refused")
    assert the_run("second").status == Run.SUCCESS
    assert_it_goes_on(scheduler)


def test_a_trigger_may_raise_after_its_first_time(scheduler: Any) -> None:
    scheduler.add_job(callables.sleep, hazards.GivesUp(), args=[0], id="unsteady")
    eventually(lambda: DjangoJob.objects.get(pk="unsteady").quarantined_at)
    assert "no idea when" in DjangoJob.objects.get(pk="unsteady").quarantine_reason
    assert_it_goes_on(scheduler)


@pytest.mark.any_database
@pytest.mark.parametrize("kind", ["SystemExit", "KeyboardInterrupt"])
@pytest.mark.parametrize("func", [hazards.leave, hazards.leave_later])
def test_a_job_may_raise_what_ends_programs(
    scheduler: Any, func: Callable[..., Any], kind: str
) -> None:
    scheduler.add_job(func, id="leaver", args=[kind], misfire_grace_time=None)
    run = the_run("leaver")
    assert (run.status, run.exception_type, run.exception) == (Run.ERROR, kind, "leaving")
    assert_it_goes_on(scheduler)


@pytest.mark.any_database
@pytest.mark.parametrize(
    "func",
    [
        misdeeds.return_hostile,
        misdeeds.raise_hostile,
        misdeeds.return_hostile_later,
        misdeeds.raise_hostile_later,
    ],
)
def test_a_text_that_takes_for_ever_holds_no_loop_up(
    scheduler: Any, func: Callable[..., Any]
) -> None:
    scheduler.add_job(func, id="stuck", args=["block"], misfire_grace_time=None)
    eventually(lambda: "text" in callables.calls)
    assert_it_goes_on(scheduler)
    scheduler.add_job(hazards.leave_later, id="leaver", args=["SystemExit"])
    assert the_run("leaver").status == Run.ERROR
    assert Run.objects.get(job="stuck").status == Run.RUNNING
    callables.release.set()
    assert the_run("stuck").status in (Run.SUCCESS, Run.ERROR)


CHANGES: dict[str, Callable[[Any], Any]] = {
    "deleted": lambda job: job.delete(),
    "paused": lambda job: job.update(next_run_time=None),
    "edited": lambda job: job.update(declaration="edited"),
    "retired": lambda job: job.retire(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_job_may_change_in_the_middle_of_a_claim(
    scheduler: Any, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = claim.claim
    changed = threading.Event()

    def interrupted(plans: Any, term: Any, using: str) -> Any:
        if not changed.is_set() and "other" in {plan.job.id for plan in plans}:
            changed.set()
            CHANGES[change](DjangoJob.objects.filter(pk="other"))
        return original(plans, term, using)

    scheduler.add_job(
        callables.sleep, "interval", hours=1, args=[0], id="other", misfire_grace_time=None
    )
    monkeypatch.setattr(claim, "claim", interrupted)
    let_it_run(scheduler, "other")
    eventually(changed.is_set)
    assert_it_goes_on(scheduler)
    if change == "edited":
        assert the_run("other").status == Run.SUCCESS  # in the next look
    else:
        assert not Run.objects.filter(job="other").exists()
        assert "slept" not in callables.calls


@pytest.mark.any_database
@pytest.mark.parametrize("func", [callables.die, callables.return_what_cannot_travel])
def test_a_run_that_a_process_pool_fails_to_carry_out_is_an_error(
    scheduler: Any, func: Callable[[], Any]
) -> None:
    announced: list[str] = []
    scheduler.add_listener(lambda event: announced.append(event.job_id), EVENT_JOB_ERROR)
    scheduler.add_executor(ProcessPoolExecutor(1), "processes")
    scheduler.add_job(func, id="hard", executor="processes", misfire_grace_time=None)
    run = the_run("hard")
    assert (run.status, run.exception_type != "") == (Run.ERROR, True)
    assert announced == ["hard"]
    # The pool is of use again, and counts nobody as running.
    scheduler.add_job(
        callables.sleep, id="easy", args=[0], executor="processes", misfire_grace_time=None
    )
    assert the_run("easy").status == Run.SUCCESS
    assert_it_goes_on(scheduler)
