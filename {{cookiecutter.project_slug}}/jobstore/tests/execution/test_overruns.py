"""Timeouts where nothing can end a run: the run is told, and the log and its note say so."""

import datetime as dt
import logging
import threading
import time
from typing import Any

import pytest
from django.utils import timezone

from jobstore import api
from jobstore.execution import deadlines
from jobstore.models import DjangoJob, DjangoJobExecution
from jobstore.runs import current_run
from jobstore.tests import callables
from jobstore.tests.conftest import StartScheduler, eventually

pytestmark = pytest.mark.django_db(transaction=True)

Run = DjangoJobExecution


def go_on_until_told() -> str:
    """Run until the run is to end."""
    run = current_run()
    assert run is not None
    began = time.monotonic()
    while not run.is_cancelled and time.monotonic() - began < 10:
        time.sleep(0.01)
    return "told" if run.is_cancelled else "never told"


async def go_on_until_told_later() -> str:
    """Run until the run is to end, in a coroutine."""
    import asyncio

    return await asyncio.to_thread(go_on_until_told)


def ask_at_once() -> str:
    """Ask whether the run is to end."""
    run = current_run()
    assert run is not None
    return str(run.is_cancelled)


def run(scheduler: Any, func: Any, timeout: float | None) -> DjangoJobExecution:
    scheduler.add_job(func, "cron", year=2099, id="job")
    DjangoJob.objects.filter(pk="job").update(timeout=timeout)
    api.run_now("job", by="Ada")
    ended = Run.objects.exclude(status__in=Run.UNFINISHED)
    return eventually(ended.first, 20)  # type: ignore[no-any-return]


@pytest.mark.parametrize("func", [go_on_until_told, go_on_until_told_later])
def test_a_function_can_ask_whether_its_time_is_over(
    start_scheduler: StartScheduler, func: Any, caplog: pytest.LogCaptureFixture
) -> None:
    ended = run(start_scheduler(), func, 0.3)
    assert (ended.status, ended.result) == (Run.SUCCESS, "told")
    [warning] = [one for one in caplog.records if one.name == "jobstore.runs"]
    assert warning.levelno == logging.WARNING
    assert "Job 'job' has been running for longer than its timeout of 0.3 s" in warning.message
    assert ended.note.startswith("It ran for 0.3") and "beyond its timeout" in ended.note


def test_a_scheduled_run_has_its_timeout_too(start_scheduler: StartScheduler) -> None:
    scheduler = start_scheduler()
    soon = timezone.now() + dt.timedelta(seconds=1)
    scheduler.add_job(go_on_until_told, "date", run_date=soon, id="job")
    DjangoJob.objects.filter(pk="job").update(timeout=0.2)
    ended = Run.objects.exclude(status__in=Run.UNFINISHED)
    assert eventually(ended.first, 20).result == "told"


def test_a_run_within_its_timeout_is_told_nothing(
    start_scheduler: StartScheduler, caplog: pytest.LogCaptureFixture
) -> None:
    ended = run(start_scheduler(), ask_at_once, 0.5)
    assert (ended.result, ended.note) == ("False", "")
    time.sleep(0.7)
    assert "timeout" not in caplog.text


def test_without_timeouts_nothing_is_watched(
    start_scheduler: StartScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadlines, "after", lambda *_: callables.calls.append("watched"))
    assert run(start_scheduler(), ask_at_once, None).result == "False"
    assert callables.calls == []


def test_deadlines_are_kept_in_their_order_by_one_thread() -> None:
    kept: list[int] = []
    for number in (3, 1, 2):
        deadlines.after(0.1 * number, lambda number=number: kept.append(number))  # type: ignore[misc]
    deadlines.after(0.05, lambda: 1 / 0)
    deadlines.after(0.15, lambda: kept.append(4)).cancel()
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("jobstore-deadlines") == 1
    eventually(lambda: len(kept) == 3)
    assert kept == [1, 2, 3]


def test_the_thread_of_deadlines_ends_when_none_is_left_and_begins_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deadlines, "IDLE_SECONDS", 0.05)
    for _ in range(2):
        kept = threading.Event()
        deadlines.after(0.01, kept.set)
        assert kept.wait(5)
        eventually(lambda: deadlines._thread is None)
