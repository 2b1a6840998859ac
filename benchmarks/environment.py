"""The machine and the versions that a result belongs to."""

import datetime as dt
import json
import os
import platform
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Any

from contenders import Contender
from databases import Database, MariaDB, Sqlite

# Packages whose version can matter for what is measured, of those that a contender has installed.
PACKAGES = (
    *("Django", "APScheduler", "django-apscheduler", "django-celery-beat", "django-ox"),
    *("celery", "kombu", "redis", "psycopg", "psycopg-binary", "mysqlclient", "PyMySQL", "SQLAlchemy"),
)
VERSIONS = """
import json, sys
from importlib import metadata
found = {}
for name in json.loads(sys.argv[1]):
    try:
        found[name] = metadata.version(name)
    except metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""
# Its first line has the work of all cores together since the start, in ticks.
STAT = Path("/proc/stat")
# What is written before each flush, about as much as a small transaction does.
BLOCK = b"\0" * 8192


def now() -> str:
    """Return the date and time in UTC, to the second."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def busy_cores(seconds: float = 3.0) -> float:
    """Return how many cores are busy while this waits, on average."""
    before = _ticks_used()
    time.sleep(seconds)
    return round((_ticks_used() - before) / os.sysconf("SC_CLK_TCK") / seconds, 2)


def _ticks_used() -> int:
    user, nice, system, _idle, _waiting, *others = map(int, STAT.read_text().split()[1:8])
    return user + nice + system + sum(others)


def describe(folder: Path) -> dict[str, Any]:
    """Describe the machine; `folder` is on the disk whose flushes are counted."""
    return {
        "date": now(),
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "flushes_per_second": flushes_per_second(folder),
        "python": platform.python_version(),
        "commit": commit(),
    }


def cpu_model() -> str:
    """Return the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def flushes_per_second(folder: Path, seconds: float = 1.0) -> int:
    """Return how often in a second 8 kB can be written and flushed to the disk, one after the other."""
    file = folder / "flushes"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT, 0o600)
    count, began = 0, time.monotonic()
    try:
        while (taken := time.monotonic() - began) < seconds:
            os.pwrite(descriptor, BLOCK, 0)
            os.fsync(descriptor)
            count += 1
    finally:
        os.close(descriptor)
        file.unlink()
    return round(count / taken)


def commit() -> str:
    """Return the measured commit of this repository, empty outside of a repository."""
    command = ("git", "-c", "safe.directory=*", "describe", "--always", "--dirty")
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def version_of(database: Database) -> str:
    """Return the database's version, in its own words but short."""
    if isinstance(database, Sqlite):
        return f"SQLite {sqlite3.sqlite_version}"
    if isinstance(database, MariaDB):
        return f"MariaDB {database.ask('SELECT version()')[0].partition('-')[0]}"
    return " ".join(database.ask("SELECT version()")[0].split()[:2])


def packages(contender: Contender) -> dict[str, str]:
    """Return the versions of those packages that matter, of a contender that is installed."""
    done = subprocess.run(
        [str(contender.python), "-c", VERSIONS, json.dumps(PACKAGES)], capture_output=True, text=True
    )
    found: dict[str, str] = json.loads(done.stdout) if done.returncode == 0 else {}
    return found
