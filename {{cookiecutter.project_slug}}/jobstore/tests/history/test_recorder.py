"""Results reach their rows, whatever they hold and however long the database is away."""

import datetime as dt
import threading
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from django.db import OperationalError

from jobstore.history import recorder
from jobstore.history.recorder import Recorder, Result
from jobstore.models import DjangoJobExecution, database_now
from jobstore.tests.conftest import eventually

pytestmark = pytest.mark.django_db(transaction=True)

US = uuid.uuid4()
Run = DjangoJobExecution


@pytest.fixture
def subject() -> Iterator[Recorder]:
    one = Recorder(US, "default")
    yield one
    one.stop(5.0)


def running(offset: int = 0) -> DjangoJobExecution:
    time = database_now("default") + dt.timedelta(seconds=offset)
    return Run.objects.create(job_id="a", status=Run.RUNNING, run_time=time, instance_id=US)


def result(run: DjangoJobExecution, status: str = Run.SUCCESS, **details: Any) -> Result:
    return Result(run.pk, status, finished=database_now("default"), duration=0.25, **details)


def test_a_result_is_written(subject: Recorder) -> None:
    run = running()
    subject.put(result(run))
    assert subject.flush(5.0)
    run.refresh_from_db()
    assert (run.status, str(run.duration)) == (Run.SUCCESS, "0.250000")


def test_many_results_are_all_written(subject: Recorder) -> None:
    runs = [running(offset) for offset in range(50)]
    for run in runs:
        subject.put(result(run))
    assert subject.flush(5.0)
    assert Run.objects.filter(status=Run.SUCCESS).count() == 50


def test_a_result_of_another_process_changes_nothing() -> None:
    run = running()
    recorder.write([result(run)], uuid.uuid4(), "default")
    run.refresh_from_db()
    assert run.status == Run.RUNNING


def test_a_final_status_is_never_replaced() -> None:
    run = running()
    recorder.write([result(run, Run.ERROR)], US, "default")
    recorder.write([result(run, Run.SUCCESS)], US, "default")
    run.refresh_from_db()
    assert run.status == Run.ERROR


def test_results_wait_for_the_database_and_are_written_when_it_is_back(
    subject: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = recorder.write
    away = True

    def interrupted(*args: object) -> None:
        if away:
            raise OperationalError("gone")
        write(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(recorder, "write", interrupted)
    run = running()
    subject.put(result(run))
    assert not subject.flush(0.5)
    away = False
    assert subject.flush(5.0)
    run.refresh_from_db()
    assert run.status == Run.SUCCESS


def test_beyond_the_bound_only_how_a_run_ended_is_kept_and_that_is_said_once(
    subject: Recorder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(recorder, "MAX_WAITING_RESULTS", 3)
    write = recorder.write
    away = True

    def interrupted(*args: Any) -> None:
        if away:
            raise OperationalError("gone")
        write(*args)

    monkeypatch.setattr(recorder, "write", interrupted)
    runs = [running(offset) for offset in range(50)]
    for number, run in enumerate(runs):
        status = Run.ERROR if number % 2 else Run.SUCCESS
        subject.put(result(run, status, exception="x" * 1000, note="left open"))
    assert subject.waiting == 50
    assert sum(one.text_size for one in subject._waiting) < 3 * 1100 + 50 * 200
    away = False
    assert subject.flush(5.0)
    rows = list(Run.objects.order_by("pk"))
    assert [row.status for row in rows] == [Run.SUCCESS, Run.ERROR] * 25
    assert [row.exception is not None for row in rows] == [True] * 3 + [False] * 47
    assert all("given up" in row.note and "left open" in row.note for row in rows[3:])
    said = [one.getMessage() for one in caplog.records if one.levelname == "ERROR"]
    assert said == [
        "More than 3 results wait for the database. Of further ones only the outcome is kept, "
        "without texts.",
        "47 results were kept without their texts.",
    ]


def test_a_result_that_found_no_thread_is_written_with_the_next(
    subject: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    first, second = running(), running(1)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        subject.put(result(first))
    subject.put(result(second))
    assert subject.flush(5.0)
    assert set(Run.objects.values_list("status", flat=True)) == {Run.SUCCESS}


def test_nothing_that_the_database_raises_ends_the_writing(
    subject: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> None:
        raise RuntimeError("again")

    run = running()
    with monkeypatch.context() as patch:
        patch.setattr(recorder, "write", fail)
        patch.setattr(recorder, "release_connections", fail)
        subject.put(result(run))
        assert not subject.flush(0.5)
    assert subject.flush(5.0)


def test_long_texts_that_wait_are_cut_and_no_status_is_lost(
    subject: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "MAX_WAITING_CHARACTERS", 15_000)
    monkeypatch.setattr(recorder, "LINGER_SECONDS", 0.5)
    runs = [running(offset) for offset in range(3)]
    for run in runs:
        subject.put(result(run, Run.ERROR, exception="x" * 10_000))
    assert subject.flush(5.0)
    kept = list(Run.objects.order_by("pk").values_list("status", "exception"))
    assert [status for status, _ in kept] == [Run.ERROR] * 3
    assert [len(text or "") > recorder.SHORT + 100 for _, text in kept] == [True, False, False]


def test_texts_that_no_statement_could_carry_together_are_written_in_turn(
    subject: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    write = recorder.write

    def noting(results: Sequence[Result], *args: Any) -> None:
        sizes.append(sum(one.text_size for one in results))
        write(results, *args)

    monkeypatch.setattr(recorder, "write", noting)
    monkeypatch.setattr(recorder, "LINGER_SECONDS", 0.2)
    for offset in range(12):
        subject.put(result(running(offset), Run.ERROR, traceback="x" * 1_000_000))
    assert subject.flush(20.0)
    assert Run.objects.filter(status=Run.ERROR).count() == 12
    assert max(sizes) <= recorder.BATCH_CHARACTERS


def test_one_bad_result_does_not_hold_back_the_others(subject: Recorder) -> None:
    bad, good = running(), running(1)
    subject.put(result(bad, Run.ERROR, exception_type="x" * 1000, exception="kept out \x00"))
    subject.put(result(good))
    eventually(lambda: Run.objects.get(pk=good.pk).status == Run.SUCCESS)
    assert Run.objects.get(pk=bad.pk).status == Run.ERROR
