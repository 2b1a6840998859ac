"""Settings that cannot work are refused, with a sentence that says what to change."""

from pathlib import Path

import pytest
from django.core.checks import run_checks
from django.db import connections
from pytest_django.fixtures import Settings

from jobstore.checks import configuration


def found() -> set[str]:
    return {str(message.id) for message in run_checks() if str(message.id).startswith("jobstore")}


def test_the_settings_of_the_project_are_fine() -> None:
    assert found() == set()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        pytest.param("SCHEDULER_RENEW_SECONDS", 5.0, "jobstore.E001", id="renewed too rarely"),
        pytest.param("SCHEDULER_RENEW_SECONDS", 0.0, "jobstore.E003", id="renewed all the time"),
        pytest.param("SCHEDULER_DEAD_SECONDS", 1.0, "jobstore.E002", id="dead before the lease"),
        pytest.param("SCHEDULER_THREADS", 0, "jobstore.E003", id="nobody to work"),
        pytest.param("SCHEDULER_DRAIN_SECONDS", 33, "jobstore.E004", id="killed in the drain"),
        pytest.param("SCHEDULER_STATEMENT_SECONDS", 0, "jobstore.E003", id="statements for ever"),
        pytest.param("SCHEDULER_STATEMENT_SECONDS", 3, "jobstore.E005", id="beyond the lease"),
        pytest.param("SCHEDULER_SURPLUS", "allow", "jobstore.E003", id="a word not known"),
    ],
)
def test_impossible_values_are_refused(
    settings: Settings, name: str, value: object, expected: str
) -> None:
    setattr(settings, name, value)
    assert found() == {expected}


@pytest.mark.parametrize(
    "name", ["jobstore.nothing.may", "jobstore.conf.nothing", "jobstore.conf.SETTINGS"]
)
def test_a_function_that_decides_about_access_must_be_there(settings: Settings, name: str) -> None:
    settings.JOB_ACCESS = name
    assert found() == {"jobstore.E012"}
    settings.JOB_ACCESS = "jobstore.tests.api.offers.only_mine"
    assert found() == set()
    settings.JOB_ACCESS_QUERYSET = name
    assert found() == {"jobstore.E012"}


def test_what_narrows_lists_is_not_enough_to_hide_jobs(settings: Settings) -> None:
    settings.JOB_ACCESS_QUERYSET = "jobstore.tests.api.offers.only_mine"
    assert found() == {"jobstore.E013"}


def test_sqlite_that_does_not_lock_at_once_is_warned_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    database = connections["default"].settings_dict
    monkeypatch.setitem(database, "ENGINE", "django.db.backends.sqlite3")
    monkeypatch.setitem(database, "OPTIONS", {})
    assert found() == {"jobstore.W001"}


@pytest.mark.parametrize("name", ["SCHEDULER_SESSION_LOCK", "SCHEDULER_LISTEN"])
def test_what_needs_a_session_is_refused_behind_a_pooler(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setitem(connections["default"].settings_dict, "DISABLE_SERVER_SIDE_CURSORS", True)
    settings.SCHEDULER_SESSION_LOCK = settings.SCHEDULER_LISTEN = False
    assert found() == set()
    setattr(settings, name, True)
    assert found() == {"jobstore.E007"}


def on_sqlite_at(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = connections["default"].settings_dict
    monkeypatch.setitem(database, "ENGINE", "django.db.backends.sqlite3")
    monkeypatch.setitem(database, "NAME", file)
    monkeypatch.setitem(database, "OPTIONS", {"transaction_mode": "IMMEDIATE"})


def test_sqlite_in_a_folder_that_cannot_be_written_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    on_sqlite_at(tmp_path / "not there" / "db.sqlite3", monkeypatch)
    assert found() == {"jobstore.E009"}


def test_sqlite_that_everybody_can_read_is_warned_about(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "db.sqlite3"
    file.touch(0o600)
    tmp_path.chmod(0o755)
    on_sqlite_at(file, monkeypatch)
    assert found() == set()
    file.chmod(0o644)
    assert found() == {"jobstore.W003"}
    tmp_path.chmod(0o700)
    assert found() == set()


MOUNTS = r"""/dev/sda1 / ext4 rw 0 0
server:/share /srv/common nfs4 rw 0 0
server:/two /srv/two\040words cifs rw 0 0
/dev/sdb1 /srv/common/local xfs rw 0 0
"""


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("/srv/common/jobs/db.sqlite3", "nfs4"),
        ("/srv/two words/db.sqlite3", "cifs"),
        ("/srv/common/local/db.sqlite3", "xfs"),
        ("/srv/commons/db.sqlite3", "ext4"),
    ],
)
def test_the_file_system_of_a_path_is_that_of_the_nearest_mount(place: str, kind: str) -> None:
    assert configuration.filesystem_of(Path(place), MOUNTS) == kind


def test_sqlite_on_a_network_file_system_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    on_sqlite_at(tmp_path / "db.sqlite3", monkeypatch)
    assert found() == set()
    mounts = f"{MOUNTS}server:/three {tmp_path} nfs4 rw 0 0\n"
    monkeypatch.setattr(configuration, "mounted", lambda: mounts)
    assert found() == {"jobstore.E008"}
