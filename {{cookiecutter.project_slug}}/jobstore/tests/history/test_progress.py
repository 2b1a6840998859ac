"""How far a run has come: told as often as a job likes, written seldom, and never at its cost."""

import decimal
import os
import re
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.utils import translation
from django.utils.translation import gettext_lazy

from jobstore.execution.run import ActiveRun
from jobstore.history import progress, recorder
from jobstore.history.progress import Progress, worded
from jobstore.history.recorder import Recorder
from jobstore.models import MAX_PROGRESS_TEXT, DjangoJob, DjangoJobExecution, database_now
from jobstore.runs import current_run
from jobstore.runs import progress as tell
from jobstore.tests import callables
from jobstore.tests.conftest import StartScheduler, eventually
from jobstore.tests.history.test_recorder import US, result, running
from jobstore.util import as_aware, release_connections

pytestmark = pytest.mark.django_db(transaction=True)

Run = DjangoJobExecution


@pytest.fixture
def subject() -> Iterator[Recorder]:
    one = Recorder(US, "default")
    yield one
    one.stop(5.0)


def stored(run: DjangoJobExecution) -> tuple[float | None, float | None, str | None]:
    run.refresh_from_db()
    return run.progress_done, run.progress_total, run.progress_text


# --- What is told ---------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 3, 2.5, decimal.Decimal("0.1"), 10**20])
def test_every_number_is_a_progress(number: Any) -> None:
    assert Progress.of(number, 1 + number) == Progress(float(number), float(1 + number))


NONSENSE: dict[str, Any] = {
    "done must be 0 or more, and is -1": (-1,),
    "done must be a number, and is '3'": ("3",),
    "done must be a number, and is None": (None,),
    "done must be a number, and is True": (True,),
    "done must be a finite number, and is nan": (float("nan"),),
    "done must be a finite number, and is inf": (float("inf"),),
    "done must be a finite number, and is <an integer of 99999 bits>": (2**99_998,),
    "done must be a finite number, and is Decimal('sNaN')": (decimal.Decimal("sNaN"),),
    "total must be more than 0, and is 0": (0, 0),
    "total must be more than 0, and is -5": (1, -5),
    "total must be a finite number, and is nan": (1, float("nan")),
    "total must be a number, and is [1, 2]": (1, [1, 2]),
    "text must be a str, and is b'half'": (1, 2, b"half"),
}


@pytest.mark.parametrize("said", NONSENSE)
def test_nonsense_is_refused_with_the_name_of_the_argument(said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        Progress.of(*NONSENSE[said])


@pytest.mark.parametrize("text", ["x" * 10_000, "\x00\ud800" * 500, "👩‍🚀" * 300, "a\nb\x1b[31m"])
def test_a_text_is_bounded_and_storable(text: str) -> None:
    run = running()
    progress.write({run.pk: Progress.of(1, 2, text)}, US, "default")
    kept = stored(run)[2]
    assert kept and len(kept) <= MAX_PROGRESS_TEXT and kept.isprintable()


def test_a_text_may_wait_for_its_translation() -> None:
    assert Progress.of(1, 2, gettext_lazy("Home")).text == "Home"


@pytest.mark.usefixtures("english_and_utc")
@pytest.mark.parametrize(
    ("told", "said"),
    [
        ((1200, 5000, "importing"), "24 % (1,200 of 5,000): importing"),
        ((4999, 5000), "99 % (4,999 of 5,000)"),
        ((6, 5), "100 % (6 of 5)"),
        ((2.5,), "2.50 done"),
        ((0, None, "waiting"), "0 done: waiting"),
    ],
)
def test_it_is_told_in_words(told: Any, said: str) -> None:
    with translation.override("en-us"):
        assert worded(Run(**progress.values(Progress.of(*told)))) == said
        assert worded(Run()) == ""


# --- When it is written ---------------------------------------------------------------------------


def test_a_tight_loop_costs_a_statement_a_second_and_the_last_is_written_before_the_end(
    subject: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes: list[Any] = []
    write = progress.write

    def count(*args: Any) -> None:
        writes.append(args)
        write(*args)

    monkeypatch.setattr(progress, "write", count)
    row = running()
    run = ActiveRun(row.pk, "a", as_aware(row.run_time), reporter=subject.report)
    until, number = time.monotonic() + 1.5, 0
    while time.monotonic() < until:
        number += 1
        run.progress(number, 10**9)
    assert number > 10_000
    assert 1 <= len(writes) <= 3
    subject.put(result(row))
    assert subject.flush(5.0)
    assert stored(row) == (number, 10**9, "")
    assert row.status == Run.SUCCESS
    assert len(writes) <= 4


def test_what_is_told_last_is_written_within_a_second_although_the_job_goes_on_in_silence(
    subject: Recorder,
) -> None:
    row = running()
    for number in range(100):
        subject.report(row.pk, Progress(number))
    eventually(lambda: stored(row)[0] == 99, 3.0)


def test_each_run_has_a_pace_of_its_own(subject: Recorder) -> None:
    first, second = running(), running(1)
    subject.report(first.pk, Progress(1))
    eventually(lambda: stored(first)[0] == 1)
    began = time.monotonic()
    subject.report(second.pk, Progress(2))
    eventually(lambda: stored(second)[0] == 2)
    assert time.monotonic() - began < progress.INTERVAL_SECONDS


def test_the_connection_is_given_back_when_nobody_tells_anything(
    subject: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "IDLE_SECONDS", 0.1)
    released = threading.Event()

    def release() -> None:
        release_connections()
        released.set()

    monkeypatch.setattr(recorder, "release_connections", release)
    row = running()
    subject.report(row.pk, Progress(1))
    eventually(lambda: stored(row)[0] == 1)
    assert released.wait(5.0)


def test_a_recorder_that_is_stopped_while_it_writes_a_report_ends(
    subject: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def block(*args: Any) -> None:
        begun.set()
        go_on.wait(5.0)

    monkeypatch.setattr(progress, "write", block)
    subject.report(running().pk, Progress(1))
    assert begun.wait(5.0)
    subject._stopping = True  # as `stop` does, which then waits for a second only
    subject._something.set()
    go_on.set()
    assert subject._thread is not None
    subject._thread.join(5.0)
    assert not subject._thread.is_alive()


# --- Whose it is ----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [Run.LOST, Run.SUCCESS, Run.REQUESTED])
def test_a_late_report_of_a_run_that_is_over_changes_nothing(status: str) -> None:
    row = running()
    Run.objects.update(status=status)
    progress.write({row.pk: Progress(1)}, US, "default")
    assert stored(row)[0] is None


def test_a_report_of_another_process_changes_nothing() -> None:
    row = running()
    progress.write({row.pk: Progress(1)}, uuid.uuid4(), "default")
    assert stored(row)[0] is None


def test_what_is_told_after_the_end_is_left_out(subject: Recorder) -> None:
    row = running()
    run = ActiveRun(row.pk, "a", as_aware(row.run_time), reporter=subject.report)
    run.begin(as_aware(database_now("default")))
    run.end(as_aware(database_now("default")))
    run.progress(1)
    assert run.latest is None


def test_a_child_process_tells_nothing_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    run = ActiveRun(1, "a", as_aware(database_now("default")), pid=os.getpid() + 1)
    run.progress(1)
    run.progress(2)
    assert run.latest is None
    assert [one.getMessage() for one in caplog.records] == [
        "The progress of job 'a' is not shown: it is told in a child process; tell it in the job's"
        " own."
    ]


# --- What may fail --------------------------------------------------------------------------------


def test_an_outage_costs_a_job_nothing_and_holds_up_no_result(
    subject: Recorder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: Any) -> None:
        raise OperationalError("gone")

    row, other = running(), running(1)
    with monkeypatch.context() as patch:
        patch.setattr(progress, "write", fail)
        began = time.monotonic()
        for number in range(1000):
            subject.report(row.pk, Progress(number))
        assert time.monotonic() - began < 1.0
        subject.put(result(other))
        assert subject.flush(5.0)
    assert Run.objects.get(pk=other.pk).status == Run.SUCCESS
    said = [one.getMessage() for one in caplog.records]
    assert said == ["The progress of runs is not written: OperationalError: gone"]
    subject.put(result(row))
    assert subject.flush(5.0)
    assert stored(row)[0] == 999


def test_nothing_is_remembered_of_runs_that_are_over(
    subject: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise OperationalError("no such column")

    monkeypatch.setattr(progress, "write", fail)
    for number in range(20):
        row = running(number)
        subject.report(row.pk, Progress(1))
        subject.put(result(row))
    assert subject.flush(10.0)
    eventually(lambda: not subject._reports._waiting)


def test_nonsense_is_told_once_in_the_log_and_the_job_goes_on(
    subject: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    row = running()
    run = ActiveRun(row.pk, "a", as_aware(row.run_time), reporter=subject.report)
    run.progress(1, 2)
    for _ in range(3):
        run.progress(5, 0)
    assert run.latest == Progress(1, 2)
    assert len(caplog.records) == 1
    assert "job 'a' is not shown: total must be more than 0, and is 0" in caplog.text


# --- With a scheduler, and without ----------------------------------------------------------------


def test_a_job_tells_how_far_it_is_inside_of_its_own_transaction(
    start_scheduler: StartScheduler,
) -> None:
    scheduler = start_scheduler()
    scheduler.add_job(callables.work_in_a_transaction, id="a")
    eventually(lambda: callables.calls)
    row = Run.objects.get()
    if connection.vendor == "sqlite":
        # It has one lock for all, which the job holds.
        assert stored(row)[0] is None
    else:
        eventually(lambda: stored(row) == (1, 4, "half of the half"))
        assert not DjangoJob.objects.filter(name="changed").exists()
    callables.release.set()
    eventually(lambda: Run.objects.get().status == Run.SUCCESS, 15.0)
    assert stored(row) == (3, 4, "done")
    assert DjangoJob.all_objects.get().name == "changed"


def test_a_coroutine_tells_it_too(start_scheduler: StartScheduler) -> None:
    start_scheduler().add_job(callables.work_later, id="a")
    eventually(lambda: Run.objects.filter(status=Run.SUCCESS).exists())
    assert stored(Run.objects.get()) == (1, 2, "")


def test_outside_of_a_run_it_does_nothing() -> None:
    assert current_run() is None
    with transaction.atomic():
        tell(1, 2, "by hand")
        tell("nonsense")  # type: ignore[arg-type]
