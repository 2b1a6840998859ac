"""A row that somebody has locked holds up its own job alone."""

import datetime as dt
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections, transaction

from jobstore.claims import claim as claims
from jobstore.claims import dispatcher
from jobstore.models import DjangoJob, DjangoJobExecution, database_now
from jobstore.tests import callables
from jobstore.tests.conftest import StartScheduler, eventually

pytestmark = pytest.mark.django_db(transaction=True)

Run = DjangoJobExecution


class Locked:
    """Rows that another session keeps locked until it is told to let go."""

    def __init__(self, rows: Any) -> None:
        self._rows = rows
        self._is_locked, self._let_go = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._keep)
        self._thread.start()
        assert self._is_locked.wait(10)

    def _keep(self) -> None:
        with transaction.atomic():
            assert list(self._rows.select_for_update().values_list("pk"))
            self._is_locked.set()
            self._let_go.wait(30)
        connections.close_all()

    def let_go(self) -> None:
        self._let_go.set()
        self._thread.join()


@pytest.fixture
def locked() -> Iterator[list[Locked]]:
    """Locks that are let go at the end."""
    all_of_them: list[Locked] = []
    yield all_of_them
    for one in all_of_them:
        one.let_go()


def every_second(scheduler: Any, job_id: str) -> None:
    scheduler.add_job(
        callables.note, "interval", seconds=0.5, args=[job_id], id=job_id, misfire_grace_time=None
    )


def test_a_locked_job_does_not_stop_the_others(
    start_scheduler: StartScheduler, locked: list[Locked]
) -> None:
    scheduler = start_scheduler()
    every_second(scheduler, "locked")
    every_second(scheduler, "other")
    eventually(lambda: {"locked", "other"} <= set(callables.calls))
    locked.append(Locked(DjangoJob.objects.filter(pk="locked")))
    callables.calls.clear()
    eventually(lambda: callables.calls.count("other") >= 4, timeout=20)
    locked[0].let_go()
    eventually(lambda: "locked" in callables.calls[4:], timeout=20)


def test_other_jobs_start_on_time_beside_a_locked_one(
    start_scheduler: StartScheduler, locked: list[Locked], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The locked job is overdue all the time, which must not hide when the next one is due."""
    monkeypatch.setattr(dispatcher, "LAST_RETRY_SECONDS", 60.0)
    scheduler = start_scheduler()
    every_second(scheduler, "locked")
    eventually(lambda: callables.calls)
    locked.append(Locked(DjangoJob.objects.filter(pk="locked")))
    every_second(scheduler, "other")
    eventually(lambda: callables.calls.count("other") >= 4, timeout=20)
    runs = Run.objects.filter(job="other", started_at__isnull=False)
    delays = [run.started_at - run.run_time for run in runs if run.started_at]
    assert sorted(delays)[len(delays) // 2] < dt.timedelta(seconds=0.4), delays


def test_a_locked_job_does_not_make_the_loop_spin(
    start_scheduler: StartScheduler, locked: list[Locked], monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []
    original = claims.claim

    def counted(*args: Any, **options: Any) -> Any:
        tries.append(1)
        return original(*args, **options)

    scheduler = start_scheduler()
    every_second(scheduler, "locked")
    eventually(lambda: callables.calls)
    locked.append(Locked(DjangoJob.objects.filter(pk="locked")))
    monkeypatch.setattr(claims, "claim", counted)
    threading.Event().wait(3.0)
    assert 2 <= len(tries) <= 15


def test_a_locked_request_does_not_stop_the_others(
    start_scheduler: StartScheduler, locked: list[Locked]
) -> None:
    scheduler = start_scheduler()
    for job_id in ("first", "second"):
        scheduler.add_job(
            callables.note, "interval", hours=1, args=[job_id], id=job_id, misfire_grace_time=None
        )
    request = Run.objects.request("first", "test", put_off=1.0)
    locked.append(Locked(Run.objects.filter(pk=request.pk)))
    eventually(lambda: database_now("default") > request.run_time)
    Run.objects.request("second", "test")
    eventually(lambda: "second" in callables.calls, timeout=20)
    assert "first" not in callables.calls
