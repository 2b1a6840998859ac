"""Anonymous questions exhaust nothing, and busy workers are no fault: with real processes."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from apscheduler.triggers.date import DateTrigger
from django.db import connection, connections
from pytest_django.fixtures import Settings

from jobstore import conf
from jobstore.health import answers as health
from jobstore.health import status
from jobstore.models import DjangoJob, SchedulerInstance, database_now
from jobstore.process.scheduler import SchedulerProcess
from jobstore.tests import callables
from jobstore.tests.conftest import eventually
from jobstore.tests.processes import SchedulerCommand, WebCommand, free_port, get

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

CROWD = 150
# One for each process that looks, and what they hold anyway.
FEW = 20


@contextlib.contextmanager
def locked_jobs() -> Iterator[None]:
    """Keep everybody from reading the table of jobs, as an ALTER TABLE or a backup does.

    SQLite's readers wait for nobody; there it keeps others from writing.
    """
    locked, done = threading.Event(), threading.Event()

    def hold() -> None:
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("BEGIN")
                cursor.execute("LOCK TABLE jobstore_djangojob IN ACCESS EXCLUSIVE MODE")
            elif connection.vendor == "mysql":
                cursor.execute("LOCK TABLES jobstore_djangojob WRITE")
            else:
                cursor.execute("BEGIN EXCLUSIVE")
            locked.set()
            done.wait(60)
            if connection.vendor == "mysql":
                cursor.execute("UNLOCK TABLES")
            else:
                cursor.execute("ROLLBACK")
        connections.close_all()

    with ThreadPoolExecutor(1) as thread:
        holding = thread.submit(hold)
        try:
            assert locked.wait(20), holding.exception(1)
            yield
        finally:
            done.set()
            holding.result(20)


def sessions() -> int:
    """Return how many sessions this database has; SQLite has none."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            )
        elif connection.vendor == "mysql":
            cursor.execute(
                "SELECT count(*) FROM information_schema.processlist WHERE db = database()"
            )
        else:
            return 0
        return int(cursor.fetchone()[0])


def crowd(port: int, path: str, number: int = CROWD) -> tuple[list[Any], int]:
    """Ask all at once; return the answers, errors among them, and the most sessions meanwhile."""

    def one() -> Any:
        try:
            return get(port, path, timeout=15)
        except OSError as error:
            return error

    most = 0
    with ThreadPoolExecutor(number) as threads:
        asked = [threads.submit(one) for _ in range(number)]
        while not all(future.done() for future in asked):
            most = max(most, sessions())
            time.sleep(0.05)
        connection.close()
        return [future.result() for future in asked], most


@pytest.fixture
def scheduler(tmp_path: Path) -> Iterator[int]:
    """Start a scheduler process; provide the port of its probes."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    process = SchedulerCommand(tmp_path / "scheduler.log", SCHEDULER_HEALTH_ADDRESS=address)
    try:
        eventually(process.is_active, 30)
        yield port
    finally:
        process.kill()


def test_a_crowd_at_the_schedulers_port_does_not_take_the_databases_connections(
    scheduler: int,
) -> None:
    with locked_jobs():
        answers, most = crowd(scheduler, "/health/scheduler")
        assert get(scheduler, "/health/live")[0] == 200
    assert most < FEW
    # Some were sent away; nobody waited for long.
    times = [answer[2] for answer in answers if isinstance(answer, tuple)]
    assert times
    assert max(times) < 8
    eventually(lambda: get(scheduler, "/health/scheduler")[0] == 200, 30)


def test_a_crowd_at_the_web_neither_takes_the_connections_nor_keeps_probes_out(
    web: WebCommand,
) -> None:
    get(web.port, "/health/scheduler")
    with locked_jobs(), ThreadPoolExecutor(1) as thread:
        asking = thread.submit(crowd, web.port, "/health/scheduler")
        time.sleep(0.5)
        for _ in range(5):
            assert get(web.port, "/health/live")[2] < 2
            time.sleep(0.3)
        answers, most = asking.result()
    assert most < FEW
    assert {answer[0] for answer in answers} == {503}  # without a scheduler, with SQLite too


if connection.vendor != "sqlite":  # whose readers wait for nobody

    def test_a_look_takes_as_long_as_it_may_and_no_longer() -> None:
        connection.ensure_connection()
        with locked_jobs():
            began = time.monotonic()
            code, body = health.scheduler("default")
            assert time.monotonic() - began < 20  # the lock is kept for 60
        assert (code, body["cause"]) == (503, "database")
        assert health.scheduler("default")[1]["cause"] == "no_active_scheduler"


def test_a_look_leaves_no_limit_behind() -> None:
    limit = {
        "postgresql": "SHOW statement_timeout",
        "mysql": "SELECT @@SESSION.max_statement_time",
        "sqlite": "PRAGMA busy_timeout",
    }[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(limit)
        before = cursor.fetchone()
        status.verdict("default")
        cursor.execute(limit)
        assert cursor.fetchone() == before


@pytest.mark.any_database
def test_the_web_tells_strangers_no_names(web: WebCommand, scheduler: int) -> None:
    eventually(lambda: get(web.port, "/health/scheduler")[0] == 200)
    _, body, _ = get(web.port, "/health/scheduler")
    assert set(json.loads(body)) <= {"status", "cause", "reason", "quarantined"}
    assert json.loads(get(scheduler, "/health/scheduler")[1])["holder"]


@pytest.fixture
def one_worker(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[SchedulerProcess]:
    """Start a scheduler with one worker, whose jobs are late after a second."""
    settings.SCHEDULER_THREADS = 1
    settings.SCHEDULER_HUNG_SECONDS = 3.0
    monkeypatch.setattr(status, "FIRST_CLAIM_SECONDS", 0.0)
    process = SchedulerProcess()
    process.start()
    eventually(lambda: process.elector.term and process.scheduler.is_prepared)
    yield process
    callables.release.set()
    process.stop()


def test_jobs_that_wait_for_the_one_busy_worker_are_no_fault(one_worker: SchedulerProcess) -> None:
    now = database_now("default")
    for name in ("first", "second"):
        one_worker.scheduler.add_job(callables.block, DateTrigger(now), id=name)
    eventually(lambda: "blocked" in callables.calls)
    eventually(lambda: SchedulerInstance.objects.get().saturated)
    until = time.monotonic() + 2 * conf.get("SCHEDULER_HUNG_SECONDS")
    while time.monotonic() < until:
        code, body = health.scheduler("default")
        assert code == 200, body
        time.sleep(0.2)
    assert body["due_lag"] > conf.get("SCHEDULER_HUNG_SECONDS")
    assert body["saturated"] == ["default"]
    callables.release.set()
    eventually(lambda: not DjangoJob.objects.filter(pk__in=["first", "second"]).exists())
    eventually(lambda: not SchedulerInstance.objects.get().saturated)


def test_a_loop_that_stands_still_excuses_nothing(
    one_worker: SchedulerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobstore.leadership.saturation.SATURATION_SECONDS", 0.5)
    now = database_now("default")
    for name in ("first", "second"):
        one_worker.scheduler.add_job(callables.block, DateTrigger(now), id=name)
    eventually(lambda: SchedulerInstance.objects.get().saturated)
    with one_worker.scheduler._jobstores_lock:
        one_worker.scheduler.wakeup()
        eventually(lambda: health.scheduler("default")[0] == 503, 15)
