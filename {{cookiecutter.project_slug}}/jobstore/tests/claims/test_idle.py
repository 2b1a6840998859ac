"""A connection that idles until the server closes it is no outage, and is not reported as one."""

import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from apscheduler.triggers.date import DateTrigger
from django.db import OperationalError, connection, connections

from jobstore import util
from jobstore.jobstores import DjangoJobStore
from jobstore.models import DjangoJobExecution, database_now
from jobstore.tests import callables
from jobstore.tests.conftest import StartScheduler, eventually

pytestmark = pytest.mark.django_db(transaction=True)


def end_sessions(statement: str) -> None:
    """End sessions from another one, as a server does that has seen nothing of them for long."""

    def end() -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            rows = cursor.fetchall()
            if connection.vendor == "mysql":
                for (number,) in rows:
                    cursor.execute(f"KILL {number}")
        connections.close_all()

    with ThreadPoolExecutor(1) as thread:
        thread.submit(end).result(20)


def own_session() -> int:
    with connection.cursor() as cursor:
        question = {"postgresql": "pg_backend_pid()", "mysql": "connection_id()"}
        cursor.execute(f"SELECT {question[connection.vendor]}")
        return int(cursor.fetchone()[0])


def session_of(raw: Any) -> int | None:
    """Return the number of another thread's session; None while that asks something."""
    if connection.vendor == "postgresql":
        return int(raw.info.backend_pid)
    try:
        return int(raw.thread_id())
    except Exception:  # that of MySQLdb, which is not installed everywhere
        return None


END = {
    "postgresql": "SELECT pg_terminate_backend({})",
    "mysql": "SELECT {}",
}


def warnings(caplog: pytest.LogCaptureFixture) -> list[Any]:
    return [one.getMessage() for one in caplog.records if one.levelno > logging.INFO]


if connection.vendor != "sqlite":  # which has no server

    def test_a_connection_that_the_server_closed_is_replaced_without_a_warning(
        monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(util, "IDLE_SECONDS", -1.0)
        util.renew_idle_connection("default")
        end_sessions(END[connection.vendor].format(own_session()))
        util.renew_idle_connection("default")
        assert DjangoJobExecution.objects.count() == 0
        assert warnings(caplog) == []

    def test_a_lost_connection_is_a_warning_only_if_a_new_one_does_not_help(
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        end_sessions(END[connection.vendor].format(own_session()))
        assert DjangoJobStore().get_all_jobs() == []
        assert warnings(caplog) == []

    def test_a_loop_that_idled_starts_its_next_job_without_a_warning(
        start_scheduler: StartScheduler,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(util, "IDLE_SECONDS", -1.0)
        scheduler = start_scheduler()
        store = scheduler._jobstores["default"]
        scheduler.add_job(callables.note, DateTrigger(database_now("default")), id="first")
        eventually(lambda: callables.calls)
        loop = store._dispatcher._connection
        raw = loop.connection
        number = eventually(lambda: session_of(raw))
        caplog.clear()
        end_sessions(END[connection.vendor].format(number))
        scheduler.add_job(callables.note, DateTrigger(database_now("default")), id="second")
        eventually(lambda: len(callables.calls) == 2)
        assert [text for text in warnings(caplog) if "database" in text.lower()] == []


def test_a_database_that_stays_away_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    @util.retry_on_db_operational_error
    def ask() -> None:
        raise OperationalError("gone")

    with pytest.raises(OperationalError, match="gone"):
        ask()
    assert len(warnings(caplog)) == 1
