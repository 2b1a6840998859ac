"""Nobody forges a line of the log: not by an id, not by an exception, not by an address."""

import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobstore.logs import LineFormatter
from jobstore.tests.conftest import eventually
from jobstore.tests.processes import WebCommand, get

FORGED = "2026-01-01 00:00:00,000 INFO    jobstore.scheduler: Stopped."
NASTY = [f"a\n{FORGED}", f"a\r{FORGED}", f"a\x1b[2J{FORGED}", f"a\u2028{FORGED}", f"a\x85{FORGED}"]


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Provide what the project's own handler would write."""
    [handler] = [
        one for one in logging.getLogger().handlers if isinstance(one.formatter, LineFormatter)
    ]
    written = io.StringIO()
    copy = logging.StreamHandler(written)
    copy.setFormatter(handler.formatter)
    logging.getLogger().addHandler(copy)
    yield written
    logging.getLogger().removeHandler(copy)


@pytest.mark.parametrize("text", NASTY, ids=repr)
def test_a_record_is_one_line(log: io.StringIO, text: str) -> None:
    logging.getLogger("jobstore.store").warning("Job %s waits.", text)
    assert log.getvalue().count("\n") == 1
    assert not set(log.getvalue()) & set("\r\x1b\u2028\x85")
    assert FORGED in log.getvalue()  # readable all the same


@pytest.mark.parametrize("text", NASTY, ids=repr)
def test_no_line_of_a_traceback_passes_for_a_record(log: io.StringIO, text: str) -> None:
    try:
        raise ValueError(text)
    except ValueError:
        logging.getLogger("jobstore.store").exception("Job failed.")
    first, *others = log.getvalue().splitlines()
    assert first.endswith("Job failed.")
    assert others
    assert all(line.startswith("    ") for line in others)
    assert "\x1b" not in log.getvalue()


def test_what_people_write_stays_readable(log: io.StringIO) -> None:
    logging.getLogger("jobs").info("Grüße an 日本, 100 %")
    assert log.getvalue().endswith("jobs: Grüße an 日本, 100 %\n")


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_no_client_writes_lines_or_codes_into_the_web_servers_log(tmp_path: Path) -> None:
    web = WebCommand(tmp_path / "web.log")
    try:
        eventually(web.is_up, 30)
        get(web.port, "/nowhere%0a%1b[31mforged")
        get(web.port, "/x HTTP/1.0\r\nUser-Agent: \x1b[31mred\r\nX: y")
        eventually(lambda: "nowhere" in web.log.read_text())
    finally:
        web.end()
    text = web.log.read_bytes()
    assert b"\x1b" not in text
    assert b"\nforged" not in text
