"""However many jobs run, a scheduler keeps few connections; counted where the database sees them.

Kept are at most three while jobs run one after the other (the loop's, the elector's, the
recorder's) and two when idle, since the recorder gives its own back after two seconds. A job that
uses the database has one of its own for as long as it runs. After a shutdown there is none.
"""

import datetime as dt
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from config import settings as project
from jobstore.models import DjangoJob, DjangoJobExecution, SchedulerInstance, database_now
from jobstore.tests import plain
from jobstore.tests.conftest import eventually
from jobstore.tests.plain import PlainScheduler, start, store_job
from jobstore.tests.processes import SchedulerCommand

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

Run = DjangoJobExecution
WHILE_RUNNING, WHEN_IDLE = 3, 2
JOBS = 30

FUNCTIONS: list[Callable[..., object]] = [
    plain.query,
    plain.query_later,
    plain.query_and_fail,
    plain.query_and_break_off,
]


class Connections:
    """The connections to the test's database that a scheduler process holds."""

    def __init__(self) -> None:
        self.before = 0 if connection.vendor == "sqlite" else self._of_others()

    def of(self, *schedulers: SchedulerCommand) -> int:
        if connection.vendor == "sqlite":
            return sum(self._open_files(one.process.pid) for one in schedulers)
        return self._of_others() - self.before

    @staticmethod
    def _of_others() -> int:
        """Ask the server for connections other than this one."""
        question = {
            "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE datname = "
            "current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
            "mysql": "SELECT count(*) FROM information_schema.processlist WHERE db = database() "
            "AND id <> connection_id()",
        }[connection.vendor]
        with connection.cursor() as cursor:
            cursor.execute(question)
            return int(cursor.fetchone()[0])

    @staticmethod
    def _open_files(pid: int) -> int:
        """Count the open files of a process that are the write-ahead log: one a connection.

        The database file itself stays open for longer, since closing it would drop the locks
        of the process's other connections.
        """
        log = f"{connection.settings_dict['NAME']}-wal"
        found = 0
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                found += str(link.readlink()) == log
            except FileNotFoundError:
                continue
        return found


@pytest.fixture
def connections(transactional_db: None) -> Connections:
    return Connections()


KINDS = ["command", "background", "blocking", "asyncio"]


@pytest.fixture
def scheduler(
    request: pytest.FixtureRequest, connections: Connections, tmp_path: Path
) -> Iterator[SchedulerCommand]:
    one = start(request.param, tmp_path / "log")
    try:
        yield started(one)
    finally:
        one.kill()


def started(scheduler: SchedulerCommand) -> SchedulerCommand:
    """Return the scheduler once it is active, its own jobs paused: they would keep it busy."""
    eventually(lambda: SchedulerInstance.objects.filter(role="active").exists(), 40)
    if not isinstance(scheduler, PlainScheduler):
        eventually(lambda: DjangoJob.objects.filter(pk="tick").exists(), 20)
    for job in DjangoJob.objects.all():
        job.pause()
    return scheduler


def run_many() -> None:
    """Let many runs of every kind begin at the same moment, and wait for the last."""
    when = database_now("default") + dt.timedelta(seconds=0.5)
    jobs = {f"job-{number}": FUNCTIONS[number % len(FUNCTIONS)] for number in range(JOBS)}
    for job_id, func in jobs.items():
        store_job(func, job_id, run_date=when)
    done = Run.objects.filter(job__in=list(jobs), status__in=[Run.SUCCESS, Run.ERROR])
    eventually(lambda: done.count() == JOBS, 30)


@pytest.mark.parametrize("scheduler", KINDS, indirect=True)
def test_jobs_leave_no_connection_behind(
    connections: Connections, scheduler: SchedulerCommand, request: pytest.FixtureRequest
) -> None:
    # Coroutines in an event loop of the application share one more connection with it.
    shared = int("asyncio" in request.node.name)
    run_many()
    eventually(lambda: connections.of(scheduler) <= WHILE_RUNNING + shared, 20)
    eventually(lambda: connections.of(scheduler) <= WHEN_IDLE + shared, 20)


@pytest.mark.parametrize("scheduler", ["command"], indirect=True)
def test_a_standby_keeps_two_connections_as_well(
    connections: Connections, scheduler: SchedulerCommand, tmp_path: Path
) -> None:
    other = SchedulerCommand(tmp_path / "log-2")
    try:
        eventually(lambda: "Surplus" in other.log.read_text(), 40)
        run_many()
        eventually(lambda: connections.of(scheduler, other) <= 2 * WHEN_IDLE, 20)
    finally:
        other.kill()


@pytest.mark.parametrize("scheduler", KINDS[1:], indirect=True)
def test_after_a_shutdown_there_is_no_connection(
    connections: Connections, scheduler: PlainScheduler
) -> None:
    eventually(lambda: connections.of(scheduler) > 0)
    scheduler.shut_down()
    eventually(lambda: "Has shut down" in scheduler.log.read_text(), 20)
    eventually(lambda: connections.of(scheduler) == 0)
    assert scheduler.process.poll() is None


def configured(monkeypatch: pytest.MonkeyPatch, **variables: str) -> dict[str, Any]:
    for name, value in variables.items():
        monkeypatch.setitem(project.env.variables, name, value)
    return project.default_database()


def test_a_server_that_does_not_answer_is_given_up_in_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for url in ("postgres://me@here/mine", "mysql://me@here/mine"):
        options = configured(monkeypatch, DATABASE_URL=url)["OPTIONS"]
        assert options["connect_timeout"] == 5
        changed = configured(monkeypatch, DATABASE_URL=f"{url}?connect_timeout=9")["OPTIONS"]
        assert changed["connect_timeout"] == 9


def test_a_pool_is_kept_if_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "postgres://me@here/mine"
    assert "pool" not in configured(monkeypatch, DATABASE_URL=url)["OPTIONS"]
    pooled = configured(monkeypatch, DATABASE_URL=url, DATABASE_POOL_SIZE="13")
    assert pooled["OPTIONS"]["pool"]["max_size"] == 13
    assert pooled["CONN_MAX_AGE"] == 0  # Django refuses anything else
