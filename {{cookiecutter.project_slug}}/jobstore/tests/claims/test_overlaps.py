"""Times that come while the run before goes on: they wait, or cancel it, and none is lost."""

import datetime as dt
import time
from collections.abc import Callable
from typing import Any

import pytest
from apscheduler.schedulers.background import BackgroundScheduler
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from jobstore import api
from jobstore.claims import due, overlaps
from jobstore.executors.elsewhere import ElsewhereExecutor, Message
from jobstore.leadership import lease
from jobstore.models import (
    DjangoJob,
    DjangoJobExecution,
    SchedulerInstance,
    SchedulerLease,
    database_now,
)
from jobstore.tests import callables
from jobstore.tests.conftest import StartScheduler, eventually
from jobstore.tests.statements import statements_of_threads

pytestmark = pytest.mark.django_db(transaction=True)

Run = DjangoJobExecution
SECOND = dt.timedelta(seconds=1)
NOON = dt.datetime(2026, 6, 1, 12, tzinfo=dt.UTC)


def add(function: Callable[..., Any], **options: Any) -> DjangoJob:
    """Add a job that is due each second."""
    given: dict[str, Any] = {"id": "job", "seconds": 1, "misfire_grace_time": 1} | options
    return api.add_job(function, "interval", **given)


def let_wait(job_id: str = "job", seconds: float = 2.0) -> None:
    """Let a run block, and its job be due all the while."""
    eventually(lambda: "blocked" in callables.calls)
    eventually(lambda: DjangoJob.objects.get(pk=job_id).next_run_time < database_now("default"))
    time.sleep(seconds)


def rows(status: str) -> int:
    return Run.objects.filter(status=status).count()


def most_at_once() -> int:
    """Return how many runs of one job were ever under way at the same time."""
    changes = []
    for run in Run.objects.exclude(started_at=None).exclude(finished=None):
        changes += [(run.started_at, 1), (run.finished, -1)]
    level = highest = 0
    for _, change in sorted(changes):
        level += change
        highest = max(highest, level)
    return highest


# --- Waiting --------------------------------------------------------------------------------------


def test_a_time_waits_for_the_run_before_and_then_runs(start_scheduler: StartScheduler) -> None:
    start_scheduler()
    add(callables.block, overlap="queue", misfire_grace_time=1)
    let_wait(seconds=2.5)
    waited = DjangoJob.objects.get().next_run_time
    assert Run.objects.count() == 1
    callables.release.set()
    eventually(lambda: rows(Run.SUCCESS) >= 2)
    assert Run.objects.exclude(status__in=(Run.SUCCESS, Run.RUNNING)).count() == 0
    second = Run.objects.order_by("run_time")[1]
    assert waited is not None and second.run_time >= waited
    assert most_at_once() == 1


def test_all_waiting_times_run_one_after_the_other_if_they_do_not_coalesce(
    start_scheduler: StartScheduler,
) -> None:
    start_scheduler()
    first = add(callables.block, overlap="queue", catch_up="all").next_run_time
    let_wait(seconds=2.5)
    callables.release.set()
    eventually(lambda: rows(Run.SUCCESS) >= 4)
    api.pause("job")
    assert first is not None
    found = list(Run.objects.order_by("run_time").values_list("run_time", flat=True))
    assert found[:4] == [found[0] + number * SECOND for number in range(4)]
    assert rows(Run.MAX_INSTANCES) == rows(Run.MISSED) == 0
    eventually(lambda: rows(Run.RUNNING) == 0)
    assert most_at_once() == 1


def test_by_default_a_time_is_skipped_as_before(start_scheduler: StartScheduler) -> None:
    start_scheduler()
    add(callables.block)
    eventually(lambda: rows(Run.MAX_INSTANCES))


def test_of_two_instances_both_must_run_before_a_time_waits(
    start_scheduler: StartScheduler,
) -> None:
    start_scheduler()
    add(callables.block, overlap="queue", max_instances=2)
    eventually(lambda: callables.calls.count("blocked") == 2)
    time.sleep(1.5)
    assert Run.objects.count() == 2
    callables.release.set()
    eventually(lambda: rows(Run.SUCCESS) >= 3)
    api.pause("job")
    assert most_at_once() <= 2


def test_jobs_that_wait_hold_up_no_others_however_many_they_are(
    start_scheduler: StartScheduler,
) -> None:
    """They are due for longest, and a claim reads only as many jobs as can start."""
    start_scheduler(threads=3)
    past = database_now("default")
    for number in range(12):
        add(callables.note, id=f"waits-{number}", overlap="queue", paused=True)
        Run.objects.create(
            job_id=f"waits-{number}", status=Run.RUNNING, run_time=past, claimed_at=past
        )
    DjangoJob.objects.update(next_run_time=past - SECOND)
    add(callables.note, id="other", args=["other"], catch_up="all")
    eventually(lambda: callables.calls.count("other") >= 3)
    delays = [run.start_delay for run in Run.objects.filter(job="other", status=Run.SUCCESS)]
    assert sorted(delay for delay in delays if delay)[len(delays) // 2] < 0.5 * SECOND
    assert "ran" not in callables.calls
    assert rows(Run.MAX_INSTANCES) == 0


def test_waiting_costs_a_few_statements_a_second(start_scheduler: StartScheduler) -> None:
    with statements_of_threads() as seen:
        start_scheduler()
        add(callables.block, overlap="queue")
        let_wait(seconds=0.5)
        before = len(seen.of("APScheduler"))
        time.sleep(3)
        looks = [sql for sql in seen.of("APScheduler")[before:] if "job.overlap <>" in sql]
    # One a second, and one at each renewal of the lease, which tests have several times a second.
    assert 1 <= len(looks) <= 30, len(looks)


def test_a_run_that_ends_between_two_statements_costs_no_time(
    start_scheduler: StartScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job was read while it waited, and nothing waits any more."""
    monkeypatch.setattr(due, "waiting_jobs", lambda *args, **options: [])
    start_scheduler()
    add(callables.block, overlap="queue")
    let_wait(seconds=0.5)
    assert Run.objects.count() == 1


def test_jobs_without_such_an_option_are_asked_for_as_before() -> None:
    with CaptureQueriesContext(connection) as captured:
        due.due_jobs(NOON, 10, without=(), ended=(), using="default")
        due.first_run_time(without=(), using="default")
    found, first = (query["sql"] for query in captured.captured_queries)
    assert found.count("jobstore_djangojobexecution") == 1
    assert "jobstore_djangojobexecution" not in first


def test_a_time_that_waits_is_not_lost_at_a_take_over(start_scheduler: StartScheduler) -> None:
    """The next scheduler finds it due, and how long it waited is told by the rows."""
    now = database_now("default")
    gone = SchedulerInstance.objects.create(host="gone", pid=1, started_at=now, heartbeat_at=now)
    Run.objects.create(
        job_id="job",
        status=Run.RUNNING,
        run_time=now - 100 * SECOND,
        claimed_at=now - 100 * SECOND,
        epoch=1,
        instance=gone,
    )
    add(callables.note, overlap="queue", hours=1, seconds=0)
    DjangoJob.objects.update(next_run_time=now - 50 * SECOND)
    start_scheduler()
    time.sleep(1)
    assert callables.calls == []
    Run.objects.filter(instance=gone).update(
        status=Run.LOST, finished=database_now("default"), instance=None
    )
    eventually(lambda: callables.calls == ["ran"])
    assert rows(Run.MISSED) == 0


def test_a_time_that_came_while_nothing_ran_is_late_all_the_same(
    start_scheduler: StartScheduler,
) -> None:
    now = database_now("default")
    Run.objects.create(
        job_id="job",
        status=Run.SUCCESS,
        run_time=now - 100 * SECOND,
        claimed_at=now - 100 * SECOND,
        finished=now - 90 * SECOND,
        epoch=1,
    )
    add(callables.note, overlap="queue", hours=1, seconds=0)
    DjangoJob.objects.update(next_run_time=now - 50 * SECOND)
    start_scheduler()
    eventually(lambda: rows(Run.MISSED) == 1)
    assert callables.calls == []


def test_a_job_that_is_paused_while_it_waits_stays_so(start_scheduler: StartScheduler) -> None:
    scheduler = start_scheduler()
    add(callables.block, overlap="queue")
    let_wait(seconds=0.5)
    api.pause("job")
    callables.release.set()
    eventually(lambda: rows(Run.SUCCESS) == 1)
    time.sleep(0.5)
    assert Run.objects.count() == 1
    dispatcher = scheduler._jobstores["default"]._dispatcher
    eventually(lambda: not dispatcher.waits)


# --- Health ---------------------------------------------------------------------------------------


def health() -> str:
    try:
        call_command("scheduler_status", verbosity=0)
    except CommandError as error:
        return str(error)
    return "ok"


def hold_the_lease() -> None:
    now = database_now("default")
    one = SchedulerInstance.objects.create(
        host="here", pid=1, role="active", started_at=now, heartbeat_at=now
    )
    lease.acquire(one.pk, "default")
    SchedulerLease.objects.update(acquired_at=now - 60 * SECOND)


@pytest.mark.parametrize(
    ("overlap", "status", "excused"),
    [
        ("queue", Run.RUNNING, True),
        ("cancel_running", Run.QUEUED, True),
        ("skip", Run.RUNNING, False),
        ("queue", Run.SUCCESS, False),
    ],
)
def test_only_a_job_that_waits_for_its_own_run_is_not_late(
    overlap: str, status: str, excused: bool
) -> None:
    hold_the_lease()
    now = database_now("default")
    add(callables.note, overlap=overlap)
    DjangoJob.objects.update(next_run_time=now - 100 * SECOND)
    Run.objects.create(job_id="job", status=status, run_time=now, claimed_at=now)
    assert ("has been due" not in health()) is excused


def test_a_job_that_waits_excuses_no_other() -> None:
    hold_the_lease()
    now = database_now("default")
    add(callables.note, overlap="queue")
    add(callables.note, id="other")
    DjangoJob.objects.update(next_run_time=now - 100 * SECOND)
    Run.objects.create(job_id="job", status=Run.RUNNING, run_time=now, claimed_at=now)
    assert "has been due" in health()


# --- Cancelling -----------------------------------------------------------------------------------


def test_the_next_time_has_the_run_before_cancelled_and_runs(
    start_scheduler: StartScheduler,
) -> None:
    start_scheduler()
    add(callables.work_until_cancelled, overlap="cancel_running")
    eventually(lambda: rows(Run.CANCELLED) >= 2)
    api.pause("job")
    first = Run.objects.order_by("run_time")[0]
    assert first.cancel_requested_by == overlaps.SUCCESSOR
    assert (first.exception or "").startswith("Cancelled by its next run after ")
    assert rows(Run.MAX_INSTANCES) == rows(Run.MISSED) == 0
    if (run := Run.objects.filter(status=Run.RUNNING).last()) is not None:
        api.cancel(run)
    eventually(lambda: rows(Run.RUNNING) == 0)
    assert most_at_once() == 1


def test_a_run_that_nobody_can_end_is_asked_once_and_waited_for(
    start_scheduler: StartScheduler,
) -> None:
    start_scheduler()
    add(callables.block, overlap="cancel_running")
    let_wait(seconds=1.5)
    [run] = Run.objects.all()
    asked = run.cancel_requested_at
    assert asked and run.status == Run.RUNNING
    time.sleep(1.5)
    run.refresh_from_db()
    assert run.cancel_requested_at == asked
    callables.release.set()
    eventually(lambda: rows(Run.SUCCESS) >= 2)


def test_a_run_is_cancelled_although_it_has_the_only_thread(
    start_scheduler: StartScheduler,
) -> None:
    start_scheduler(threads=1)
    add(callables.work_until_cancelled, overlap="cancel_running")
    eventually(lambda: rows(Run.CANCELLED))


def test_with_overlap_queue_nobody_is_cancelled(start_scheduler: StartScheduler) -> None:
    start_scheduler()
    add(callables.block, overlap="queue")
    let_wait(seconds=1.5)
    assert Run.objects.filter(cancel_requested_at__isnull=False).count() == 0


class Nowhere(ElsewhereExecutor):
    """Keeps its messages."""

    has_queues = True

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[Message] = []

    def publish(self, message: Message) -> None:
        self.messages.append(message)


def elsewhere(scheduler: BackgroundScheduler, **columns: Any) -> Nowhere:
    """Let a job be due each second whose runs wait for workers elsewhere."""
    executor = Nowhere()
    scheduler.add_executor(executor, "elsewhere")
    scheduler.add_job(
        callables.note, "interval", id="job", seconds=1, executor="elsewhere", next_run_time=None
    )
    DjangoJob.objects.update(**columns)
    api.resume("job")
    return executor


def test_a_run_that_no_worker_has_taken_gives_way_to_the_next(
    start_scheduler: StartScheduler,
) -> None:
    executor = elsewhere(start_scheduler(), overlap="cancel_running")
    eventually(lambda: len(executor.messages) >= 3)
    api.pause("job")
    assert rows(Run.QUEUED) == 1
    assert rows(Run.CANCELLED) == Run.objects.count() - 1 >= 2
    assert rows(Run.MAX_INSTANCES) == 0


def test_a_run_that_no_worker_has_taken_keeps_the_next_one_waiting(
    start_scheduler: StartScheduler,
) -> None:
    executor = elsewhere(start_scheduler(), overlap="queue")
    eventually(lambda: executor.messages)
    time.sleep(2)
    assert Run.objects.count() == 1
    Run.objects.update(status=Run.SUCCESS, finished=database_now("default"))  # by a worker
    eventually(lambda: len(executor.messages) == 2)


# --- Queues ---------------------------------------------------------------------------------------


def test_a_message_names_the_queue_of_its_job(start_scheduler: StartScheduler) -> None:
    executor = elsewhere(start_scheduler(), queue="heavy")
    eventually(lambda: executor.messages)
    api.run_now("job")
    eventually(lambda: len(executor.messages) == 2 or rows(Run.MAX_INSTANCES))
    assert {message.queue for message in executor.messages} == {"heavy"}


def test_who_has_lost_the_lease_cancels_nothing() -> None:
    hold_the_lease()
    now = database_now("default")
    Run.objects.create(job_id="job", status=Run.RUNNING, run_time=now, claimed_at=now)
    stranger = lease.Term(SchedulerInstance.objects.get().pk, 7)
    with pytest.raises(lease.NotHolder):
        overlaps.cancel_predecessors(
            [due.Waiting("job", "cancel_running")], stranger, (), "default"
        )
    assert Run.objects.get().cancel_requested_at is None


def test_a_queued_run_gives_way_and_a_running_one_is_asked() -> None:
    hold_the_lease()
    now = database_now("default")
    term = lease.Term(SchedulerInstance.objects.get().pk, SchedulerLease.objects.get().epoch)
    for number, status in enumerate([Run.QUEUED, Run.RUNNING, Run.RUNNING, Run.REQUESTED]):
        at = now + number * SECOND
        Run.objects.create(job_id="job", status=status, run_time=at, claimed_at=at)
    Run.objects.create(job_id="other", status=Run.RUNNING, run_time=now, claimed_at=now)
    ended = Run.objects.filter(status=Run.RUNNING).order_by("run_time")[1:2]
    waiting = [due.Waiting("job", "cancel_running"), due.Waiting("other", "queue")]
    count = overlaps.cancel_predecessors(waiting, term, [run.pk for run in ended], "default")
    found = Run.objects.filter(job="job").order_by("run_time")
    assert [run.status for run in found] == [
        Run.CANCELLED, Run.RUNNING, Run.RUNNING, Run.REQUESTED,
    ]  # fmt: skip
    asked = [run.cancel_requested_by for run in found]
    assert asked in ([None, "its next run", None, None], [None, None, "its next run", None])
    assert count == 2
    assert found[0].exception == "Cancelled by its next run before it started."
    assert Run.objects.get(job="other").cancel_requested_at is None


# --- How long a time has waited -------------------------------------------------------------------


def spans(*pairs: tuple[int, int]) -> list[tuple[dt.datetime, dt.datetime]]:
    return [(NOON + begin * SECOND, NOON + end * SECOND) for begin, end in pairs]


@pytest.mark.parametrize(
    ("given", "number", "found"),
    [
        ([(0, 5)], 1, [(0, 5)]),
        ([(0, 5), (5, 9)], 1, [(0, 9)]),
        ([(0, 5), (6, 9)], 1, [(0, 5), (6, 9)]),
        ([(0, 5), (3, 9)], 1, [(0, 9)]),
        ([(0, 5), (3, 9)], 2, [(3, 5)]),
        ([(0, 5), (3, 9)], 3, []),
        ([(4, 4)], 1, []),
        ([], 1, []),
    ],
)
def test_a_job_is_busy_while_as_many_runs_as_may_be_are_under_way(
    given: list[tuple[int, int]], number: int, found: list[tuple[int, int]]
) -> None:
    assert overlaps.covered(spans(*given), number) == spans(*found)


# --- Times that passed ----------------------------------------------------------------------------


@pytest.mark.parametrize(("catch_up", "kept"), [("2", 2), ("none", 0)])
def test_two_days_are_accounted_for_and_only_the_last_times_run(
    start_scheduler: StartScheduler, catch_up: str, kept: int
) -> None:
    last = database_now("default") - 90 * SECOND
    first = last - 1440 * 120 * SECOND
    start = {"seconds": 0, "minutes": 2, "start_date": first}
    add(callables.note, misfire_grace_time=None, catch_up=catch_up, **start)
    DjangoJob.objects.update(next_run_time=first)
    began = time.monotonic()
    start_scheduler()
    eventually(lambda: DjangoJob.objects.get().next_run_time > last)
    eventually(lambda: rows(Run.SUCCESS) == kept)
    assert time.monotonic() - began < 10
    [left_out] = Run.objects.filter(status=Run.MISSED)
    assert left_out.times == 1441 - kept
    assert f"is left out: catch_up is {catch_up}" in (left_out.exception or "")
    assert Run.objects.count() == 1 + kept
