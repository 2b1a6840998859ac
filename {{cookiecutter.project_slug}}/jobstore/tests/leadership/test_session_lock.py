"""The death of the active scheduler is noticed at once, and nothing rests on that."""

import concurrent.futures
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import DatabaseError, connection, connections
from pytest_django.fixtures import Settings

from jobstore.leadership import lease
from jobstore.leadership.session_lock import SessionLock
from jobstore.models import SchedulerInstance, SchedulerLease
from jobstore.process.scheduler import SchedulerProcess
from jobstore.tests.conftest import StartScheduler, eventually
from jobstore.tests.processes import SchedulerCommand

pytestmark = pytest.mark.django_db(transaction=True)

US, THEM = uuid.uuid4(), uuid.uuid4()


class Elsewhere:
    """A detector with a thread, and so a connection, of its own."""

    def __init__(self) -> None:
        self.detector = SessionLock("default")
        self._thread = concurrent.futures.ThreadPoolExecutor(1)

    def do(self, work: Callable[[], Any]) -> Any:
        return self._thread.submit(work).result(20)

    def end(self) -> None:
        self.do(self.detector.let_go)
        self.do(connections.close_all)
        self._thread.shutdown()


@pytest.fixture
def other() -> Iterator[Elsewhere]:
    one = Elsewhere()
    yield one
    one.end()


@pytest.fixture
def detector() -> Iterator[SessionLock]:
    one = SessionLock("default")
    yield one
    one.let_go()


def test_one_has_the_lock_until_it_lets_go(detector: SessionLock, other: Elsewhere) -> None:
    assert detector.try_hold()
    assert not other.do(other.detector.try_hold)
    assert detector.try_hold()
    detector.let_go()
    assert not detector.holds
    assert other.do(other.detector.try_hold)
    assert not detector.try_hold()


def test_the_lock_goes_with_the_connection(detector: SessionLock, other: Elsewhere) -> None:
    assert other.do(other.detector.try_hold)
    if connection.vendor == "sqlite":  # where the file stands for the connection
        other.do(other.detector.let_go)
    other.do(connections.close_all)
    eventually(detector.try_hold)


def test_whoever_has_the_lock_takes_over_from_a_holder_that_should_have_it() -> None:
    assert lease.acquire(THEM, "default", session_lock=True).term
    assert lease.acquire(US, "default", session_lock=True).term == lease.Term(US, 2)


def test_nobody_takes_over_without_the_lock() -> None:
    assert lease.acquire(THEM, "default", session_lock=True).term
    assert lease.acquire(US, "default").term is None


def test_the_lock_means_nothing_if_the_holder_never_had_it() -> None:
    assert lease.acquire(THEM, "default").term
    assert lease.acquire(US, "default", session_lock=True).term is None


def test_an_active_scheduler_has_it(start_scheduler: StartScheduler) -> None:
    start_scheduler()
    eventually(lambda: SchedulerLease.objects.filter(session_lock=True).exists())


def test_a_holder_that_took_over_without_it_gets_it_when_it_is_free(
    start_scheduler: StartScheduler, other: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SessionLock, "evict", lambda self: None)
    assert other.do(other.detector.try_hold)
    start_scheduler()
    eventually(lambda: SchedulerLease.objects.filter(epoch=1, session_lock=False).exists())
    other.do(other.detector.let_go)
    eventually(lambda: SchedulerLease.objects.filter(epoch=1, session_lock=True).exists())


if connection.vendor != "sqlite":  # where nobody can make another let go

    def test_a_holder_takes_it_from_a_predecessor_that_stands_still(
        start_scheduler: StartScheduler, other: Elsewhere
    ) -> None:
        assert other.do(other.detector.try_hold)
        start_scheduler()
        eventually(lambda: SchedulerLease.objects.filter(epoch=1, session_lock=True).exists())
        with pytest.raises(DatabaseError):
            other.do(lambda: connections["default"].cursor().execute("SELECT 1"))


def test_who_gets_it_beside_a_holder_that_lives_gives_it_back(
    settings: Settings, start_scheduler: StartScheduler, detector: SessionLock
) -> None:
    """So that the holder can have it: it took over from somebody who kept it for a while."""
    settings.SCHEDULER_LEASE_SECONDS = 60.0
    lease.acquire(THEM, "default")
    start_scheduler()
    eventually(lambda: SchedulerInstance.objects.exists())
    time.sleep(1)
    eventually(detector.try_hold)


def test_who_is_leaving_gives_it_back_before_its_last_jobs_have_finished(
    transactional_db: None, detector: SessionLock
) -> None:
    process = SchedulerProcess()
    process.start()
    try:
        eventually(lambda: SchedulerLease.objects.filter(session_lock=True).exists())
        process.elector.drain()
        eventually(detector.try_hold)
    finally:
        process.stop()


def test_without_the_detector_nobody_asks_for_it(
    settings: Settings, start_scheduler: StartScheduler, detector: SessionLock
) -> None:
    settings.SCHEDULER_SESSION_LOCK = False
    start_scheduler()
    eventually(lambda: SchedulerLease.objects.filter(epoch=1).exists())
    assert detector.try_hold()


LONG = {"DJANGO_SETTINGS_MODULE": "jobstore.tests.long_settings"}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_take_over_does_not_wait_for_the_end_of_the_lease(
    tmp_path: Path, number: signal.Signals
) -> None:
    former = SchedulerCommand(tmp_path / "former", **LONG)
    further = None
    try:
        eventually(former.is_active, 40)
        further = SchedulerCommand(tmp_path / "further", **LONG)
        eventually(lambda: SchedulerInstance.objects.count() == 2, 40)
        former.process.send_signal(number)
        eventually(further.is_active, 30)
    finally:
        former.kill()
        if further is not None:
            further.kill()
