"""Further peers: celery-beat with a worker and a broker, and django-ox in containers."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import machine
from contenders import CONTENDERS, PROGRAMS, REQUIREMENTS, Contender, Failed, Peer
from stacks import free_port

# Both speak the same protocol.
BROKERS = ("valkey-server", "redis-server")
OX_IMAGE = "python:3.13-slim-trixie"


class CeleryBeat(Peer):
    """The scheduler, a worker of ten threads, and a broker that keeps nothing on the disk.

    As its documentation sets it up, without a store of results: a run leaves nothing behind but
    the time of its job's last run, which the scheduler writes every three minutes and at its end.
    """

    name = "celery-beat"
    title = "django-celery-beat 2.9"
    databases = ("postgresql", "mariadb", "sqlite")
    apps = "django_celery_beat"
    lock = REQUIREMENTS / "celery-beat.txt"
    store_seconds = 0.002
    # Crontabs have no seconds, and are what many jobs at one instant are written as.
    align_seconds = 60
    makes_every_run = False
    note = "no run is written to the database; the times of last runs are, up to 3 minutes later"

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._port = free_port()

    @classmethod
    def obstacle(cls) -> str:
        """A broker is needed."""
        return "" if broker() else f"none of {', '.join(BROKERS)} is installed, of which it needs one"

    @property
    def environment(self) -> dict[str, str]:
        """Names the broker."""
        return super().environment | {"BENCH_BROKER": f"redis://127.0.0.1:{self._port}/0"}

    def store(self, scenario: dict[str, Any]) -> None:
        """Store rows as its admin does."""
        self.run("beat_store.py", json.dumps(scenario))

    def start(self, scenario: dict[str, Any], **extra: str) -> None:
        """Start the broker first, empty."""
        self._port = free_port()
        quiet = ("--save", "", "--appendonly", "no", "--daemonize", "no", "--loglevel", "warning")
        self.processes.append(
            subprocess.Popen(
                [broker(), "--bind", "127.0.0.1", "--port", str(self._port), *quiet],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        )
        deadline = time.monotonic() + 10
        while not listens(self._port):
            self.assert_alive()
            if time.monotonic() > deadline:
                raise Failed("The broker does not answer.")
            time.sleep(0.05)
        super().start(scenario, **extra)

    def commands(self, scenario: dict[str, Any]) -> list[tuple[str, ...]]:
        """Return the two commands of its documentation."""
        celery = ("-m", "celery", "-A", "beat_app")
        scheduler = "django_celery_beat.schedulers:DatabaseScheduler"
        return [
            (*celery, "worker", "--pool", "threads", "--concurrency", str(scenario["threads"])),
            (*celery, "beat", "--scheduler", scheduler, "--pidfile="),
        ]

    def stop(self) -> None:
        """End the broker last: the others would wait for it."""
        first, self.processes = self.processes[:1], self.processes[1:]
        try:
            super().stop()
        finally:
            self.processes = first
            super().stop()


class CeleryBeatResults(CeleryBeat):
    """The same, with each run's result in the database, which makes runs durable there."""

    name = "celery-beat-results"
    title = "django-celery-beat 2.9 with django-celery-results"
    home = "celery-beat"
    apps = "django_celery_beat django_celery_results"
    note = "a run is written to the database when it has ended, not before"
    table = "django_celery_results_taskresult"
    finished_sql = f"SELECT count(*) FROM {table}"  # noqa: S608
    durable_sql = f"SELECT extract(epoch FROM max(pg_xact_commit_timestamp(xmin))) FROM {table}"  # noqa: S608

    @property
    def environment(self) -> dict[str, str]:
        """Names the store of results."""
        return super().environment | {"BENCH_RESULTS": "django-db"}


class CeleryAdmin(CeleryBeatResults):
    """The pages of both alone, for which no broker is needed."""

    name = "celery-admin"
    title = "django-celery-beat 2.9 with django-celery-results, pages alone"
    note = ""

    @classmethod
    def obstacle(cls) -> str:
        """Nothing is needed."""
        return ""


def broker() -> str:
    """Return the path of a broker's program, empty if there is none."""
    return next((path for name in BROKERS if (path := shutil.which(name))), "")


def listens(port: int) -> bool:
    """Tell whether somebody listens on a port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class DjangoOx(Peer):
    """One worker of ten threads, which is its scheduler too.

    It needs a newer Python than this repository, so each of its processes is a container on the
    host's network: `python` is a script that starts one.
    """

    name = "django-ox"
    title = "django-ox 1.9"
    databases = ("postgresql", "mariadb")
    apps = "django_ox"
    lock = REQUIREMENTS / "django-ox.txt"
    store_seconds = 0.02
    makes_every_run = False
    note = "looks for due jobs once a second"
    finished_sql = "SELECT count(*) FROM django_ox_oxtask WHERE finished_at IS NOT NULL"
    durable_sql = "SELECT extract(epoch FROM max(pg_xact_commit_timestamp(xmin))) FROM django_ox_oxtask"
    # What a container may know of the environment.
    passed: ClassVar = (
        *("DATABASE_URL", "DJANGO_SETTINGS_MODULE", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE"),
        *("BENCH_TRACE", "BENCH_APPS"),
    )

    @classmethod
    def obstacle(cls) -> str:
        """Its containers share the machine's ports, which they only do on Linux."""
        return "" if Path("/proc/self/stat").exists() else "its containers need Linux"

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a project of its own."""
        return super().environment | {"DJANGO_SETTINGS_MODULE": "ox_settings"}

    @property
    def python(self) -> Path:
        """What starts a Python in a container."""
        return self.folder / "python"

    @property
    def label(self) -> str:
        """What its containers are known by."""
        return f"apscheduler-bench={os.getpid()}"

    def install(self) -> None:
        """Make the environment in a container too, with what the lock file pins."""
        environment = self.folder / ".venv"
        shared = (f"--volume={PROGRAMS}:{PROGRAMS}:ro", f"--volume={self.folder}:{self.folder}")
        options = ("--rm", "--init", "--log-driver=none", "--network=host", f"--label={self.label}", *shared)
        user = f"--user={os.getuid()}:{os.getgid()}"
        passed = [f"--env={name}" for name in self.passed]
        begin = " ".join(["docker", "run", *options, user, *passed, "--env=HOME=/tmp", '--workdir="$PWD"'])
        self.python.write_text(f'#!/bin/sh\nexec {begin} {OX_IMAGE} {environment}/bin/python "$@"\n')
        self.python.chmod(0o755)
        marker, content = environment / "installed", self.lock.read_text()
        if marker.is_file() and marker.read_text() == content:
            return
        shutil.copy(self.lock, self.folder / "requirements.txt")
        make = (
            f"python3 -m venv --clear {environment} && {environment}/bin/python -m pip install --quiet "
            f"--disable-pip-version-check --require-hashes --requirement {self.folder}/requirements.txt"
        )
        container = ("docker", "run", *options, user, "--env=HOME=/tmp", OX_IMAGE, "sh", "-c", make)
        machine.run(*container, cwd=self.folder)
        marker.write_text(content)

    def store(self, scenario: dict[str, Any]) -> None:
        """Store rows by its own call."""
        self.run("ox_store.py", json.dumps(scenario))

    def commands(self, scenario: dict[str, Any]) -> list[tuple[str, ...]]:
        """Return the command of its documentation."""
        return [("-m", "django", "ox_worker", "--concurrency", str(scenario["threads"]))]

    def stop(self) -> None:
        """End its processes, and containers that outlived the program that started them."""
        super().stop()
        if left := self._containers():
            subprocess.run(["docker", "rm", "--force", *left], capture_output=True, check=False)

    def pids(self) -> Iterator[int]:
        """Return what runs in its containers."""
        for container in self._containers():
            top = ["docker", "top", container, "-eo", "pid"]
            done = subprocess.run(top, capture_output=True, text=True, check=False)
            yield from (int(pid) for pid in done.stdout.split()[1:])

    def _containers(self) -> list[str]:
        listed = ["docker", "ps", "--quiet", f"--filter=label={self.label}"]
        return subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split()


PEERS: tuple[type[Contender], ...] = (CeleryBeat, CeleryBeatResults, CeleryAdmin, DjangoOx)
CONTENDERS.update({one.name: one for one in PEERS})
