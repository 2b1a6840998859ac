"""A process that is paused, or a server that hangs, does not keep others from going on."""

import concurrent.futures
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import DatabaseError, connection, connections, transaction
from pytest_django.fixtures import Settings

from jobstore.database import timeouts
from jobstore.leadership import lease
from jobstore.leadership.lease import assert_holder
from jobstore.models import DjangoJob, DjangoJobExecution, SchedulerLease
from jobstore.tests import callables
from jobstore.tests.conftest import StartScheduler, eventually

pytestmark = pytest.mark.django_db(transaction=True)

US, THEM = uuid.uuid4(), uuid.uuid4()
Run = DjangoJobExecution
SLEEP = {"postgresql": "SELECT pg_sleep(20)", "mysql": "SELECT SLEEP(20)"}


@pytest.fixture
def elsewhere() -> Iterator[concurrent.futures.ThreadPoolExecutor]:
    """A thread, and so a connection, of its own."""
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        yield thread
        thread.submit(connections.close_all).result(20)


def pause_inside_a_transaction(
    limit: Callable[[], None], term: lease.Term, go_on: threading.Event
) -> None:
    """Lock the lease as a claim does, and stand still for longer than anybody wants to wait."""
    limit()
    with pytest.raises(DatabaseError), transaction.atomic():  # noqa: PT012 - the last one raises
        assert_holder(term, "default")
        go_on.wait(40)
        DjangoJob.objects.first()


def acquired(go_on: threading.Event) -> lease.Term | None:
    """Take the lease over while somebody stands still, who is then let go."""
    began = time.monotonic()
    try:
        term = lease.acquire(US, "default", session_lock=True).term
        assert time.monotonic() - began < 30, "it went on only when the other did"
        return term
    finally:
        go_on.set()


def test_who_is_paused_in_a_transaction_does_not_block_a_take_over(
    elsewhere: concurrent.futures.ThreadPoolExecutor,
) -> None:
    term = lease.acquire(THEM, "default", session_lock=True).term
    assert term is not None
    go_on = threading.Event()
    paused = elsewhere.submit(
        pause_inside_a_transaction, lambda: timeouts.set_session_timeouts("default"), term, go_on
    )
    time.sleep(0.5)
    assert acquired(go_on) == lease.Term(US, term.epoch + 1)
    paused.result(20)


if connection.vendor == "postgresql":

    def test_nor_does_who_is_paused_behind_a_pooler(
        elsewhere: concurrent.futures.ThreadPoolExecutor,
    ) -> None:
        """There nothing can be set for the session, but for the transaction."""
        term = lease.acquire(THEM, "default", session_lock=True).term
        assert term is not None
        go_on = threading.Event()
        paused = elsewhere.submit(pause_inside_a_transaction, lambda: None, term, go_on)
        time.sleep(0.5)
        assert acquired(go_on)
        paused.result(20)


def test_a_statement_that_takes_too_long_is_ended(
    elsewhere: concurrent.futures.ThreadPoolExecutor,
) -> None:
    def ask() -> float:
        timeouts.set_session_timeouts("default")
        began = time.monotonic()
        try:
            with connections["default"].cursor() as cursor:
                cursor.execute(SLEEP[connection.vendor])
        except DatabaseError:
            pass  # MariaDB lets SLEEP return early instead
        return time.monotonic() - began

    assert elsewhere.submit(ask).result(30) < 15


def test_a_locked_job_does_not_silence_the_loop(
    start_scheduler: StartScheduler, settings: Settings
) -> None:
    # Longer than a few waits for a lock, of which MariaDB knows none below a second.
    settings.SCHEDULER_LEASE_SECONDS = 6.0
    scheduler = start_scheduler()
    scheduler.add_job(callables.note, "interval", seconds=1, id="locked")
    eventually(lambda: callables.calls)
    with transaction.atomic():
        DjangoJob.objects.select_for_update().get(pk="locked")
        time.sleep(8)
        # The claim that waits for the lock gives up, and the store can be asked again.
        assert scheduler._jobstores_lock.acquire(timeout=10)
        scheduler._jobstores_lock.release()
        before = len(callables.calls)
    eventually(lambda: len(callables.calls) > before)
    assert SchedulerLease.objects.get().epoch == 1


def limit_of_this_thread() -> str:
    """Tell how long a statement of a job may take."""
    question = {
        "postgresql": "SHOW statement_timeout",
        "mysql": "SELECT @@SESSION.max_statement_time",
    }[connection.vendor]
    with connections["default"].cursor() as cursor:
        cursor.execute(question)
        return str(cursor.fetchone()[0])


def test_jobs_are_not_limited(start_scheduler: StartScheduler) -> None:
    start_scheduler().add_job(limit_of_this_thread, id="ask")
    run: Any = eventually(lambda: Run.objects.filter(job="ask", status=Run.SUCCESS).first())
    assert float(run.result) == 0


def test_every_connection_notices_that_the_network_is_silent() -> None:
    connection.ensure_connection()
    raw: Any = connection.connection
    with socket.socket(fileno=os.dup(raw.fileno())) as peer:
        assert peer.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 5
        assert peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 8000
