"""The emitted checks stay green when their owner begins to work on the project.

That project is for SQLite, so no driver is installed, and its answers are none of the usual ones.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from baking import Baked

pytestmark = [pytest.mark.project, pytest.mark.timeout(600)]

# What claims, carries out and writes runs reads nothing that an owner edits.
FAR_FROM_EDITS = (
    *("claims", "database", "execution", "history", "importer", "leadership", "process", "storage"),
    *("declarations/test_sync.py", "health/test_probe_load.py", "health/test_server.py"),
    *("schedules/test_catch_up.py", "schedules/test_crontab.py", "test_contract.py"),
    *("test_jobstores.py", "test_stores.py"),
)

JOB = '''"""Reports."""

from jobstore.registry import scheduled


@scheduled("cron", id="monthly-report", day="last", hour=7)
def monthly_report() -> str:
    """Write the report of the month."""
    return "written"
'''

ACCOUNTS = '''"""People log in by their address, and have no other name."""

from typing import Any, ClassVar

from django.contrib.auth.models import AbstractUser, BaseUserManager
from django.db import models


class AccountManager(BaseUserManager["Account"]):
    """Makes accounts."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "Account":
        """Make an account."""
        account = self.model(email=self.normalize_email(email), **fields)
        account.set_password(password)
        account.save(using=self._db)
        return account

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "Account":
        """Make an account that may do everything."""
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)


class Account(AbstractUser):
    """Somebody who logs in."""

    username = None  # type: ignore[assignment]
    email = models.EmailField(unique=True)

    USERNAME_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []
    objects: ClassVar[AccountManager] = AccountManager()  # type: ignore[assignment]
'''


def replace(file: Path, before: str, after: str) -> None:
    """Edit a file as a person would."""
    text = file.read_text()
    assert text.count(before) == 1, before
    file.write_text(text.replace(before, after))


def speak_german(project: Baked) -> None:
    """Set another language, its numbers and its zone, and replace the sample job."""
    settings = project.path / "config" / "settings.py"
    replace(settings, 'LANGUAGE_CODE = "en-us"', 'LANGUAGE_CODE = "de"\nUSE_THOUSAND_SEPARATOR = True')
    replace(project.path / ".env", "TIME_ZONE=Pacific/Auckland", "TIME_ZONE=Europe/Berlin")
    (project.path / "jobs" / "heartbeat.py").unlink()
    (project.path / "jobs" / "reports.py").write_text(JOB)


def log_in_by_address(project: Baked) -> None:
    """Set a user model of one's own, and tune the scheduler in .env."""
    settings = project.path / "config" / "settings.py"
    replace(settings, '    "jobs",\n', '    "jobs",\n    "accounts",\n')
    replace(settings, "AUTH_PASSWORD_", 'AUTH_USER_MODEL = "accounts.Account"\nAUTH_PASSWORD_')
    with (project.path / ".env").open("a") as env:
        env.write("SCHEDULER_SURPLUS=standby\nSCHEDULER_THREADS=3\nJOB_HISTORY_DAYS=7\nLOG_LEVEL=WARNING\n")
        env.write("JOB_HISTORY_RESULT_LENGTH=0\nSCHEDULER_LISTEN=false\nSCHEDULER_HEALTH_ADDRESS=\n")
    for package in ("accounts", "accounts/migrations"):
        (project.path / package).mkdir()
        (project.path / package / "__init__.py").write_text("")
    (project.path / "accounts" / "models.py").write_text(ACCOUNTS)
    project.python("manage.py", "makemigrations", "accounts")
    shutil.rmtree(project.path / "accounts" / "__pycache__", ignore_errors=True)


@pytest.fixture(scope="module")
def edited(bake: Callable[..., Baked]) -> Baked:
    """Return a project with an environment of its own after all these edits."""
    project = bake(database="sqlite", proxy="caddy", time_zone="Pacific/Auckland", domain_name="a.example")
    project.install()
    speak_german(project)
    log_in_by_address(project)
    return project


def test_its_tests_stay_green(edited: Baked) -> None:
    left_out = [f"--ignore=jobstore/tests/{name}" for name in FAR_FROM_EDITS]
    command = ("-m", "pytest", "-p", "no:cacheprovider", "-q", "-n", "3", "-m", "not slow", *left_out)
    done = edited.python(*command)
    assert " passed" in done.stdout
    assert "psycopg" not in edited.python("-m", "pip", "freeze").stdout


def test_lint_types_and_checks_stay_green(edited: Baked) -> None:
    edited.python("-m", "ruff", "check", "--no-cache", ".")
    edited.python("-m", "ruff", "format", "--no-cache", "--check", ".")
    edited.python("-m", "mypy", "--cache-dir=/dev/null", ".")
    edited.python("manage.py", "makemigrations", "--check", "--settings", "tests.settings")
    edited.python("manage.py", "runapscheduler", "--check")
