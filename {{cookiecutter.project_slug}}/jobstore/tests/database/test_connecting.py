"""A database that cannot be used is told in one sentence that says what to do."""

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.db import connection

from jobstore.tests.processes import ROOT, database_url, unreachable_url


def refusal(url: str) -> str:
    """Return the one line with which a command of manage.py ends on this database."""
    done = subprocess.run(
        [sys.executable, "manage.py", "showmigrations"],
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1, done.stdout
    assert "Traceback" not in done.stderr
    [line] = done.stderr.splitlines()
    return line


if connection.vendor == "sqlite":

    def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        line = refusal(f"sqlite:///{tmp_path}/file/db.sqlite3")
        assert line.startswith(f"SQLite cannot write {tmp_path}/file/db.sqlite3: the file and its")

else:

    def test_a_wrong_password_is_told_with_the_rule_of_volumes() -> None:
        url = urlsplit(database_url())
        wrong = url._replace(netloc=f"{url.username}:wrong@{url.hostname}:{url.port}").geturl()
        line = refusal(wrong)
        assert f"refused the password of user '{url.username}'" in line
        assert "docker compose down --volumes" in line
        assert "wrong" not in line

    def test_a_database_that_is_not_there_is_told() -> None:
        line = refusal(urlsplit(database_url())._replace(path="/nowhere").geturl())
        assert line.startswith("There is no database 'nowhere' at ")

    def test_a_server_that_is_away_is_told(tmp_path: Path) -> None:
        assert "does not answer" in refusal(unreachable_url(tmp_path))


def test_a_traceback_is_to_be_had(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "showmigrations", "--traceback"],
        cwd=ROOT,
        env=os.environ | {"DATABASE_URL": unreachable_url(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert "Traceback" in done.stderr


@pytest.mark.parametrize("text", ["deadlock detected", "no such table: x", ""])
def test_an_error_of_another_kind_is_left_alone(text: str) -> None:
    from jobstore.database.connecting import explain

    assert explain(Exception(text)) is None
