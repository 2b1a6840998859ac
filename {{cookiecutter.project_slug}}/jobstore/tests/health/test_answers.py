"""Probes tell the truth about the process, and cost next to nothing."""

import datetime as dt
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import DatabaseError
from django.test import Client
from pytest_django.fixtures import Settings

from jobstore import probe, versions
from jobstore.health import answers, metrics
from jobstore.leadership import lease
from jobstore.leadership.clock import DatabaseClock
from jobstore.models import SchedulerInstance, database_now
from jobstore.process.scheduler import SchedulerProcess
from jobstore.tests.conftest import eventually

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def process(transactional_db: None) -> Iterator[SchedulerProcess]:
    one = SchedulerProcess()
    one.start()
    yield one
    one.stop()


@pytest.fixture
def address(process: SchedulerProcess) -> Iterator[str]:
    server = answers.serve(process, "127.0.0.1:0")
    assert server is not None
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def hold_the_lease() -> None:
    now = database_now("default")
    other = SchedulerInstance.objects.create(
        id=uuid.uuid4(), host="elsewhere", pid=7, role="active", started_at=now, heartbeat_at=now
    )
    assert lease.acquire(other.pk, "default").term


@pytest.mark.parametrize("question", ["live", "ready", "active", "scheduler"])
def test_an_active_scheduler_says_yes(
    process: SchedulerProcess, address: str, question: str
) -> None:
    eventually(lambda: process.elector.term and process.scheduler.is_prepared)
    healthy, text = probe.ask(question, address)
    assert healthy, text


def test_a_surplus_scheduler_is_alive_but_not_ready_and_names_the_holder(
    transactional_db: None, settings: Settings
) -> None:
    settings.SCHEDULER_LEASE_SECONDS = 60.0
    hold_the_lease()
    settings.SCHEDULER_LEASE_SECONDS = 0.5  # so that a take-over would soon have happened
    process = SchedulerProcess()
    process.start()
    try:
        eventually(lambda: process.elector.role == SchedulerInstance.Role.SURPLUS)
        assert answers.live(process)[0] == answers.OK
        code, body = answers.ready(process)
        assert code == answers.UNAVAILABLE
        assert "elsewhere:7 is the active scheduler" in body["reason"]
    finally:
        process.stop()


def test_a_starting_scheduler_is_not_ready(transactional_db: None) -> None:
    hold_the_lease()
    process = SchedulerProcess()
    process.start()
    try:
        eventually(lambda: process.elector.view)
        assert "Waiting for the lease" in answers.ready(process)[1]["reason"]
    finally:
        process.stop()


def test_a_hung_loop_is_not_alive(process: SchedulerProcess, settings: Settings) -> None:
    eventually(lambda: process.elector.term)
    with process.scheduler._jobstores_lock:
        process.scheduler.wakeup()
        time.sleep(0.3)
        settings.SCHEDULER_HUNG_SECONDS = 0.2
        assert "silent" in answers.live(process)[1]["reason"]


def test_a_database_that_is_away_makes_it_not_ready_but_alive(
    process: SchedulerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    eventually(lambda: process.elector.term)
    monkeypatch.setattr(answers, "DATABASE_SILENCE_SECONDS", 0.5)

    def gone(*args: object, **options: object) -> None:
        raise DatabaseError("gone")

    monkeypatch.setattr(lease, "renew", gone)
    monkeypatch.setattr(lease, "acquire", gone)
    eventually(lambda: "gone" in answers.ready(process)[1]["reason"])
    assert answers.live(process)[0] == answers.OK
    monkeypatch.undo()


def test_a_draining_scheduler_is_ready_and_not_active(process: SchedulerProcess) -> None:
    eventually(lambda: process.elector.term)
    process.elector.drain()
    assert answers.ready(process)[0] == answers.OK
    assert answers.active(process)[0] == answers.UNAVAILABLE


def test_an_address_that_is_taken_is_reported_and_does_not_stop_the_scheduler(
    process: SchedulerProcess, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert answers.serve(process, f"127.0.0.1:{taken.getsockname()[1]}") is None
    assert "SCHEDULER_HEALTH_ADDRESS" in caplog.text


def test_the_probe_runs_without_any_package(process: SchedulerProcess, address: str) -> None:
    eventually(lambda: process.elector.term and process.scheduler.is_prepared)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-E", ROOT / "jobstore" / "probe.py", "ready", address],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"]},
    )
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["role"] == "active"


def test_the_probe_says_why_there_is_no_answer() -> None:
    healthy, text = probe.ask("live", "127.0.0.1:1")
    assert not healthy
    assert "127.0.0.1:1" in text


def test_the_web_answers_probes_for_any_host_and_scheme(settings: Settings) -> None:
    settings.ALLOWED_HOSTS = ["example.org"]
    settings.SECURE_SSL_REDIRECT = True
    assert Client().get("/health/live", headers={"host": "10.0.0.1"}).status_code == 200
    assert Client().get("/", headers={"host": "10.0.0.1"}).status_code == 400


@pytest.mark.django_db
def test_the_web_is_ready_when_it_reaches_its_database() -> None:
    response = Client().get("/health/ready")
    assert response.status_code == 200, response.content


@pytest.mark.django_db
def test_the_web_is_alive_but_not_ready_without_its_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def gone(*args: object) -> None:
        raise DatabaseError("gone")

    monkeypatch.setattr("django.db.backends.base.base.BaseDatabaseWrapper.cursor", gone)
    assert Client().get("/health/live").status_code == 200
    response = Client().get("/health/ready")
    assert response.status_code == 503
    assert response.json()["reason"] == "The database does not answer."


@pytest.mark.django_db
def test_the_web_tells_that_no_scheduler_is_active() -> None:
    response = Client().get("/health/scheduler")
    assert response.status_code == 503
    assert "No scheduler is active" in response.json()["reason"]


@pytest.mark.django_db
def test_the_web_tells_that_one_is_active() -> None:
    hold_the_lease()
    response = Client().get("/health/scheduler")
    assert response.status_code == 200
    assert response.json()["reason"] == ""


def test_a_standby_is_healthy_and_names_the_active_one(
    transactional_db: None, settings: Settings
) -> None:
    settings.SCHEDULER_LEASE_SECONDS = 60.0
    settings.SCHEDULER_SURPLUS = "standby"
    hold_the_lease()
    process = SchedulerProcess()
    process.start()
    try:
        eventually(lambda: process.elector.role == SchedulerInstance.Role.STANDBY)
        code, body = answers.ready(process)
        assert (code, body["role"], body["holder"]) == (answers.OK, "standby", "elsewhere:7")
        code, body = answers.active(process)
        assert code == answers.UNAVAILABLE
        assert "elsewhere:7 is the active scheduler" in body["reason"]
    finally:
        process.stop()


def test_a_standby_without_its_database_is_not_ready(
    transactional_db: None, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SCHEDULER_SURPLUS = "standby"
    hold_the_lease()
    process = SchedulerProcess()
    process.elector.role = SchedulerInstance.Role.STANDBY
    monkeypatch.setattr(answers, "DATABASE_SILENCE_SECONDS", 0.0)
    assert "database does not answer" in answers.ready(process)[1]["reason"]


def test_an_active_scheduler_tells_all_about_itself(process: SchedulerProcess) -> None:
    eventually(lambda: process.elector.term)
    _, body = answers.ready(process)
    assert body["role"] == "active"
    assert body["epoch"] == 1
    assert body["holder"] == body["process"] == f"{process.elector.host}:{os.getpid()}"
    assert 0 <= body["lease_age"] < 2
    assert 0 <= body["loop_age"] < 30
    assert abs(body["clock_skew"]) < 1
    assert body["due_lag"] == 0
    assert body["workers"] == {"busy": 0, "total": 10}
    assert body["version"] == versions.of_project()


def test_the_version_is_what_the_project_calls_it(settings: Settings) -> None:
    settings.SCHEDULER_VERSION = "shop:2026.11"
    assert SchedulerProcess().elector.version == "shop:2026.11"


def test_prometheus_can_read_the_metrics(process: SchedulerProcess, address: str) -> None:
    eventually(lambda: process.elector.term)
    process.store.outcomes["Executed"] = 3
    with urllib.request.urlopen(f"http://{address}/metrics") as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        lines = answer.read().decode().splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    described = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    assert {name.partition("{")[0] for name in values} == described
    assert all(float(value) is not None for value in values.values())
    assert values["jobstore_active"] == "1.0"
    assert values['jobstore_role{role="active"}'] == "1"
    assert values['jobstore_runs_total{status="Executed"}'] == "3"


def test_no_value_breaks_a_line_of_the_metrics(process: SchedulerProcess) -> None:
    process.store.outcomes['a"b\\c\nd'] = 1
    [line] = [one for one in metrics.render(process).splitlines() if "runs_total{" in one]
    assert line == r'jobstore_runs_total{status="a\"b\\c\nd"} 1'


def test_an_address_that_becomes_free_is_taken(
    process: SchedulerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "BIND_RETRY_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert answers.serve(process, address) is None
    eventually(lambda: probe.ask("live", address)[0])


def test_probes_that_are_switched_off_say_so() -> None:
    assert probe.ask("live", "") == (
        False,
        "Health checks are switched off: SCHEDULER_HEALTH_ADDRESS is empty.",
    )


def test_a_clock_that_differs_is_reported_once(
    process: SchedulerProcess, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    eventually(lambda: process.elector.term)
    monkeypatch.setattr(DatabaseClock, "skew", 90.0)
    eventually(lambda: "90.0 s ahead of the database's" in caplog.text)
    time.sleep(0.5)
    assert caplog.text.count("ahead of") == 1


@pytest.mark.django_db
def test_the_web_tells_of_a_holder_that_is_silent(settings: Settings) -> None:
    hold_the_lease()
    settings.SCHEDULER_DEAD_SECONDS = 60.0
    long_ago = database_now("default") - dt.timedelta(seconds=90)
    SchedulerInstance.objects.update(heartbeat_at=long_ago)
    response = Client().get("/health/scheduler")
    assert response.status_code == 503
    assert response.json()["cause"] == "scheduler_silent"
