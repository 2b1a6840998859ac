"""What the tests share: a real scheduler, quick timings, and waiting for something to be so."""

import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from django.contrib.auth import get_user_model
from django.db import connection
from pytest_django.fixtures import Settings

from jobstore.jobstores import DjangoJobStore
from tests import callables
from tests.jobfiles import files

__all__ = ["files"]

pytest_plugins = ["jobstore.testing"]

# What asks no database, or only whether it answers: SQLite's turn tells all that there is to know.
WITHOUT_SERVER = (
    *("test_bounded.py", "test_crontab.py", "test_discovery.py", "test_environment.py"),
    "test_fresh_start.py",
    *("test_logs.py", "test_plan.py", "test_probe_server.py", "test_settings.py"),
    *("test_signals.py", "test_texts.py", "test_throttle.py", "test_web.py"),
)
# Databases that cannot tell of changes have nothing to test there, nor SQLite, which has one lock
# for all, and no server that could end what takes too long.
collect_ignore = {
    "postgresql": [*WITHOUT_SERVER],
    "mysql": [*WITHOUT_SERVER, "test_wake.py"],
    "sqlite": ["test_wake.py", "test_limits.py", "test_locked.py", "test_late_commit.py"],
}[connection.vendor]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Give each test a session without limits: they would end its own transaction if it idles."""
    if getattr(connection, "_limited", None) is not None:
        connection.close()


@pytest.fixture(autouse=True)
def _quick(settings: Settings) -> None:
    """Take-overs within a second or two, so that tests need not wait."""
    settings.SCHEDULER_LEASE_SECONDS = 2.0
    settings.SCHEDULER_RENEW_SECONDS = 0.2
    settings.SCHEDULER_MARGIN_SECONDS = 0.5
    settings.SCHEDULER_POLL_SECONDS = 0.1
    settings.SCHEDULER_DEAD_SECONDS = 2.5
    settings.SCHEDULER_STATEMENT_SECONDS = 2.0


@pytest.fixture(autouse=True)
def _forget_calls() -> None:
    callables.calls.clear()
    callables.release.clear()


StartScheduler = Callable[..., BackgroundScheduler]


@pytest.fixture
def start_scheduler(transactional_db: None) -> Iterator[StartScheduler]:
    """Return a function that starts a real scheduler on the job store; stop them all at the end."""
    started: list[BackgroundScheduler] = []

    def start(threads: int = 10, **options: Any) -> BackgroundScheduler:
        scheduler = BackgroundScheduler(
            jobstores={"default": DjangoJobStore()},
            executors={"default": ThreadPoolExecutor(threads)},
            timezone="UTC",
            **options,
        )
        scheduler.start()
        started.append(scheduler)
        return scheduler

    yield start
    callables.release.set()
    for scheduler in started:
        if scheduler.running:
            scheduler.shutdown()


def create_user(**fields: Any) -> Any:
    """Create a user whatever the project's model calls them; the password is `password`."""
    model: Any = get_user_model()
    name = f"{uuid.uuid4().hex}@example.org"
    user = model(**{model.USERNAME_FIELD: name}, is_active=True, **fields)
    user.set_password("password")
    user.save()
    return user


def eventually(condition: Callable[[], Any], timeout: float = 10.0) -> Any:
    """Return the condition's first true value; fail if there is none within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not so within {timeout} s"
        time.sleep(0.02)
    return value
