"""A run that failed is tried again if its job says so: once for each failure, and not for ever."""

import datetime as dt
import itertools
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext

from jobstore import api
from jobstore.history import recorder, tracebacks
from jobstore.history.recorder import Recorder, Result
from jobstore.leadership import losses
from jobstore.leadership.retries import Retries, delay_of
from jobstore.models import DjangoJob, DjangoJobExecution, database_now
from jobstore.storage import run_arguments
from jobstore.tests import callables
from jobstore.tests.conftest import StartScheduler, eventually

pytestmark = pytest.mark.django_db(transaction=True)

US = uuid.uuid4()
Run = DjangoJobExecution
HOUR = dt.timedelta(hours=1)


def job(job_id: str = "job", **options: Any) -> DjangoJob:
    options = {"retries": 2, "next_run_time": database_now("default") + HOUR} | options
    return DjangoJob.all_objects.create(pk=job_id, job_state=b"", **options)


def running(job_id: str = "job", **fields: Any) -> DjangoJobExecution:
    now = database_now("default")
    fields = {"claimed_at": now, "run_time": now, "instance_id": US} | fields
    return Run.objects.create(job_id=job_id, status=Run.RUNNING, **fields)


def end(*runs: DjangoJobExecution, status: str = Run.ERROR, error: Any = ValueError) -> None:
    """Write results as the recorder's thread does."""
    names: Any = {"exception_names": tracebacks.names_of(error)} if error else {}
    finished = database_now("default")
    results = [Result(run.pk, status, finished=finished, **names) for run in runs]
    recorder.write(results, US, "default", Retries(US, "default"))


def requested() -> list[DjangoJobExecution]:
    return list(Run.objects.filter(status=Run.REQUESTED).order_by("pk"))


def test_a_failed_run_is_requested_again_and_both_rows_know_each_other() -> None:
    job()
    first = running()
    end(first)
    (again,) = requested()
    first.refresh_from_db()
    assert (again.attempt, again.attempt_of) == (2, first.pk)
    assert (first.status, first.retry_time) == (Run.ERROR, again.run_time)
    assert again.requested_by == f"retry of run {first.pk}"
    second = again
    Run.objects.filter(pk=second.pk).update(status=Run.RUNNING, instance_id=US)
    end(second)
    (third,) = requested()
    assert (third.attempt, third.attempt_of) == (3, first.pk)


def test_after_the_last_attempt_there_is_no_other() -> None:
    job(retries=2)
    end(running(attempt=3))
    assert requested() == []


def test_a_run_that_succeeds_is_not_tried_again() -> None:
    job()
    end(running(), status=Run.SUCCESS, error=None)
    assert requested() == []


def test_a_job_without_retries_has_none() -> None:
    job(retries=0)
    end(running())
    assert requested() == []


def test_a_run_that_timed_out_is_tried_again() -> None:
    job(retry_on="TimeoutError")
    end(running(), status=Run.TIMED_OUT, error=None)
    assert len(requested()) == 1


def test_a_late_result_of_a_run_that_was_lost_asks_for_nothing() -> None:
    job()
    late = running()
    losses.mark_lost([US], "default", "gone")
    end(late)
    assert requested() == []


def test_a_result_that_is_written_again_asks_once() -> None:
    job()
    run = running()
    end(run)
    end(run)
    assert len(requested()) == 1


def test_the_result_and_the_next_attempt_are_one_transaction(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("killed between the two")

    job()
    run = running()
    monkeypatch.setattr(Retries, "request", fail)
    with pytest.raises(RuntimeError):
        end(run)
    run.refresh_from_db()
    assert run.status == Run.RUNNING


@pytest.mark.parametrize(
    ("retry_on", "error", "is_tried"),
    [
        ("", ValueError, True),
        ("", SystemExit, False),
        ("SystemExit", SystemExit, True),
        ("ValueError", ValueError, True),
        ("ValueError", KeyError, False),
        ("LookupError", KeyError, True),
        ("ConnectionError, LookupError", KeyError, True),
        ("django.db.utils.DatabaseError", OperationalError, True),
        ("django.db.DatabaseError", OperationalError, True),
        ("DatabaseError", OperationalError, False),
    ],
)
def test_retry_on_names_what_is_worth_another_attempt(
    retry_on: str, error: type[BaseException], is_tried: bool
) -> None:
    job(retry_on=retry_on)
    end(running(), error=error)
    assert bool(requested()) == is_tried


@pytest.mark.parametrize(
    "options",
    [
        {"next_run_time": None},
        {"next_run_time": None, "retired_at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC)},
        {"quarantined_at": dt.datetime(2026, 1, 1, tzinfo=dt.UTC)},
    ],
    ids=["paused", "retired", "in quarantine"],
)
def test_a_job_that_somebody_or_something_stopped_is_not_tried_again(
    options: dict[str, Any],
) -> None:
    job(**options)
    end(running())
    assert requested() == []


def test_what_a_lost_run_asks_for_is_up_to_on_lost() -> None:
    job(on_lost="record", retries=5)
    end(running(), status=Run.LOST, error=None)
    assert requested() == []
    job("other", on_lost="rerun", retries=0)
    end(running("other"), status=Run.LOST, error=None)
    assert [one.job_id for one in requested()] == ["other"]


def test_a_run_that_somebody_cancelled_is_not_tried_again() -> None:
    job()
    end(running(cancel_requested_at=database_now("default")))
    assert requested() == []


def test_another_attempt_has_the_arguments_of_the_first() -> None:
    api.add_job(callables.note, "interval", hours=1, id="job", args=["usual"])
    DjangoJob.objects.update(retries=1)
    run = api.run_now("job", args=["special"])
    Run.objects.filter(pk=run.pk).update(status=Run.RUNNING, instance=US)
    end(run)
    (again,) = requested()
    assert run_arguments.restore(again) == (("special",), {})


def test_a_run_whose_arguments_were_forged_is_not_tried_again() -> None:
    api.add_job(callables.note, "interval", hours=1, id="job", args=["usual"])
    DjangoJob.objects.update(retries=1)
    run = api.run_now("job", args=["special"])
    Run.objects.filter(pk=run.pk).update(status=Run.RUNNING, instance=US, arguments="'other'")
    end(run)
    run.refresh_from_db()
    assert (run.status, run.retry_time, requested()) == (Run.ERROR, None, [])


def test_the_delay_doubles_up_to_an_hour_and_chance_spreads_it() -> None:
    one = DjangoJob(retry_delay=10.0)
    for attempt, delay in ((1, 10), (2, 20), (3, 40)):
        seconds = [delay_of(one, attempt) for _ in range(50)]
        assert 0.9 * delay <= min(seconds) < max(seconds) <= 1.1 * delay
    assert 0.9 * 3600 <= delay_of(one, 30_000) <= 3600


def test_another_attempt_waits_for_its_delay() -> None:
    job(retry_delay=100.0)
    before = database_now("default")
    end(running())
    (again,) = requested()
    assert 80 < (again.run_time - before).total_seconds() < 130


def test_a_result_that_waited_for_the_database_is_tried_again_from_now_on() -> None:
    job(retry_delay=1.0)
    run = running()
    now = database_now("default")
    late = Result(run.pk, Run.ERROR, finished=now - HOUR)
    recorder.write([late], US, "default", Retries(US, "default"))
    assert requested()[0].run_time >= now


def test_a_thousand_runs_that_fail_at_once_take_few_statements() -> None:
    for number in range(10):
        job(f"job {number}", retry_delay=0.0)
    now = database_now("default")
    rows = [
        Run(
            job_id=f"job {number % 10}",
            status=Run.RUNNING,
            run_time=now - number * dt.timedelta(milliseconds=1),
            instance_id=US,
        )
        for number in range(1000)
    ]
    Run.objects.bulk_create(rows)
    runs = list(Run.objects.order_by("pk"))
    with CaptureQueriesContext(connection) as captured:
        end(*runs[:500])
        end(*runs[500:])
    reads_and_requests = [one for one in captured if "UPDATE" not in one["sql"][:40]]
    assert len(reads_and_requests) < 100
    assert len(requested()) == 1000
    assert Run.objects.filter(status=Run.ERROR).exclude(retry_time=None).count() == 1000


def test_results_without_a_failure_read_nothing() -> None:
    job()
    runs = [running(run_time=database_now("default")) for _ in range(3)]
    with CaptureQueriesContext(connection) as captured:
        end(*runs, status=Run.SUCCESS, error=None)
    sent = [one["sql"] for one in captured]
    assert not [sql for sql in sent if sql.startswith("SELECT") and "djangojob" in sql]


@pytest.fixture
def subject() -> Iterator[Recorder]:
    one = Recorder(US, "default", Retries(US, "default"))
    yield one
    one.stop(5.0)


def test_a_retry_that_cannot_be_written_holds_back_no_result(
    subject: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise ValueError("unfit")

    job()
    monkeypatch.setattr(Retries, "request", fail)
    run = running()
    subject.put(Result(run.pk, Run.ERROR, finished=database_now("default")))
    assert subject.flush(5.0)
    run.refresh_from_db()
    assert (run.status, run.retry_time) == (Run.ERROR, None)


def test_a_result_that_cannot_be_stored_is_tried_again_all_the_same(subject: Recorder) -> None:
    job()
    run = running()
    bad: Any = {"exception_type": "x" * 1000, "exception": "kept out \x00"}
    subject.put(Result(run.pk, Run.ERROR, finished=database_now("default"), **bad))
    assert subject.flush(5.0)
    assert len(requested()) == 1


def test_a_job_that_always_fails_ends_after_its_last_attempt(
    start_scheduler: StartScheduler,
) -> None:
    scheduler = start_scheduler()
    scheduler.add_job(callables.fail, "interval", hours=1, id="job")
    DjangoJob.objects.update(retries=2, retry_delay=0.0)
    api.run_now("job")
    eventually(lambda: Run.objects.filter(status=Run.ERROR).count() == 3)
    threading.Event().wait(1.0)
    assert list(Run.objects.order_by("pk").values_list("attempt", flat=True)) == [1, 2, 3]
    assert callables.calls == ["failed"] * 3


def test_a_one_off_job_that_fails_is_tried_again(start_scheduler: StartScheduler) -> None:
    scheduler = start_scheduler()
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(milliseconds=500)
    scheduler.add_job(callables.fail, "date", run_date=soon, id="once")
    DjangoJob.objects.update(retries=2, retry_delay=0.0)
    eventually(lambda: Run.objects.filter(status=Run.ERROR).count() == 3)
    assert not DjangoJob.objects.filter(pk="once").exists()


def test_a_retry_outlives_the_scheduler_that_asked_for_it(start_scheduler: StartScheduler) -> None:
    former = start_scheduler()
    former.add_job(callables.fail, "interval", hours=1, id="job")
    DjangoJob.objects.update(retries=1, retry_delay=1.0)
    api.run_now("job")
    eventually(lambda: Run.objects.filter(status=Run.REQUESTED, attempt=2).exists())
    former.shutdown()
    start_scheduler()
    eventually(lambda: Run.objects.filter(status=Run.ERROR, attempt=2).exists())


def test_a_scheduler_does_not_look_for_retries_that_wait(start_scheduler: StartScheduler) -> None:
    Run.objects.request("job", "retry of run 1", 2, attempt_of=1, put_off=100.0)
    scheduler = start_scheduler()
    elector = scheduler._jobstores["default"].elector
    eventually(lambda: elector.is_idle)
    assert not elector.requested


def test_a_retry_that_finds_its_successor_running_is_left_out_with_a_reason(
    start_scheduler: StartScheduler,
) -> None:
    scheduler = start_scheduler()
    scheduler.add_job(callables.block, "interval", hours=1, id="job")
    api.run_now("job")
    eventually(lambda: "blocked" in callables.calls)
    manager = Run.objects
    manager.request("job", "retry of run 1", 2, attempt_of=1)
    left_out = eventually(lambda: Run.objects.filter(status=Run.MAX_INSTANCES).first())
    assert left_out.exception == (
        "Attempt 2 of run 1 was left out. Maximum number of running instances reached (1)."
    )


def test_a_retry_of_a_job_that_is_paused_meanwhile_is_left_out_with_a_reason(
    start_scheduler: StartScheduler,
) -> None:
    scheduler = start_scheduler()
    scheduler.add_job(callables.note, "interval", hours=1, id="job")
    api.pause("job")
    Run.objects.request("job", "retry of run 1", 2, attempt_of=1)
    left_out = eventually(lambda: Run.objects.filter(status=Run.CANCELLED).first())
    assert left_out.exception == "Attempt 2 of run 1 was left out. The job is paused."
    assert callables.calls == []


def test_a_retry_of_a_job_that_takes_longer_than_its_interval_overlaps_nothing(
    start_scheduler: StartScheduler,
) -> None:
    scheduler = start_scheduler()
    scheduler.add_job(callables.sleep_and_fail, "interval", seconds=0.5, id="job", args=[0.7])
    # The time half a second after the end comes before the retry does.
    DjangoJob.objects.update(retries=2, retry_delay=0.6)
    left_out = Run.objects.filter(status=Run.MAX_INSTANCES, attempt__gt=1)
    eventually(lambda: Run.objects.filter(status=Run.ERROR).count() > 2 and left_out.exists(), 30)
    api.pause("job")
    eventually(lambda: not Run.objects.filter(status=Run.RUNNING).exists())
    ran = Run.objects.exclude(started_at=None).order_by("started_at")
    spans: Any = list(ran.values_list("started_at", "finished"))
    assert all(end <= begin for (_, end), (begin, _) in itertools.pairwise(spans))
    assert all("was left out" in (run.exception or "") for run in left_out)
