"""The database goes away in the worst moments; the same process goes on when it is back.

Claims resume within two seconds of its return. Tests wait for longer, since this machine may be
busy, and print what it was (`pytest -rP` shows it).
"""

import contextlib
import datetime as dt
import itertools
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import OperationalError, connection, transaction

from jobstore.history import recorder
from jobstore.leadership.elector import Elector
from jobstore.leadership.lease import LeaseView, Term
from jobstore.models import DjangoJob, DjangoJobExecution, SchedulerInstance, database_now
from jobstore.tests import callables, plain
from jobstore.tests.conftest import StartScheduler, eventually
from jobstore.tests.plain import store_job
from jobstore.tests.processes import database_url
from jobstore.tests.proxy import Proxy

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

Run = DjangoJobExecution
IS_SQLITE = settings.DATABASES["default"]["ENGINE"].endswith("sqlite3")
SETTINGS = "jobstore.tests.jobs_settings"
# A lease lives for 2 s here (tests/jobs_settings.py): one outage is shorter, one longer.
SHORT, LONG = 1.0, 4.0


class Outage:
    """A way in which the database is away, for a scheduler that uses it by this address."""

    url: str

    def begin(self) -> None:
        raise NotImplementedError

    def end(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class Cut(Outage):
    """The server is gone: connections break, and new ones are refused."""

    def __init__(self) -> None:
        place = connection.settings_dict
        self.proxy = Proxy(place["HOST"], int(place["PORT"]))
        self.url = database_url().replace(f"{place['HOST']}:{place['PORT']}", self.proxy.address)

    def begin(self) -> None:
        self.proxy.leave()

    def end(self) -> None:
        self.proxy.come_back()

    def close(self) -> None:
        self.proxy.close()


class Stall(Cut):
    """The server is silent: connections stay, and nothing comes through."""

    def begin(self) -> None:
        self.proxy.stall()

    def end(self) -> None:
        self.proxy.resume()


class Locked(Outage):
    """Somebody else holds SQLite's write lock for longer than a writer waits."""

    def __init__(self) -> None:
        self.url = f"{database_url()}?timeout=1"
        self._other = sqlite3.connect(
            connection.settings_dict["NAME"], isolation_level=None, check_same_thread=False
        )

    def begin(self) -> None:
        self._other.execute("PRAGMA busy_timeout = 10000")
        self._other.execute("BEGIN IMMEDIATE")

    def end(self) -> None:
        self._other.execute("ROLLBACK")

    def close(self) -> None:
        self._other.close()


class Moved(Outage):
    """The folder of the SQLite file is not where it was: new connections find no file."""

    def __init__(self) -> None:
        self.url = f"{database_url()}?timeout=1"
        self._folder = Path(connection.settings_dict["NAME"]).parent
        self._elsewhere = self._folder.with_name(f"{self._folder.name}-elsewhere")

    def begin(self) -> None:
        self._folder.rename(self._elsewhere)

    def end(self) -> None:
        self._elsewhere.rename(self._folder)

    def close(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            self.end()


class Scheduled:
    """A scheduler under test, and a job that is due each second and may not lose a single one."""

    def __init__(
        self, folder: Path, url: str, kind: str = "command", settings: str = SETTINGS
    ) -> None:
        self.trace = folder / "trace"
        self.trace.touch()
        seconds = {"trigger": "interval", "seconds": 1, "coalesce": False, "max_instances": 1000}
        store_job(plain.trace, "steady", "steady", **seconds)  # type: ignore[arg-type]
        variables = {"DATABASE_URL": url, "TICK_TRACE": str(self.trace)}
        variables["DJANGO_SETTINGS_MODULE"] = settings
        self.command = plain.start(kind, folder / "log", **variables)

    def runs(self) -> Any:
        return Run.objects.filter(job="steady").order_by("run_time")

    def has_run(self, since: dt.datetime | None = None) -> bool:
        done = self.runs().filter(status=Run.SUCCESS)
        return bool((done.filter(claimed_at__gt=since) if since else done).count() >= 2)

    def goes_on_after(self, back: dt.datetime) -> None:
        """Wait until runs are claimed again; print how long it took from `back` on."""
        eventually(lambda: self.has_run(since=back), 20)
        first = self.runs().filter(claimed_at__gt=back).order_by("claimed_at").first()
        print(
            f"\nclaims resumed {(first.claimed_at - back).total_seconds():.2f} s after the return"
        )

    def traces(self, text: str) -> int:
        return self.trace.read_text().splitlines().count(text)

    def assert_every_time_ran_once(self) -> None:
        """Compare the history, the traces and the schedule with each other."""
        DjangoJob.objects.get(pk="steady").pause()
        eventually(lambda: not self.runs().filter(finished=None).exists(), 20)
        rows = list(self.runs())
        assert {row.status for row in rows} == {Run.SUCCESS}
        assert self.traces("steady") == len(rows)
        times = [row.run_time for row in rows]
        gaps = {after - before for before, after in itertools.pairwise(times)}
        assert gaps == {dt.timedelta(seconds=1)}
        epochs = [row.epoch for row in sorted(rows, key=lambda row: row.claimed_at)]
        assert epochs == sorted(epochs)
        assert self.command.process.poll() is None
        assert SchedulerInstance.objects.count() == 1


def now() -> dt.datetime:
    return database_now("default")


KINDS: list[type[Outage]] = [Locked, Moved] if IS_SQLITE else [Cut, Stall]
every_kind = pytest.mark.parametrize("outage", KINDS, indirect=True)


@pytest.fixture
def outage(request: pytest.FixtureRequest, transactional_db: None) -> Iterator[Outage]:
    one = getattr(request, "param", KINDS[0])()
    yield one
    one.close()


@pytest.fixture
def start(outage: Outage, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scheduled]:
    one = Scheduled(tmp_path, outage.url, getattr(request, "param", "command"))
    try:
        eventually(one.has_run, 40)
        yield one
    finally:
        one.command.kill()


@every_kind
@pytest.mark.parametrize("seconds", [SHORT, LONG])
def test_claims_resume_when_the_database_is_back(
    start: Scheduled, outage: Outage, seconds: float
) -> None:
    outage.begin()
    time.sleep(seconds)
    outage.end()
    start.goes_on_after(now())
    start.assert_every_time_ran_once()


@pytest.mark.parametrize("start", ["background", "blocking", "asyncio"], indirect=True)
def test_schedulers_without_our_command_survive_it_too(start: Scheduled, outage: Outage) -> None:
    outage.begin()
    time.sleep(LONG)
    outage.end()
    start.goes_on_after(now())
    start.assert_every_time_ran_once()


@every_kind
def test_results_of_runs_that_end_meanwhile_are_written_afterwards(
    start: Scheduled, outage: Outage
) -> None:
    names = [f"job-{number}" for number in range(8)]
    for name in names:
        store_job(plain.work, name, name, 2.0, run_date=now())
    eventually(lambda: all(start.traces(f"{name} began") for name in names))
    outage.begin()
    eventually(lambda: all(start.traces(f"{name} ended") for name in names))
    time.sleep(LONG)
    outage.end()
    runs = Run.objects.filter(job__in=names)
    eventually(lambda: runs.filter(status=Run.SUCCESS).count() == len(names), 20)
    assert all(2.0 <= float(run.duration or 0) < 4.0 for run in runs)
    start.goes_on_after(now())
    start.assert_every_time_ran_once()


@pytest.mark.parametrize("start", ["asyncio"], indirect=True)
def test_coroutines_can_use_the_database_again(start: Scheduled, outage: Outage) -> None:
    store_job(plain.query_later, "ask", trigger="interval", seconds=1)
    asked = Run.objects.filter(job="ask")
    eventually(lambda: asked.filter(status=Run.SUCCESS).exists(), 20)
    outage.begin()
    time.sleep(SHORT)
    outage.end()
    back = now()
    eventually(lambda: asked.filter(status=Run.SUCCESS, claimed_at__gt=back).count() >= 2, 20)


@every_kind
def test_a_stop_meanwhile_ends_in_time_and_says_what_was_not_written(
    start: Scheduled, outage: Outage
) -> None:
    for name, seconds in (("short", 1.0), ("forever", 3600.0)):
        store_job(plain.work, name, name, seconds, run_date=now())
    eventually(lambda: start.traces("short began") and start.traces("forever began"))
    outage.begin()
    began = time.monotonic()
    assert start.command.end() == 0
    print(f"\nended after {time.monotonic() - began:.1f} s")
    outage.end()
    said = start.command.log.read_text()
    assert "forever" in said or "1 runs not finished" in said
    was_written = Run.objects.get(job="short").status == Run.SUCCESS
    assert was_written or "could not be written" in said or "results are not written" in said
    assert "Traceback" not in said


@pytest.mark.usefixtures("transactional_db")
def test_the_loop_is_woken_when_the_lease_can_be_trusted_again() -> None:
    wakes: list[int] = []
    elector = Elector("default", lambda: wakes.append(1))
    elector.campaign()
    due = now()
    view = LeaseView(due, term=Term(elector.id, 1), next_run_time=due)
    an_outage_ago = time.monotonic() - 60
    elector._absorb(view, an_outage_ago)
    elector.planned_wake = due  # as the loop noted before the outage
    wakes.clear()
    elector._absorb(view, time.monotonic())
    assert wakes


def test_a_run_whose_result_still_waits_does_not_count_as_running(
    start_scheduler: StartScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise OperationalError("away")

    monkeypatch.setattr(recorder, "write", refuse)
    start_scheduler().add_job(callables.note, "interval", seconds=1, id="often")
    eventually(lambda: len(callables.calls) >= 3)
    DjangoJob.objects.get(pk="often").request_run("test")
    eventually(lambda: Run.objects.filter(requested_by="test", status=Run.RUNNING).exists())
    assert not Run.objects.filter(status=Run.MAX_INSTANCES).exists()


CLAIM = {
    "postgresql": (b"WITH term AS",),
    "mysql": (b"INSERT INTO `jobstore_djangojobexecution`", b"COMMIT"),
}
WRITE = {
    "postgresql": (b"UPDATE jobstore_djangojobexecution AS run",),
    "mysql": (b"'Executed'", b"COMMIT"),
}

if not IS_SQLITE:  # which has no replies that could be lost

    @pytest.mark.parametrize("moment", [CLAIM, WRITE], ids=["claim", "write"])
    @pytest.mark.parametrize("reply_is_lost", [False, True], ids=["unsent", "unanswered"])
    def test_nothing_is_lost_or_doubled_when_it_is_cut_in_the_middle(
        start: Scheduled, outage: Cut, moment: dict[str, tuple[bytes, ...]], reply_is_lost: bool
    ) -> None:
        for _ in range(3):
            cuts = outage.proxy.cuts
            outage.proxy.cut_at(*moment[connection.vendor], reply_is_lost=reply_is_lost)
            eventually(lambda: outage.proxy.cuts > cuts, 20)  # noqa: B023 - called at once
            time.sleep(0.5)
            outage.end()
            start.goes_on_after(now())
        start.assert_every_time_ran_once()


def waiting_claims() -> int:
    """Return how many claims wait on the server for a lock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")  # this is asked within a transaction
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE wait_event_type = 'Lock' AND query LIKE '%WITH term AS%'"
        )
        return int(cursor.fetchone()[0])


if connection.vendor == "postgresql":

    @pytest.fixture
    def patient(outage: Outage, tmp_path: Path) -> Iterator[Scheduled]:
        """A scheduler whose statements the server does not end after a moment."""
        one = Scheduled(tmp_path, outage.url, "background", "jobstore.tests.patient_settings")
        try:
            eventually(one.has_run, 40)
            yield one
        finally:
            one.command.kill()

    def test_a_claim_that_the_server_commits_long_after_the_cut_still_runs(
        patient: Scheduled, outage: Outage
    ) -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            # As when somebody builds an index: a claim passes over rows that are locked, not this.
            cursor.execute("LOCK TABLE jobstore_djangojob IN SHARE MODE")
            eventually(waiting_claims)
            outage.begin()
            time.sleep(0.5)
            outage.end()
            # It has looked what became of its claim, and claims once more: also in vain.
            eventually(lambda: waiting_claims() == 2)
        patient.goes_on_after(now())
        patient.assert_every_time_ran_once()
