"""A process that cannot run jobs is not ready and gives the lease up; another goes on."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, OperationalError, ProgrammingError
from pytest_django.fixtures import Settings

from jobstore import registry
from jobstore.claims import claim
from jobstore.health import answers
from jobstore.jobstores import DjangoJobStore
from jobstore.leadership import lease
from jobstore.leadership.elector import Elector
from jobstore.models import DjangoJobExecution, SchedulerInstance, SchedulerLease, database_now
from jobstore.process.scheduler import SchedulerProcess
from jobstore.tests import callables
from jobstore.tests.conftest import StartScheduler, eventually
from jobstore.tests.processes import SchedulerCommand

pytestmark = pytest.mark.django_db(transaction=True)

Run = DjangoJobExecution
Role = SchedulerInstance.Role
StartProcess = Callable[..., SchedulerProcess]


@pytest.fixture
def start_process(
    transactional_db: None, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[StartProcess]:
    """Return a function that starts what `runapscheduler` runs, as a standby where it is second."""
    settings.SCHEDULER_SURPLUS = "standby"
    settings.SCHEDULER_LEASE_SECONDS = 60.0  # so that nobody gets it by waiting
    monkeypatch.setattr("jobstore.leadership.fitness.FIRST_PAUSE_SECONDS", 0.5)
    monkeypatch.setattr(registry, "sync", lambda *args, **options: [])
    started: list[SchedulerProcess] = []

    def start(on_elected: Callable[[], Any] | None = None) -> SchedulerProcess:
        one = SchedulerProcess()
        if on_elected is not None:
            one.scheduler._on_elected = on_elected
        one.start()
        started.append(one)
        return one

    yield start
    for one in started:
        one.stop()


def is_free() -> bool:
    """Whether nobody holds the lease."""
    row = SchedulerLease.objects.first()
    return bool(row and row.expires_at and row.expires_at <= database_now("default"))


def is_ready(process: SchedulerProcess) -> bool:
    return answers.ready(process)[0] == answers.OK


def broken(error: BaseException) -> Callable[[], None]:
    def on_elected() -> None:
        raise error

    return on_elected


class Wordless(BaseException):
    """Has neither a text nor a repr."""

    def __repr__(self) -> str:
        raise SystemExit("no text")

    __str__ = __repr__


WRONG = [
    RuntimeError("a bad release"),
    ImportError("no module named pandas"),
    SystemExit("called by a jobs file"),
    ProgrammingError("no such column"),
]


@pytest.mark.parametrize("error", WRONG, ids=lambda error: type(error).__name__)
def test_a_process_that_cannot_prepare_is_not_ready_and_gives_the_lease_up(
    start_process: StartProcess, error: BaseException
) -> None:
    process = start_process(broken(error))
    eventually(is_free)
    assert str(error) in answers.ready(process)[1]["reason"]
    row = eventually(lambda: SchedulerInstance.objects.filter(role=Role.UNFIT).first())
    assert str(error) in row.problem


@pytest.mark.parametrize("error", WRONG, ids=lambda error: type(error).__name__)
def test_a_standby_takes_over_from_a_process_that_cannot_prepare(
    start_process: StartProcess, error: BaseException
) -> None:
    process = start_process(broken(error))
    eventually(lambda: process.elector.role == Role.UNFIT)
    other = start_process()
    eventually(lambda: other.elector.term and is_ready(other))
    other.scheduler.add_job(callables.note, id="job")
    eventually(lambda: Run.objects.filter(status=Run.SUCCESS, instance=other.elector.id).exists())
    time.sleep(1.5)  # in which the first one would try again
    assert other.elector.term
    assert not is_ready(process)


def test_a_process_that_cannot_prepare_is_never_ready_in_between(
    start_process: StartProcess,
) -> None:
    tries: list[int] = []

    def on_elected() -> None:
        tries.append(1)
        raise RuntimeError("a bad release")

    process = start_process(on_elected)
    while len(tries) < 3:
        assert not is_ready(process)
        time.sleep(0.002)


def test_what_keeps_a_process_from_preparing_is_logged_once(
    start_process: StartProcess, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[int] = []

    def on_elected() -> None:
        tries.append(1)
        raise RuntimeError("a bad release")

    start_process(on_elected)
    eventually(lambda: len(tries) > 2)
    told = [one for one in caplog.records if "a bad release" in one.getMessage()]
    assert len(told) == 1 and told[0].exc_info


def test_an_error_without_a_text_does_not_end_the_loop(start_process: StartProcess) -> None:
    failing = [Wordless(), Wordless()]

    def on_elected() -> None:
        if failing:
            raise failing.pop()

    process = start_process(on_elected)
    eventually(lambda: not failing and is_ready(process))
    tick, failing = process.scheduler._tick, [Wordless()]
    process.scheduler._tick = lambda: broken(failing.pop())() if failing else tick()  # type: ignore[method-assign]
    process.scheduler.wakeup()
    eventually(lambda: not failing)
    process.scheduler.add_job(callables.note, id="job")
    eventually(lambda: "ran" in callables.calls)


def test_a_process_is_not_ready_before_it_has_prepared(start_process: StartProcess) -> None:
    may_go_on = threading.Event()
    process = start_process(lambda: may_go_on.wait(10))
    eventually(lambda: process.elector.term)
    assert "being stored" in answers.ready(process)[1]["reason"]
    may_go_on.set()
    eventually(lambda: is_ready(process))


def test_a_process_that_can_prepare_in_the_end_runs_jobs(start_process: StartProcess) -> None:
    left = iter([RuntimeError("not yet")] * 2)

    def on_elected() -> None:
        if error := next(left, None):
            raise error

    process = start_process(on_elected)
    eventually(lambda: process.elector.role == Role.UNFIT)
    eventually(lambda: is_ready(process))
    assert process.elector.role == Role.ACTIVE
    eventually(lambda: SchedulerInstance.objects.filter(problem="", role=Role.ACTIVE).exists())
    process.scheduler.add_job(callables.note, id="job")
    eventually(lambda: Run.objects.filter(status=Run.SUCCESS).exists())


def test_a_database_that_fails_for_a_moment_while_preparing_does_not_make_it_unfit(
    start_process: StartProcess,
) -> None:
    left = iter([OperationalError("deadlock detected"), DatabaseError("gone")])

    def on_elected() -> None:
        if error := next(left, None):
            raise error

    process = start_process(on_elected)
    eventually(lambda: is_ready(process))
    assert process.elector.epoch == 1


def test_a_database_that_fails_for_long_while_preparing_makes_it_unfit(
    start_process: StartProcess, settings: Settings
) -> None:
    """The lease is renewed all the time, so that the database is there."""
    settings.SCHEDULER_HUNG_SECONDS = 1.5
    process = start_process(broken(OperationalError("no such table")))
    eventually(is_free)
    assert "no such table" in answers.ready(process)[1]["reason"]


def test_claims_that_always_fail_make_it_unfit(
    start_process: StartProcess, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise ProgrammingError("no such column: version")

    process = start_process()
    eventually(lambda: is_ready(process))
    monkeypatch.setattr("jobstore.claims.due.due_jobs", fail)
    settings.SCHEDULER_HUNG_SECONDS = 2.0
    process.scheduler.add_job(callables.note, id="job")
    eventually(is_free)
    assert "no such column" in answers.ready(process)[1]["reason"]
    monkeypatch.undo()
    eventually(lambda: is_ready(process))
    eventually(lambda: "ran" in callables.calls)


def test_claims_that_fail_now_and_then_do_not_make_it_unfit(
    start_process: StartProcess,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    claim_rows, tries = claim.claim, itertools.count()

    def fail_each_other_time(*args: Any, **options: Any) -> Any:
        if next(tries) % 2:
            raise ProgrammingError("at times")
        return claim_rows(*args, **options)

    process = start_process()
    eventually(lambda: is_ready(process))
    monkeypatch.setattr(claim, "claim", fail_each_other_time)
    settings.SCHEDULER_HUNG_SECONDS = 1.0
    process.scheduler.add_job(callables.note, "interval", seconds=0.2, id="job")
    until = time.monotonic() + 3.0
    eventually(lambda: time.monotonic() > until and Run.objects.count() > 4, 20)
    assert "gives the lease up" not in caplog.text and is_ready(process)


def test_a_database_that_was_away_for_long_makes_nobody_unfit(
    start_process: StartProcess,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise OperationalError("connection timed out")

    process = start_process()
    eventually(lambda: is_ready(process))
    settings.SCHEDULER_HUNG_SECONDS = 1.0
    with monkeypatch.context() as outage:
        outage.setattr("jobstore.claims.claim.claim", fail)
        outage.setattr("jobstore.claims.dispatcher.Dispatcher._recover", fail)
        outage.setattr("jobstore.leadership.lease.renew", fail)
        process.scheduler.add_job(callables.note, id="job")
        eventually(lambda: "connection timed out" in process.store._claiming.text)
        eventually(lambda: process.elector.last_error)
        time.sleep(2.0)  # while it trusts its lease
        # It does not trust its lease any more, and still looks for the claim that got no reply.
        process.elector.distrust_lease()
        time.sleep(3.0)
    eventually(lambda: "ran" in callables.calls)
    eventually(lambda: is_ready(process))
    assert "gives the lease up" not in caplog.text


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_loop_whose_thread_has_ended_gives_the_lease_up(start_process: StartProcess) -> None:
    process = start_process()
    eventually(lambda: is_ready(process))

    def wait(*args: object) -> bool:
        raise SystemExit

    process.scheduler._event.wait = wait
    eventually(is_free)
    for question in (answers.live, answers.ready):
        assert "The scheduling loop has ended" in question(process)[1]["reason"]
    row = eventually(lambda: SchedulerInstance.objects.filter(role=Role.UNFIT).first())
    assert "The scheduling loop has ended" in row.problem


def test_a_loop_that_is_about_to_begin_is_not_taken_for_ended(
    start_process: StartProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread is made before it is started, and the elector looks at it meanwhile."""
    begin = threading.Thread.start
    seen: list[str] = []

    def look_first(thread: threading.Thread) -> None:
        if thread.name == "APScheduler":
            seen.append(process.scheduler.problem)
        begin(thread)

    process = SchedulerProcess()
    monkeypatch.setattr(threading.Thread, "start", look_first)
    process.start()
    process.stop()
    assert seen == [""]


def test_a_loop_that_is_stuck_gives_the_lease_up_until_it_moves_again(
    start_process: StartProcess, settings: Settings
) -> None:
    process = start_process()
    eventually(lambda: is_ready(process))
    settings.SCHEDULER_HUNG_SECONDS = 1.0
    process.scheduler.turned_at = time.monotonic() + 0.1
    with process.scheduler._jobstores_lock:
        process.scheduler.wakeup()
        other = start_process()
        settings.SCHEDULER_HUNG_SECONDS = 1.0
        eventually(lambda: other.elector.term)
        assert "silent" in answers.ready(process)[1]["reason"]
        assert process.elector.role == Role.UNFIT
    settings.SCHEDULER_HUNG_SECONDS = 30.0
    eventually(lambda: process.elector.role == Role.STANDBY)
    assert is_ready(process)
    assert SchedulerInstance.objects.get(pk=process.elector.id).problem == ""


def test_a_scheduler_without_our_command_that_is_stuck_gives_the_lease_up_as_well(
    start_scheduler: StartScheduler, settings: Settings
) -> None:
    settings.SCHEDULER_HUNG_SECONDS = 1.0
    stuck = start_scheduler()
    stuck.add_job(callables.note, "interval", seconds=0.2, id="job", misfire_grace_time=None)
    eventually(lambda: callables.calls)
    with stuck._jobstores_lock:
        other = start_scheduler()
        store: DjangoJobStore = other._jobstores["default"]
        eventually(lambda: store.elector and store.elector.term)
        runs = Run.objects.filter(status=Run.SUCCESS, epoch=2)
        eventually(runs.exists)


def test_a_scheduler_that_somebody_paused_is_not_taken_for_stuck(
    start_scheduler: StartScheduler, settings: Settings
) -> None:
    settings.SCHEDULER_HUNG_SECONDS = 0.5
    scheduler = start_scheduler()
    scheduler.add_job(callables.note, "interval", seconds=0.2, id="job", misfire_grace_time=None)
    eventually(lambda: callables.calls)
    scheduler.pause()
    time.sleep(2.0)
    assert not SchedulerInstance.objects.filter(role=Role.UNFIT).exists()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_thread_that_renews_the_lease_is_started_again_if_it_ended(
    start_process: StartProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start_process()
    eventually(lambda: is_ready(process))
    former = process.elector._thread
    assert former is not None

    def leave() -> None:
        monkeypatch.undo()
        raise SystemExit

    monkeypatch.setattr(process.elector, "_step", leave)
    process.elector._listener.wake()
    eventually(lambda: not former.is_alive())
    process.scheduler.wakeup()
    eventually(lambda: process.elector._thread is not former)
    time.sleep(0.1)
    eventually(lambda: is_ready(process))
    assert answers.live(process)[0] == answers.OK


def test_what_the_handler_of_an_outage_raises_does_not_end_the_thread(
    start_process: StartProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start_process()
    eventually(lambda: is_ready(process))
    raised = threading.Event()

    def fail(*args: object) -> None:
        raised.set()
        raise RuntimeError("the connection cannot even be closed")

    thread = process.elector._thread
    assert thread is not None
    monkeypatch.setattr("jobstore.leadership.lease.renew", fail)
    monkeypatch.setattr("jobstore.leadership.step_thread.release_connections", fail)
    eventually(raised.is_set)
    time.sleep(0.5)
    monkeypatch.undo()
    assert thread.is_alive()
    eventually(lambda: process.elector.term)


STEPPING_BACK: dict[str, Callable[[Elector], None]] = {
    "drain": lambda elector: elector.drain(),
    "hold_back": lambda elector: elector.hold_back("a bad release"),
}


@pytest.mark.parametrize("patience", [0.1, 3.0])
@pytest.mark.parametrize("step_back", STEPPING_BACK)
def test_a_lease_that_is_won_while_stepping_back_does_not_stay_taken(
    start_process: StartProcess, monkeypatch: pytest.MonkeyPatch, step_back: str, patience: float
) -> None:
    original, asked = lease.acquire, threading.Event()

    def slow(*args: Any, **options: Any) -> Any:
        asked.set()
        time.sleep(0.5)
        return original(*args, **options)

    monkeypatch.setattr("jobstore.leadership.elector.DRAIN_LOCK_SECONDS", patience)
    monkeypatch.setattr("jobstore.leadership.fitness.FIRST_PAUSE_SECONDS", 60.0)
    monkeypatch.setattr(lease, "acquire", slow)
    process = start_process()
    assert asked.wait(10)
    STEPPING_BACK[step_back](process.elector)
    eventually(lambda: SchedulerLease.objects.filter(epoch=1).exists())
    eventually(is_free, 3)


def test_a_repeated_failure_is_logged_once_and_counted(
    start_process: StartProcess,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("jobstore.process.scheduler.RETRY_SECONDS", 0.02)
    caplog.set_level("INFO")
    left = iter([RuntimeError("odd")] * 50)

    def fail() -> None:
        if error := next(left, None):
            raise error

    process = start_process()
    eventually(lambda: is_ready(process))
    monkeypatch.setattr(process.scheduler, "_process_jobs", fail)
    process.scheduler.wakeup()
    eventually(lambda: "after 50 failures" in caplog.text)
    assert caplog.text.count("The scheduling loop continues after an error") == 1


@pytest.mark.any_database
@pytest.mark.slow
def test_a_bad_release_leaves_the_jobs_to_the_standby(tmp_path: Path) -> None:
    """In real processes: the bad one takes the lease first, and gives it up."""
    trace = tmp_path / "trace"
    trace.touch()
    bad = SchedulerCommand(
        tmp_path / "bad",
        TICK_TRACE=str(trace),
        DJANGO_SETTINGS_MODULE="jobstore.tests.unfit_settings",
    )
    good = None
    try:
        eventually(lambda: SchedulerInstance.objects.filter(role=Role.UNFIT).exists(), 40)
        good = SchedulerCommand(tmp_path / "good", TICK_TRACE=str(trace))
        eventually(lambda: Run.objects.filter(job="tick", status=Run.SUCCESS).count() > 2, 40)
        # It gives a sign of life more rarely than these settings have patience.
        unfit = SchedulerInstance.objects.filter(role=Role.UNFIT, problem__contains="bad release")
        eventually(unfit.exists)
        assert (tmp_path / "bad").read_text().count("gives the lease up") == 1
    finally:
        bad.kill()
        if good is not None:
            good.kill()
