"""A child that is forked at an awkward moment: its own files stay its own."""

import os

import pytest
from django.db import connection

from jobstore import forks
from jobstore.models import SchedulerLease


def test_a_child_keeps_a_file_with_the_number_of_a_connection_that_was_closed(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    forks.guard(SchedulerLease, lambda _: [])  # as a scheduler does
    connection.ensure_connection()
    number = connection.connection.fileno()
    answers, end = os.pipe()
    connection.close()
    os.dup2(end, number)
    os.close(end)
    prepare = connection.init_connection_state

    def fork_first() -> None:
        pid = os.fork()
        if not pid:
            os.write(number, b"here")
            os._exit(0)
        os.waitpid(pid, 0)
        prepare()

    monkeypatch.setattr(connection, "init_connection_state", fork_first)
    try:
        connection.ensure_connection()  # it is being made anew while the child is forked
    finally:
        os.close(number)
    with open(answers, "rb") as told:
        assert told.read() == b"here"
