"""Nothing that a job leaves in its worker reaches the next job, or outlives it in the database."""

import datetime as dt
import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client

from jobstore.models import DjangoJob, DjangoJobExecution
from jobstore.tests import misdeeds
from jobstore.tests.conftest import StartScheduler, create_user, eventually

Run = DjangoJobExecution
PRISTINE = str((False, True, False, "no table", "en-us", settings.TIME_ZONE, "nothing"))


@pytest.fixture
def run(start_scheduler: StartScheduler) -> Callable[..., DjangoJobExecution]:
    """Run a function as a job, on the one worker that there is; return how it ended."""
    scheduler = start_scheduler(threads=1)
    never = dt.datetime(2999, 1, 1, tzinfo=dt.UTC)
    scheduler.add_job(misdeeds.look, "date", run_date=never, id="witness", name="as it was")

    def run(function: Callable[..., Any], *args: Any) -> DjangoJobExecution:
        job_id = f"{function.__name__}-{Run.objects.count()}"
        scheduler.add_job(function, id=job_id, args=args, misfire_grace_time=None)
        ended = Run.objects.filter(job=job_id).exclude(status__in=Run.UNFINISHED)
        return eventually(ended.first)  # type: ignore[no-any-return]

    return run


SAID = {
    "atomic": "A transaction was left open on database 'default'; it was rolled back.",
    "autocommit": "Autocommit was left off on database 'default'; what was not committed "
    "was undone.",
    "begin": "BEGIN was left without an end on database 'default'; it was rolled back.",
    "closed": "A transaction was left open on database 'default'; it was rolled back.",
    "wrapper": "A wrapper of statements was left on database 'default'; it was removed.",
    "language": "The language cy was left activated; no other run sees it.\n"
    "The time zone Asia/Tokyo was left activated; no other run sees it.",
}
if connection.vendor == "postgresql":  # which tells it with the reply
    SAID["zone"] = (
        "The time zone of the session on database 'default' was left at Asia/Tokyo; it was undone."
    )
if connection.vendor == "mysql":
    SAID["begin"] = ""  # undone, and known to the server alone


@pytest.mark.parametrize(
    "what",
    sorted({*SAID, "setting", "table", "lock", "variable", "zone"}),
)
def test_the_next_job_finds_its_worker_as_it_was(
    run: Callable[..., DjangoJobExecution], what: str
) -> None:
    in_session = what in ("begin", "setting", "table", "lock", "zone")
    left = run(misdeeds.leave_in_session if in_session else misdeeds.leave, what)
    assert (left.status, left.note) == (Run.SUCCESS, SAID.get(what, ""))
    found = run(misdeeds.look)
    assert (found.result, found.note) == (PRISTINE, "")
    assert DjangoJob.objects.get(pk="witness").name == "as it was"


def test_a_lock_of_a_session_ends_with_the_run(run: Callable[..., DjangoJobExecution]) -> None:
    run(misdeeds.leave_in_session, "lock")
    asked = {
        "postgresql": "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711",
        "mysql": "SELECT IS_USED_LOCK('left behind') IS NOT NULL",
        "sqlite": "SELECT 0",
    }[connection.vendor]

    def is_free() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(asked)
            return not cursor.fetchone()[0]

    eventually(is_free, 5)


def test_what_failed_and_left_a_transaction_open_says_both(
    run: Callable[..., DjangoJobExecution],
) -> None:
    from jobstore.tests import plain

    failed = run(plain.query_and_break_off)
    assert (failed.status, failed.note) == (Run.ERROR, SAID["autocommit"])
    assert run(misdeeds.look).result == PRISTINE


def test_what_changes_for_the_whole_process_is_said(
    run: Callable[..., DjangoJobExecution], tmp_path: Path
) -> None:
    folder = os.getcwd()
    try:
        note = run(misdeeds.change_process, str(tmp_path)).note
    finally:
        os.chdir(folder)
        socket.setdefaulttimeout(None)
        logging.disable(logging.NOTSET)
    assert f"The working directory of the whole process changed to {tmp_path}" in note
    assert "The default timeout of sockets of the whole process changed to 77.0" in note
    assert "logging.disable" in note
    assert run(misdeeds.look).note == ""


@pytest.mark.parametrize(
    ("job", "kind"),
    [
        (misdeeds.return_generator, "generator"),
        (misdeeds.return_async_generator, "async_generator"),
    ],
)
def test_a_generator_that_is_returned_is_said_to_have_done_nothing(
    run: Callable[..., DjangoJobExecution], job: Callable[..., Any], kind: str
) -> None:
    ended = run(job)
    assert ended.status == Run.SUCCESS
    assert ended.note == f"It returned a {kind}, and nothing of that ran: loop over it in the job."


def test_the_page_of_a_run_shows_its_note(
    run: Callable[..., DjangoJobExecution], client: Client
) -> None:
    left = run(misdeeds.leave, "atomic")
    client.force_login(create_user(is_staff=True, is_superuser=True))
    page = client.get(f"/admin/jobstore/djangojobexecution/{left.pk}/change/")
    assert "A transaction was left open on database" in page.content.decode()
