"""The contenders that are measured: each in an environment of its own, with the same methods.

A contender stores a scenario's jobs, starts, runs them and stops. Its jobs write the same trace
(programs/load.py) for every contender. Its own history is in its tables.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from databases import Database, Sqlite

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import bakery  # noqa: E402
import machine  # noqa: E402
from baking import clean_environment  # noqa: E402

PROGRAMS = Path(__file__).resolve().parent / "programs"
REQUIREMENTS = Path(__file__).resolve().parent / "requirements"
BUILD = ROOT / "build" / os.environ.get("BENCH_FOLDER", "bench")


class Failed(machine.Failed):
    """A contender failed; the message has the end of its log."""


class Contender:
    """A program that runs jobs. `name` is its key in the results, `title` the name that people read."""

    name = ""
    title = ""
    databases: tuple[str, ...] = ("postgresql",)
    # The contender whose environment it uses, if not its own (setups.py).
    home = ""
    # Seconds that storing one job takes at the most.
    store_seconds = 0.01
    # Its daily jobs can only be due at multiples of this many seconds.
    align_seconds = 1
    # Whether it makes all late runs, so that the k-th start of a job belongs to its k-th time.
    makes_every_run = True
    # What readers must know about its figures, in a few words without a full stop.
    note = ""
    # Counts runs with a final state and late ones, in SQL; empty for who keeps no history.
    finished_sql = ""
    missed_sql = ""
    # When the last result was committed, in seconds since 1970; PostgreSQL alone knows.
    durable_sql = ""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.folder = BUILD / (self.home or self.name)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.trace = self.folder / "trace"
        self.log = self.folder / "log"
        self.processes: list[subprocess.Popen[bytes]] = []

    @classmethod
    def obstacle(cls) -> str:
        """Return what keeps it from taking part on this machine, empty for nothing."""
        return ""

    # --- What each does in its own way ------------------------------------------------------------

    def install(self) -> None:
        """Make the environment, once."""
        raise NotImplementedError

    def migrate(self) -> None:
        """Make the tables, in an empty database."""
        raise NotImplementedError

    def store(self, scenario: dict[str, Any]) -> None:
        """Store the scenario's jobs."""
        raise NotImplementedError

    def commands(self, scenario: dict[str, Any]) -> list[tuple[str, ...]]:
        """Return the commands of the processes that run jobs."""
        raise NotImplementedError

    @property
    def python(self) -> Path:
        """The Python of its environment."""
        return self.folder / ".venv" / "bin" / "python"

    @property
    def environment(self) -> dict[str, str]:
        """The variables of its processes."""
        return {
            "DATABASE_URL": self.database.url,
            "BENCH_TRACE": str(self.trace),
            "PYTHONPATH": str(PROGRAMS),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    @property
    def cwd(self) -> Path:
        """The folder of its processes."""
        return PROGRAMS

    # --- What all do alike ------------------------------------------------------------------------

    def run(self, *command: str, **extra: str) -> str:
        """Run its Python, which must succeed."""
        done = subprocess.run(
            [str(self.python), *command],
            cwd=self.cwd,
            env=clean_environment(**self.environment, **extra),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise Failed(f"{self.title}: {command[:2]} ended with {done.returncode}:\n{done.stderr[-3000:]}")
        return done.stdout

    def start(self, scenario: dict[str, Any], **extra: str) -> None:
        """Start its processes with an empty trace and log."""
        self.trace.write_bytes(b"")
        self.log.write_bytes(b"")
        for command in self.commands(scenario):
            self.processes.append(self.launch(command, **extra))

    def launch(self, command: tuple[str, ...], **extra: str) -> "subprocess.Popen[bytes]":
        """Start one process, which the caller ends; its output goes into the log."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [str(self.python), *command],
                cwd=self.cwd,
                env=clean_environment(**self.environment, **extra),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def stop(self) -> None:
        """End its processes: by SIGTERM, and after a while by SIGKILL."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 20
        for process in self.processes:
            try:
                process.wait(max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self.processes = []

    def assert_alive(self) -> None:
        """Raise Failed if one of its processes has ended."""
        for process in self.processes:
            if process.poll() is not None:
                raise Failed(f"{self.title} ended with {process.returncode}:\n{machine.tail(self.log)}")

    def pids(self) -> Iterator[int]:
        """Return its processes and their children."""
        for process in self.processes:
            group = subprocess.run(
                ["ps", "-o", "pid=", "-s", str(process.pid)], capture_output=True, text=True, check=False
            )
            yield from (int(pid) for pid in group.stdout.split())

    def count(self, statement: str) -> int | None:
        """Return what a counting statement finds."""
        if not statement:
            return None
        if isinstance(self.database, Sqlite):
            import sqlite3

            with sqlite3.connect(self.database.path, timeout=30) as connection:
                return int(connection.execute(statement).fetchone()[0])
        return int(self.database.ask(statement)[0])

    def finished(self) -> int | None:
        """Return how many runs its history says have ended, None without a history."""
        return self.count(self.finished_sql)

    def missed(self) -> int | None:
        """Return how many runs its history says were missed, None without a history."""
        return self.count(self.missed_sql)

    def durable_at(self) -> float | None:
        """Return when the last result was committed, None if that is not known."""
        if self.database.kind != "postgresql" or not self.durable_sql:
            return None
        return float(self.database.ask(self.durable_sql)[0])  # type: ignore[union-attr]


class Ours(Contender):
    """The baked project's `runapscheduler`, with all that it does."""

    name = "ours"
    title = "this template"
    databases: tuple[str, ...] = ("postgresql", "mariadb", "sqlite")
    table = "jobstore_djangojobexecution"
    finished_sql = f"SELECT count(*) FROM {table} WHERE status NOT IN ('Requested', 'Started execution')"  # noqa: S608
    missed_sql = f"SELECT count(*) FROM {table} WHERE status = 'Missed!'"  # noqa: S608
    durable_sql = f"SELECT extract(epoch FROM max(pg_xact_commit_timestamp(xmin))) FROM {table}"  # noqa: S608

    def install(self) -> None:
        """Bake and install the project."""
        self.project = bakery.project(self.folder, self.database.kind)

    @property
    def python(self) -> Path:
        """The Python of the project."""
        return self.cwd / ".venv" / "bin" / "python"

    @property
    def cwd(self) -> Path:
        """The project's folder."""
        return self.folder / self.database.kind / "my_project"

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a small installation, on the database of this benchmark."""
        return super().environment | {
            "DJANGO_SETTINGS_MODULE": "bench_settings",
            "SCHEDULER_HEALTH_ADDRESS": f"127.0.0.1:{machine.free_port(8300)}",
            "PYTHONPATH": f"{self.cwd}:{PROGRAMS}",
            "BENCH_STORE": "jobstore.jobstores.DjangoJobStore",
        }

    def migrate(self) -> None:
        """Make the tables."""
        self.run("manage.py", "migrate", "-v0")

    def store(self, scenario: dict[str, Any]) -> None:
        """Store the jobs by APScheduler's own calls."""
        self.run(str(PROGRAMS / "apscheduler_store.py"), "store", json.dumps(scenario))

    def commands(self, scenario: dict[str, Any]) -> list[tuple[str, ...]]:
        """Return the project's own command."""
        return [("manage.py", "runapscheduler")]


class Peer(Contender):
    """A package in a small Django project."""

    apps = ""
    lock = Path()

    @property
    def environment(self) -> dict[str, str]:
        """The variables of that project."""
        return super().environment | {
            "DJANGO_SETTINGS_MODULE": "peer_settings",
            "BENCH_APPS": self.apps,
        }

    def install(self) -> None:
        """Install what its lock file pins."""
        machine.install(self.folder / ".venv", self.lock)

    def migrate(self) -> None:
        """Make the tables."""
        self.run("-m", "django", "migrate", "-v0")


class DjangoApscheduler(Peer):
    """django-apscheduler as its README says: one scheduler, started by a command."""

    name = "django-apscheduler"
    title = "django-apscheduler 0.7"
    databases = ("postgresql", "mariadb", "sqlite")
    apps = "django_apscheduler"
    lock = ROOT / "tests" / "peers" / "requirements-0.7.txt"
    table = "django_apscheduler_djangojobexecution"
    finished_sql = f"SELECT count(*) FROM {table} WHERE status <> 'Started execution'"  # noqa: S608
    missed_sql = f"SELECT count(*) FROM {table} WHERE status = 'Missed!'"  # noqa: S608
    durable_sql = f"SELECT extract(epoch FROM max(pg_xact_commit_timestamp(xmin))) FROM {table}"  # noqa: S608

    @property
    def environment(self) -> dict[str, str]:
        """Names the store."""
        return super().environment | {"BENCH_STORE": "django_apscheduler.jobstores.DjangoJobStore"}

    def store(self, scenario: dict[str, Any]) -> None:
        """Store the jobs by APScheduler's own calls."""
        self.run("apscheduler_store.py", "store", json.dumps(scenario))

    def commands(self, scenario: dict[str, Any]) -> list[tuple[str, ...]]:
        """Return the command that its README shows."""
        return [("apscheduler_store.py", "run", json.dumps(scenario))]


class Memory(Peer):
    """APScheduler's memory store: what its loop and its threads can do with no database at all."""

    name = "memory"
    title = "APScheduler's memory store (limit)"
    databases = ("postgresql", "mariadb", "sqlite")
    lock = DjangoApscheduler.lock

    @property
    def environment(self) -> dict[str, str]:
        """Names the store, which needs no Django."""
        kept = super().environment
        kept.pop("DJANGO_SETTINGS_MODULE")
        return kept | {"BENCH_STORE": "apscheduler.jobstores.memory.MemoryJobStore"}

    def migrate(self) -> None:
        """Do nothing: there is no table."""

    def store(self, scenario: dict[str, Any]) -> None:
        """Do nothing: jobs are stored when it starts."""

    def commands(self, scenario: dict[str, Any]) -> list[tuple[str, ...]]:
        """Return what stores and runs."""
        return [("apscheduler_store.py", "run", json.dumps(scenario))]


CONTENDERS: dict[str, type[Contender]] = {one.name: one for one in (Ours, DjangoApscheduler, Memory)}
