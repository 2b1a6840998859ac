"""The project that the default answers give passes every check that it brings along."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable

import pytest

from baking import Baked, clean_environment
from documents import Block
from servers import answers

pytestmark = pytest.mark.project

# Windows between a read and a claim in which everything else may happen (test_interleavings.py says
# how to look at ten thousand, which takes a quarter of an hour).
MANY = "200"

SAFE = {"DJANGO_HTTPS": "true", "DATABASE_URL": "sqlite:///var/check.sqlite3"}


def test_what_is_installed_is_what_is_locked(installed: Baked) -> None:
    frozen = pins(installed.python("-m", "pip", "freeze").stdout)
    locked = pins(
        "".join(installed.read(f"requirements/{name}.txt") for name in ("base", "dev", "postgresql"))
    )
    # Locks also hold what only other systems need, so there may be more in them, never less.
    assert frozen - locked == set()
    assert {"django", "apscheduler", "psycopg", "pytest"} <= {name for name, _ in frozen}


def pins(text: str) -> set[tuple[str, str]]:
    """Return the packages and versions that a list of requirements pins, named alike in all lists."""
    found = re.findall(r"^([\w.-]+)(?:\[\w,]+\])?==([^\s;]+)", text, re.M)
    return {(re.sub(r"[-_.]+", "-", name).lower(), version) for name, version in found}


def test_the_readme_s_commands_install_test_and_check_it(
    installed: Baked, documented: Callable[[str, str], Block]
) -> None:
    # `make test` and `make test-all` run all tests of the project below, and in place; here few.
    path = f"{installed.path / '.venv' / 'bin'}:{os.environ['PATH']}"
    environment = clean_environment(PATH=path, PYTEST_ADDOPTS="-p no:cacheprovider -k test_jobs")
    said = documented("project/README.md", "pip install --require-hashes $(").run(installed.path, environment)
    assert len(re.findall(r"\d passed", said)) == 2
    assert "All checks passed!" in said
    assert "no issues found" in said
    assert "1 kept, 0 broken" in said
    assert "No changes detected" in said
    for cache in (".mypy_cache", ".ruff_cache", ".import_linter_cache"):
        shutil.rmtree(installed.path / cache, ignore_errors=True)


def test_every_target_of_its_makefile_is_told_and_known(installed: Baked) -> None:
    told = re.findall(r"^make (\S+)", installed.run("make", "help").stdout, re.M)
    assert {"run", "logs", "migrate", "test", "test-all", "check"} <= set(told)
    for target in told:
        installed.run("make", "--dry-run", target)
    for target in re.findall(r"(?m:^    |`)make ([a-z-]+)", installed.read("README.md")):
        assert target in told


def test_production_settings_are_safe(installed: Baked) -> None:
    done = installed.python("manage.py", "check", "--deploy", "--fail-level", "WARNING", **SAFE)
    assert "no issues" in done.stdout


def test_its_tests_pass_on_postgresql(installed: Baked, postgresql: tuple[str, str]) -> None:
    container, url = postgresql
    # In another zone than on SQLite: what is stored in one may not be read in another.
    zone = "Pacific/Auckland"
    assert passed(installed, DATABASE_URL=url, INTERLEAVINGS=MANY, TIME_ZONE=zone) > 0
    # It was this server that they ran on.
    logged = subprocess.run(["docker", "logs", container], capture_output=True, text=True)
    assert "database=test_postgres" in logged.stderr


def test_its_tests_pass_on_mariadb(installed_for_mariadb: Baked, mariadb: tuple[str, str]) -> None:
    container, url = mariadb
    assert passed(installed_for_mariadb, DATABASE_URL=url, INTERLEAVINGS=MANY) > 0
    # It was this server that they ran on.
    assert answers("exec", container, "grep", "-q", "test_app", "/tmp/log")


def passed(project: Baked, **variables: str) -> int:
    """Run the project's own tests, which must succeed, and return how many passed."""
    command = ("-m", "pytest", "-p", "no:cacheprovider", "-q", "-n", "3")
    done = project.python(*command, timeout=1500, **variables)
    found = re.search(r"(\d+) passed", done.stdout)
    assert found, done.stdout
    return int(found[1])
