"""What the tests share: a real scheduler, quick timings, and waiting for something to be so."""

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.contrib.contenttypes.models import ContentType
from django.core.management.commands import flush
from django.db import connection
from pytest_django.fixtures import Settings

from jobstore.jobstores import DjangoJobStore
from jobstore.tests import callables
from jobstore.tests.jobfiles import files
from jobstore.tests.processes import WebCommand

__all__ = ["files"]

# What asks no database, or asks it nothing of its own: SQLite's turn tells all there is to know.
WITHOUT_SERVER = (
    *("admin/test_admin_sites.py", "admin/test_languages.py", "checks/test_fresh_start.py"),
    *("claims/test_plan.py", "declarations/test_bad_jobs.py", "declarations/test_declarations.py"),
    *("declarations/test_discovery.py", "declarations/test_offers.py"),
    *("health/test_probe_port.py", "health/test_server.py", "health/test_throttle.py"),
    *("history/test_bounded.py", "process/test_ending.py", "process/test_signals.py"),
    *("schedules/test_catch_up.py", "schedules/test_crontab.py", "schedules/test_wording.py"),
    *("management/test_mistakes.py", "schedules/test_next_times.py"),
    *("schedules/test_words.py", "storage/test_replacement.py", "test_logs.py"),
    *("test_testing.py", "test_texts.py"),
)
# What one server tells of any other: loops, processes and pages around the same statements, who may
# see what, and what is refused in the same words before a statement is made.
WITHOUT_MARIADB = (
    *("admin/test_admin.py", "admin/test_job_editor.py", "admin/test_schedule_editor.py"),
    *("admin/test_shown.py", "admin/test_visibility.py", "api/test_mistakes.py"),
    *("claims/test_dst.py", "claims/test_properties.py", "test_parity.py"),
    *("execution/test_children.py", "execution/test_coroutines.py", "execution/test_forks.py"),
    *("health/test_answers.py", "health/test_probe_load.py", "history/test_listener.py"),
    *("leadership/test_fitness.py", "management/test_jobs_command.py"),
    *("process/test_connections.py", "process/test_loop.py", "process/test_stop.py"),
)
ONLY_ON_SERVERS = (
    *("claims/test_late_commit", "claims/test_locked", "execution/test_fork_moments"),
    *("database/test_notifications", "database/test_timeouts", "history/test_recorder_plan"),
)
# Databases that cannot tell of changes have nothing to test there, nor SQLite, which has one lock
# for all, and no server that could end what takes too long.
collect_ignore = {
    "postgresql": [*WITHOUT_SERVER],
    "mysql": [
        *(*WITHOUT_SERVER, *WITHOUT_MARIADB),
        *("database/test_notifications.py", "history/test_recorder_plan.py"),
    ],
    "sqlite": [f"{name}.py" for name in ONLY_ON_SERVERS],
}[connection.vendor]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out on servers what is marked `any_database`."""
    if connection.vendor == "sqlite":
        return
    left_out = [item for item in items if item.get_closest_marker("any_database")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Give each test a session without limits: they would end its own transaction if it idles."""
    if getattr(connection, "_limited", None) is not None:
        connection.close()


@pytest.fixture(scope="package", autouse=True)
def _quick_flush() -> Iterator[None]:
    """Empty tables after a test in a tenth of the time that Django takes for it.

    Content types and permissions stay: to make them anew takes longer than most tests. PostgreSQL
    deletes rows, since TRUNCATE makes new files.
    """
    kept = [model._meta.db_table for model in (ContentType, Permission)]

    def statements(style: Any, database: Any, **options: Any) -> list[str]:
        tables = database.introspection.django_table_names(only_existing=True, include_views=False)
        others = [table for table in tables if table not in kept]
        if database.vendor == "postgresql":
            return [";".join(f"DELETE FROM {one}" for one in others)]  # noqa: S608 - our own
        found: list[str] = database.ops.sql_flush(style, others, **options)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flush, "sql_flush", statements)
        patch.setattr(flush, "emit_post_migrate_signal", lambda *_: None)
        yield


@pytest.fixture
def english_and_utc(settings: Settings) -> None:
    """Sentences in English and times in UTC, whatever the project has chosen."""
    settings.TIME_ZONE = "UTC"


@pytest.fixture(autouse=True)
def _english(settings: Settings) -> None:
    """Sentences as the code has them, whatever language the project speaks."""
    settings.LANGUAGE_CODE = "en-us"


@pytest.fixture(autouse=True)
def _quick(settings: Settings) -> None:
    """Take-overs within a second or two, so that tests need not wait."""
    settings.SCHEDULER_LEASE_SECONDS = 2.0
    settings.SCHEDULER_RENEW_SECONDS = 0.2
    settings.SCHEDULER_MARGIN_SECONDS = 0.5
    settings.SCHEDULER_POLL_SECONDS = 0.1
    settings.SCHEDULER_DEAD_SECONDS = 2.5
    settings.SCHEDULER_STATEMENT_SECONDS = 2.0


@pytest.fixture
def nothing_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    """No function is declared or offered but by the test itself."""
    monkeypatch.setattr("jobstore.registry._declared", {})
    monkeypatch.setattr("jobstore.registry._offered", {})
    monkeypatch.setattr("jobstore.declarations.discovery.import_jobs", list)


@pytest.fixture(autouse=True)
def _forget_calls() -> None:
    callables.calls.clear()
    callables.release.clear()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[WebCommand]:
    """Start gunicorn with the project's configuration."""
    command = WebCommand(tmp_path / "web.log")
    try:
        eventually(command.is_up, 30)
        yield command
    finally:
        command.end()


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
