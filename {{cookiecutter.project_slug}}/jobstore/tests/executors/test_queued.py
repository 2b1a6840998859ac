"""Runs that are carried out elsewhere: each once, however often its message comes."""

import datetime as dt
import subprocess
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from apscheduler.schedulers.background import BackgroundScheduler
from django.db import DatabaseError, OperationalError, connection
from django.utils import timezone

from jobstore import api
from jobstore.database.backoff import Backoff
from jobstore.executors import publisher, queued_rows, remote_worker
from jobstore.executors.elsewhere import ElsewhereExecutor, Message, Refused
from jobstore.models import DjangoJob, DjangoJobExecution, SchedulerInstance
from jobstore.tests import callables
from jobstore.tests.conftest import StartScheduler, eventually
from jobstore.tests.processes import ROOT, SchedulerCommand

Run = DjangoJobExecution


class Outbox(ElsewhereExecutor):
    """Keeps its messages; nobody carries them out unless a test does."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[Message] = []
        self.fault: Exception | None = None
        self.ended: list[int] = []
        # The job whose messages are not taken.
        self.refused = ""

    def end(self, message: Message) -> bool:
        self.ended.append(message.run_id)
        return True

    def publish(self, message: Message) -> None:
        if self.fault is not None:
            raise self.fault
        if message.job_id == self.refused:
            raise Refused("no such queue")
        self.messages.append(message)


@pytest.fixture
def outbox() -> Outbox:
    return Outbox()


@pytest.fixture
def scheduler(start_scheduler: StartScheduler, outbox: Outbox) -> Iterator[BackgroundScheduler]:
    """A scheduler whose executor "elsewhere" only keeps messages."""
    one = start_scheduler()
    one.add_executor(outbox, "elsewhere")
    yield one
    callables.release.set()
    remote_worker.leave()


def add(scheduler: BackgroundScheduler, function: Callable[..., Any], **options: Any) -> None:
    """Add a job that is due now, once."""
    scheduler.add_job(function, "date", id="one", executor="elsewhere", **options)


def message_of(outbox: Outbox, number: int = 1) -> Message:
    """Wait for so many messages, and return the last of them."""
    return eventually(lambda: outbox.messages[number - 1 :])[0]  # type: ignore[no-any-return]


def carry_out(message: Message) -> str:
    return remote_worker.carry_out_queued(message.run_id, message.attempt)


def beat() -> None:
    """Have this process give a sign of life now."""
    worker = remote_worker.this_worker()
    worker._ask(worker._heartbeat)


def role_of_worker() -> str:
    """Return what the process is that has carried out the only run."""
    instance = Run.objects.select_related("instance").get().instance
    assert instance is not None
    return instance.role


# --- From the claim to the result


def test_a_claim_queues_the_run_and_its_message_names_it(
    scheduler: BackgroundScheduler, outbox: Outbox
) -> None:
    add(scheduler, callables.note)
    message = message_of(outbox)
    run = Run.objects.get()
    assert (message.run_id, message.attempt, message.job_id) == (run.pk, 1, "one")
    assert (run.status, run.started_at, run.finished) == (Run.QUEUED, None, None)
    eventually(lambda: Run.objects.get().published_at)
    assert callables.calls == []


def test_a_worker_carries_it_out_and_records_what_became_of_it(
    scheduler: BackgroundScheduler, outbox: Outbox
) -> None:
    add(scheduler, callables.note, args=["there"])
    assert carry_out(message_of(outbox)) == Run.SUCCESS
    run = Run.objects.get()
    assert (run.status, run.result, callables.calls) == (Run.SUCCESS, "there", ["there"])
    assert run.started_at
    assert run.finished
    assert run.run_time <= run.started_at <= run.finished
    assert run.duration is not None
    assert role_of_worker() == SchedulerInstance.Role.WORKER


def test_what_it_raises_is_recorded_and_the_worker_goes_on(
    scheduler: BackgroundScheduler, outbox: Outbox
) -> None:
    add(scheduler, callables.fail, args=["broken there"])
    assert carry_out(message_of(outbox)) == Run.ERROR
    run = Run.objects.get()
    assert (run.exception_type, run.exception) == ("ValueError", "broken there")
    assert "remote_worker.py" not in str(run.traceback)


def test_a_requested_run_is_queued_with_its_own_arguments(
    scheduler: BackgroundScheduler, outbox: Outbox
) -> None:
    later = timezone.now() + dt.timedelta(days=1)
    scheduler.add_job(callables.note, "date", run_date=later, id="one", executor="elsewhere")
    api.run_now("one", args=["as asked"])
    assert carry_out(message_of(outbox)) == Run.SUCCESS
    assert callables.calls == ["as asked"]


# --- Once


def test_a_message_that_comes_twice_runs_once(
    scheduler: BackgroundScheduler, outbox: Outbox
) -> None:
    add(scheduler, callables.note)
    message = message_of(outbox)
    carry_out(message)
    assert "does not wait" in carry_out(message)
    assert callables.calls == ["ran"]


def test_messages_that_come_at_the_same_time_run_once(
    scheduler: BackgroundScheduler, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(scheduler, callables.note)
    message = message_of(outbox)
    one, other = (remote_worker.RemoteWorker("default") for _ in range(2))
    # Both have read the run before either takes it.
    both = threading.Barrier(2)
    take = queued_rows.take

    def wait_and_take(*args: Any) -> bool:
        both.wait(10)
        return take(*args)

    monkeypatch.setattr(queued_rows, "take", wait_and_take)
    ended: list[str] = []

    def work(mine: remote_worker.RemoteWorker) -> None:
        mine.start()
        ended.append(mine.carry_out(message.run_id, message.attempt))
        mine.stop()

    threads = [threading.Thread(target=work, args=(mine,)) for mine in (one, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(ended) == ["Another worker was faster, or it was cancelled.", Run.SUCCESS]
    assert callables.calls == ["ran"]


def test_a_message_of_an_earlier_attempt_does_nothing(
    scheduler: BackgroundScheduler, outbox: Outbox
) -> None:
    add(scheduler, callables.note)
    message = message_of(outbox)
    Run.objects.update(attempt=2)
    assert "attempt 2" in carry_out(message)
    assert callables.calls == []


def test_a_run_that_was_cancelled_meanwhile_does_not_run(
    scheduler: BackgroundScheduler, outbox: Outbox
) -> None:
    add(scheduler, callables.note)
    message = message_of(outbox)
    api.cancel(message.run_id, by="an operator")
    carry_out(message)
    assert (Run.objects.get().status, callables.calls) == (Run.CANCELLED, [])


def test_a_queued_run_of_a_job_that_is_retired_does_not_run(
    scheduler: BackgroundScheduler, outbox: Outbox
) -> None:
    scheduler.add_job(callables.note, "interval", hours=1, id="one", executor="elsewhere")
    api.run_now("one")
    message = message_of(outbox)
    api.retire("one")
    carry_out(message)
    assert (Run.objects.get().status, callables.calls) == (Run.CANCELLED, [])


def test_queued_runs_count_towards_max_instances(
    scheduler: BackgroundScheduler, outbox: Outbox
) -> None:
    scheduler.add_job(callables.note, "interval", seconds=1, id="one", executor="elsewhere")
    eventually(lambda: Run.objects.filter(status=Run.MAX_INSTANCES, times__gte=2).exists())
    assert Run.objects.filter(status=Run.QUEUED).count() == 1
    assert len(outbox.messages) == 1


# --- What engines and workers do wrong


def test_an_engine_that_is_away_gets_the_messages_when_it_is_back_in_their_order(
    scheduler: BackgroundScheduler, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No look but one for what waits: it is not yet due for another reason.
    monkeypatch.setattr(publisher, "UNMARKED_SECONDS", 600.0)
    monkeypatch.setattr(publisher, "LOOK_SECONDS", 600.0)
    outbox.fault = ConnectionError("no broker")
    now = timezone.now()
    for number in range(5):
        when = now + dt.timedelta(milliseconds=200 * number)
        scheduler.add_job(
            callables.note, "date", run_date=when, id=f"job {number}", executor="elsewhere"
        )
    store = scheduler._jobstores["default"]
    eventually(lambda: Run.objects.filter(status=Run.QUEUED).count() == 5)
    eventually(lambda: store.publishing_late > 0.5)
    assert outbox.messages == []
    outbox.fault = None
    scheduler.add_job(callables.note, "date", id="job 5", executor="elsewhere")
    eventually(lambda: len(outbox.messages) == 6)
    assert [one.job_id for one in outbox.messages] == [f"job {number}" for number in range(6)]
    eventually(lambda: store.publishing_late == 0)


def test_a_job_that_its_engine_refuses_does_not_hold_up_others(
    scheduler: BackgroundScheduler, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "UNMARKED_SECONDS", 0.3)
    monkeypatch.setattr(publisher, "LOOK_SECONDS", 0.2)
    # A pause of the whole executor would outlast this test.
    monkeypatch.setattr(Backoff, "longer", lambda self: setattr(self, "_ends_at", 1e12))
    outbox.refused = "one"
    add(scheduler, callables.note)
    eventually(lambda: Run.objects.filter(status=Run.QUEUED).exists())
    for number in range(3):
        time.sleep(0.3)
        scheduler.add_job(callables.note, "date", id=f"{number}", executor="elsewhere")
        eventually(lambda: [one for one in outbox.messages if one.job_id == str(number)])  # noqa: B023
    outbox.refused = ""
    eventually(lambda: outbox.messages[-1].job_id == "one")


def test_a_scheduler_without_such_executors_has_no_thread_for_them(
    start_scheduler: StartScheduler,
) -> None:
    start_scheduler().add_job(callables.note, "date", id="one")
    eventually(lambda: Run.objects.filter(status=Run.SUCCESS).exists())
    assert "jobstore-publisher" not in {thread.name for thread in threading.enumerate()}


def test_a_run_that_no_worker_takes_is_published_again(
    scheduler: BackgroundScheduler, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "LOOK_SECONDS", 0.2)
    monkeypatch.setattr(publisher, "UNTAKEN_SECONDS", 0.5)
    add(scheduler, callables.note)
    assert message_of(outbox, 2) == message_of(outbox)
    eventually(lambda: Run.objects.get().publications == 2)


def test_a_queued_run_whose_job_runs_here_by_now_starts_here(
    scheduler: BackgroundScheduler, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "LOOK_SECONDS", 0.2)
    scheduler.add_job(callables.note, "interval", hours=1, id="one", executor="elsewhere")
    api.run_now("one")
    message = message_of(outbox)
    api.change("one", executor="default")
    eventually(lambda: Run.objects.filter(pk=message.run_id, status=Run.SUCCESS).exists())
    carry_out(message)
    assert callables.calls == ["ran"]


def test_a_publisher_without_the_lease_waits(
    scheduler: BackgroundScheduler, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A standby, or a former holder, must not use up a processor."""
    turns: list[float] = []
    turn = publisher.Publisher._turn

    def counted(self: publisher.Publisher) -> None:
        turns.append(time.monotonic())
        turn(self)

    monkeypatch.setattr(publisher.Publisher, "_turn", counted)
    elector: Any = types.SimpleNamespace(term=None, using="default")
    one = publisher.Publisher(elector, dict)
    one.put([Message(1, 1, "job", "elsewhere")])
    eventually(lambda: turns)
    time.sleep(1)
    one.stop(0.0)
    assert len(turns) < 10


def test_the_next_holder_publishes_what_the_last_one_left(
    start_scheduler: StartScheduler, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "UNMARKED_SECONDS", 0.5)
    monkeypatch.setattr(publisher, "LOOK_SECONDS", 0.2)
    scheduler = start_scheduler()
    outbox.fault = ConnectionError("no broker")
    scheduler.add_executor(outbox, "elsewhere")
    add(scheduler, callables.note)
    eventually(lambda: Run.objects.filter(status=Run.QUEUED).exists())
    scheduler.shutdown()
    other = Outbox()
    start_scheduler().add_executor(other, "elsewhere")
    assert message_of(other).run_id == Run.objects.get().pk


def test_a_late_result_of_a_run_that_is_lost_changes_nothing(
    scheduler: BackgroundScheduler, outbox: Outbox
) -> None:
    add(scheduler, callables.block)
    message = message_of(outbox)
    thread = threading.Thread(target=carry_out, args=(message,))
    thread.start()
    eventually(lambda: callables.calls)
    Run.objects.update(status=Run.LOST)
    callables.release.set()
    thread.join(20)
    assert Run.objects.get().status == Run.LOST


@pytest.fixture
def at_work(scheduler: BackgroundScheduler, outbox: Outbox) -> Iterator[Message]:
    """A run that a worker carries out, until the test is over."""
    add(scheduler, callables.block)
    message = message_of(outbox)
    thread = threading.Thread(target=carry_out, args=(message,))
    thread.start()
    eventually(lambda: callables.calls)
    yield message
    callables.release.set()
    thread.join(20)


def test_a_run_that_is_over_its_timeout_is_ended(at_work: Message, outbox: Outbox) -> None:
    DjangoJob.all_objects.update(timeout=0.5)
    eventually(lambda: Run.objects.filter(status=Run.TIMED_OUT).exists())
    assert (
        Run.objects.get().exception == "It did not end within its timeout of 0.5 s, and was ended."
    )
    eventually(lambda: outbox.ended == [at_work.run_id])


def test_a_run_over_its_timeout_that_nothing_can_end_says_so(
    at_work: Message, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Outbox, "end")
    DjangoJob.all_objects.update(timeout=0.5)
    eventually(lambda: Run.objects.filter(status=Run.TIMED_OUT).exists())
    assert "Its executor cannot end it" in str(Run.objects.get().exception)


def test_a_run_that_is_cancelled_while_a_worker_has_it_is_ended(
    at_work: Message, outbox: Outbox
) -> None:
    now = timezone.now()
    Run.objects.update(cancel_requested_at=now, cancel_requested_by="an operator")
    eventually(lambda: Run.objects.filter(status=Run.CANCELLED).exists())
    assert "Cancelled by an operator after" in str(Run.objects.get().exception)
    eventually(lambda: outbox.ended == [at_work.run_id])


def test_a_job_that_a_worker_does_not_know_goes_back_once_and_then_fails(
    scheduler: BackgroundScheduler, outbox: Outbox
) -> None:
    add(scheduler, callables.note)
    message = message_of(outbox)
    DjangoJob.all_objects.update(func="nowhere:gone")  # its signature covers the function
    assert "sent back" in carry_out(message).lower()
    run = Run.objects.get()
    assert run.status == Run.QUEUED
    assert "could not restore the job" in run.note
    # The same message once more is no second try.
    carry_out(message)
    assert Run.objects.get().status == Run.QUEUED
    Run.objects.update(publications=2)
    assert carry_out(message) == Run.ERROR
    assert Run.objects.get().status == Run.ERROR


def test_what_a_worker_could_not_restore_fails_if_another_machine_cannot_either(
    scheduler: BackgroundScheduler, outbox: Outbox
) -> None:
    add(scheduler, callables.note)
    message = message_of(outbox)
    DjangoJob.all_objects.update(func="nowhere:gone")
    carry_out(message)
    note = Run.objects.get().note.replace(remote_worker.this_worker().host, "another")
    Run.objects.update(note=note)
    assert carry_out(message) == Run.ERROR


def test_a_run_whose_taking_had_no_reply_is_queued_again(
    scheduler: BackgroundScheduler, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "UNMARKED_SECONDS", 0.5)
    monkeypatch.setattr(publisher, "LOOK_SECONDS", 0.2)
    take = queued_rows.take

    def take_and_fail(*args: Any) -> bool:
        take(*args)
        raise OperationalError("the connection is gone")

    monkeypatch.setattr(queued_rows, "take", take_and_fail)
    add(scheduler, callables.note)
    with pytest.raises(OperationalError):
        carry_out(message_of(outbox))
    monkeypatch.undo()
    assert carry_out(message_of(outbox, 2)) == Run.SUCCESS
    assert callables.calls == ["ran"]


def test_a_run_that_was_taken_after_a_failure_is_not_queued_again(
    scheduler: BackgroundScheduler, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(scheduler, callables.block)
    message = message_of(outbox)
    remote_worker.this_worker()

    def fail(*_: Any) -> bool:
        raise OperationalError("the connection is gone")

    with monkeypatch.context() as patch:
        patch.setattr(queued_rows, "take", fail)
        with pytest.raises(OperationalError):
            carry_out(message)
    thread = threading.Thread(target=carry_out, args=[message])
    thread.start()
    eventually(lambda: Run.objects.filter(status=Run.RUNNING).exists())
    beat()
    assert Run.objects.get().status == Run.RUNNING
    callables.release.set()
    thread.join()
    assert Run.objects.get().status == Run.SUCCESS


def test_a_run_whose_taking_is_carried_out_late_is_queued_again(
    scheduler: BackgroundScheduler, outbox: Outbox
) -> None:
    """A server may do so long after the connection has broken."""
    add(scheduler, callables.note)
    message = message_of(outbox)
    worker = remote_worker.this_worker()
    beat()
    Run.objects.update(status=Run.RUNNING, instance=worker.id)
    beat()
    assert Run.objects.get().status == Run.QUEUED
    assert carry_out(message) == Run.SUCCESS


def test_a_worker_whose_connection_broke_makes_another(
    scheduler: BackgroundScheduler, outbox: Outbox
) -> None:
    add(scheduler, callables.note)
    message = message_of(outbox)
    worker = remote_worker.this_worker()
    worker._ask(lambda: connection.connection.close())
    with pytest.raises(DatabaseError):
        carry_out(message)
    assert carry_out(message) == Run.SUCCESS


def test_a_worker_that_was_frozen_gives_a_sign_of_life_before_it_takes_a_run(
    scheduler: BackgroundScheduler, outbox: Outbox
) -> None:
    """It counts as lost, and so would what it takes."""
    add(scheduler, callables.note)
    message = message_of(outbox)
    worker = remote_worker.this_worker()
    SchedulerInstance.objects.filter(pk=worker.id).update(role=SchedulerInstance.Role.LOST)
    worker._beat_at -= 60
    assert carry_out(message) == Run.SUCCESS
    assert role_of_worker() == SchedulerInstance.Role.WORKER


@pytest.fixture
def engine(transactional_db: None) -> Iterator[subprocess.Popen[str]]:
    """A worker in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "jobstore.tests.executors.engine"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=SchedulerCommand.everything(),
    )
    yield process
    process.kill()
    process.communicate()


def test_a_run_whose_worker_is_killed_is_lost_within_seconds(
    engine: subprocess.Popen[str], scheduler: BackgroundScheduler, outbox: Outbox
) -> None:
    add(scheduler, callables.sleep, args=[60])
    message = message_of(outbox)
    assert engine.stdin is not None
    engine.stdin.write(f"{message.run_id} {message.attempt}\n")
    engine.stdin.flush()
    eventually(lambda: Run.objects.filter(status=Run.RUNNING).exists(), 20)
    engine.kill()
    eventually(lambda: Run.objects.filter(status=Run.LOST).exists(), 20)


def test_a_worker_that_leaves_signs_off(scheduler: BackgroundScheduler, outbox: Outbox) -> None:
    add(scheduler, callables.note)
    carry_out(message_of(outbox))
    remote_worker.leave()
    assert role_of_worker() == SchedulerInstance.Role.STOPPED


def test_an_idle_worker_counts_as_alive(scheduler: BackgroundScheduler, outbox: Outbox) -> None:
    add(scheduler, callables.note)
    carry_out(message_of(outbox))
    time.sleep(4)  # longer than a process may be silent here
    assert role_of_worker() == SchedulerInstance.Role.WORKER
