"""A file that Django loads before any command is named with its line, not by a traceback."""

from pathlib import Path

import pytest

from jobstore.tests.copies import Home

pytestmark = pytest.mark.slow

COMMANDS = {
    "check": ("manage.py", "check"),
    "scheduler": ("manage.py", "runapscheduler"),
    "check of jobs": ("manage.py", "runapscheduler", "--check"),
}
DECLARES = (
    'from jobstore.registry import scheduled\n@scheduled("cron", hour=3)\ndef report(): pass\n'
)
MISTAKES = {
    "a module that is not there": ("jobs/__init__.py", "import nope\n", 1, "named 'nope'"),
    "an exit": ("jobs/__init__.py", "\nimport sys; sys.exit(0)\n", 2, "SystemExit: 0"),
    "a line that is no Python": ("jobs/__init__.py", "def report(:\n", 1, "SyntaxError"),
    "an error of many lines": ("jobs/__init__.py", 'raise OSError("a\\nb")\n', 1, "OSError: a b"),
    "a declared job": (
        "jobs/__init__.py",
        DECLARES,
        1,
        "declare jobs, and import models, in anoth",
    ),
    "an application": ("jobs/apps.py", "1 / 0\n", 1, "ZeroDivisionError"),
    "models": ("jobs/models.py", "1 / 0\n", 1, "ZeroDivisionError"),
    "an admin page": ("jobs/admin.py", "import jobs.other\n", 1, "named 'jobs.other'"),
    "settings": ("config/settings.py", "DEBUG = maybe\n", 1, "'maybe' is not defined"),
}


def told(home: Home, *arguments: str) -> str:
    """Return the one line with which a program ends, with exit code 2."""
    done = home.run(*arguments)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    [line] = done.stderr.splitlines()
    return line


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_file_that_cannot_be_loaded_is_told_with_its_line(home: Home, mistake: str) -> None:
    file, content, line, reason = MISTAKES[mistake]
    (home.path / file).write_text(content)
    text = told(home, "manage.py", "check")
    assert text.startswith(f"{file}:{line}: The project cannot be loaded: ") and reason in text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_tells_of_jobs_that_cannot_be_loaded(home: Home, command: str) -> None:
    (home.path / "jobs/__init__.py").write_text("import nope\n")
    assert told(home, *COMMANDS[command]).startswith("jobs/__init__.py:1: ")


def test_an_application_that_is_not_there_is_told(home: Home) -> None:
    with (home.path / "config/settings.py").open("a") as settings:
        settings.write('INSTALLED_APPS += ["nope"]\n')
    text = told(home, "manage.py", "check")
    assert text.startswith("config/settings.py: ") and "'nope'" in text


def test_the_traceback_is_shown_to_who_asks_for_it(home: Home) -> None:
    (home.path / "jobs/__init__.py").write_text("import nope\n")
    done = home.run("manage.py", "check", "--traceback")
    assert done.returncode == 1 and "Traceback" in done.stderr


def test_a_command_that_does_not_exist_is_told_as_by_django(home: Home) -> None:
    done = home.run("manage.py", "nope")
    assert done.returncode == 1 and done.stderr.startswith("Unknown command: 'nope'")
