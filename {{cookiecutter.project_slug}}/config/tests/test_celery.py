"""Celery's application: whose it is, how long it waits, and what a worker does without a broker."""

import socket
import subprocess
import time

import pytest

from config import broker
from jobstore import probe
from jobstore.tests.copies import Home

# Sends a message, and tells how long it took to fail.
SEND = """
import time
import django
django.setup()
from jobstore.executors.celery import run_queued
began = time.monotonic()
try:
    run_queued.apply_async(args=(1, 1), retry=False)
except Exception as error:
    print(time.monotonic() - began)
"""


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("home"))


def with_celery(home: Home, code: str, url: str) -> subprocess.CompletedProcess[str]:
    return home.run("-c", code, CELERY_BROKER_URL=url, DJANGO_SETTINGS_MODULE="config.settings")


def test_every_process_with_a_broker_has_the_project_s_application(home: Home) -> None:
    code = "import django; django.setup(); from celery import current_app; print(current_app.main)"
    done = with_celery(home, code, "redis://127.0.0.1:1/0")
    assert done.stdout == "config\n", done.stderr


def test_a_process_without_a_broker_does_not_load_celery(home: Home) -> None:
    code = "import django, sys; django.setup(); print('celery' in sys.modules)"
    done = with_celery(home, code, "")
    assert done.stdout == "False\n", done.stderr


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_is_down_keeps_nobody_waiting(home: Home, scheme: str) -> None:
    done = with_celery(home, SEND, f"{scheme}://127.0.0.1:1//")
    assert done.stdout, done.stderr
    assert float(done.stdout) < broker.PATIENCE


@pytest.mark.parametrize("scheme", ["redis", "amqp"])
def test_a_broker_that_does_not_answer_keeps_a_sender_waiting_for_seconds(
    home: Home, scheme: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        done = with_celery(home, SEND, f"{scheme}://127.0.0.1:{silent.getsockname()[1]}//")
    assert done.stdout, done.stderr
    assert float(done.stdout) < 2 * broker.PATIENCE


def test_a_worker_without_a_broker_says_so_and_ends(home: Home) -> None:
    done = home.run("-m", "celery", "-A", "config", "worker", CELERY_BROKER_URL="")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("CELERY_BROKER_URL is not set")


def test_the_probe_of_a_worker_fails_until_it_has_reached_its_broker(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = tmp_path_factory.mktemp("run") / "worker"
    monkeypatch.setattr(probe, "WORKER_FILE", str(file))
    assert probe.main(["worker"]) == 1
    file.touch()
    assert probe.main(["worker"]) == 0


def test_the_probe_of_a_worker_fails_when_its_signs_of_life_end(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path_factory.mktemp("run") / "worker"
    file.touch()
    monkeypatch.setattr(probe, "WORKER_FILE", str(file))
    monkeypatch.setattr(probe, "WORKER_SECONDS", 0.05)
    time.sleep(0.1)
    assert probe.main(["worker"]) == 1
    assert "cannot reach its broker" in capsys.readouterr().out


def test_a_beat_of_the_worker_is_the_sign_of_life(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from celery.signals import heartbeat_sent

    from config import celery

    file = tmp_path_factory.mktemp("run") / "worker"
    monkeypatch.setattr(celery, "WORKER_FILE", str(file))
    heartbeat_sent.send(sender=None)
    assert file.exists()
