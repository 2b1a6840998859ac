"""Settings that cannot work are refused, with a sentence that says what to change."""

import pytest
from django.core.checks import run_checks
from django.db import connections
from pytest_django.fixtures import Settings


def found() -> set[str]:
    return {str(message.id) for message in run_checks() if str(message.id).startswith("jobstore")}


def test_the_settings_of_the_project_are_fine() -> None:
    assert found() == set()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        pytest.param("SCHEDULER_RENEW_SECONDS", 5.0, "jobstore.E001", id="renewed too rarely"),
        pytest.param("SCHEDULER_RENEW_SECONDS", 0.0, "jobstore.E001", id="renewed all the time"),
        pytest.param("SCHEDULER_DEAD_SECONDS", 1.0, "jobstore.E002", id="dead before the lease"),
        pytest.param("SCHEDULER_THREADS", 0, "jobstore.E003", id="nobody to work"),
    ],
)
def test_impossible_values_are_refused(
    settings: Settings, name: str, value: float, expected: str
) -> None:
    setattr(settings, name, value)
    assert found() == {expected}


def test_sqlite_that_does_not_lock_at_once_is_warned_about(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    database = connections["default"].settings_dict
    monkeypatch.setitem(database, "ENGINE", "django.db.backends.sqlite3")
    monkeypatch.setitem(database, "OPTIONS", {})
    assert found() == {"jobstore.W001"}
