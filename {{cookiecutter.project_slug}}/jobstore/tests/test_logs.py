"""Nobody forges a line of the log, and each line that a run writes names the run."""

import datetime as dt
import io
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobstore.logs import JsonFormatter, LineFormatter, RunFilter
from jobstore.models import DjangoJobExecution
from jobstore.tests import callables
from jobstore.tests.conftest import StartScheduler, eventually
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
    copy.addFilter(RunFilter())
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


# --- Which run ------------------------------------------------------------------------------------


@pytest.fixture
def written() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Return what is logged as JSON, by the filter of the project's own handler."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    handler.addFilter(RunFilter())
    logging.getLogger().addHandler(handler)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    logging.getLogger().removeHandler(handler)


def test_json_is_one_line_a_record_whatever_it_holds(
    written: Callable[[], list[dict[str, Any]]],
) -> None:
    for text in NASTY:
        logging.getLogger("jobs").warning("Job %s waits.", text)
    try:
        raise ValueError(NASTY[0])
    except ValueError:
        logging.getLogger("jobs").exception("Failed.", extra={"order": 7})
    *lines, last = written()
    assert [line["message"] for line in lines] == [f"Job {text} waits." for text in NASTY]
    assert {line["level"] for line in lines} == {"WARNING"}
    assert (last["logger"], last["order"]) == ("jobs", 7)
    assert f"ValueError: {NASTY[0]}" in last["traceback"]
    assert dt.datetime.fromisoformat(last["time"]).utcoffset() == dt.timedelta(0)
    assert not {"job_id", "run_id", "epoch"} & set(last)


def test_every_line_inside_a_run_names_it(
    start_scheduler: StartScheduler,
    written: Callable[[], list[dict[str, Any]]],
    log: io.StringIO,
) -> None:
    scheduler = start_scheduler()
    for number, function in enumerate((callables.log, callables.log_later)):
        scheduler.add_job(function, args=["in the run"], id=f"job {number}")
    runs = DjangoJobExecution.objects.filter(status=DjangoJobExecution.SUCCESS)
    eventually(lambda: runs.count() == 2)
    told = {line["job_id"]: line for line in written() if line["message"] == "in the run"}
    assert set(told) == {"job 0", "job 1"}
    for run in runs:
        line = told[run.job_id]
        assert (line["run_id"], line["epoch"]) == (run.pk, run.epoch)
        assert f"in the run [job {run.job_id}, run {run.pk}, epoch {run.epoch}]\n" in log.getvalue()
    assert not any("job_id" in line for line in written() if line["message"].startswith("Active:"))


def test_apschedulers_own_line_about_a_failure_names_the_run(
    start_scheduler: StartScheduler, written: Callable[[], list[dict[str, Any]]]
) -> None:
    scheduler = start_scheduler()
    scheduler.add_job(callables.fail, id="fails")
    run = eventually(DjangoJobExecution.objects.filter(status=DjangoJobExecution.ERROR).first)
    [line] = [line for line in written() if "raised an exception" in line["message"]]
    assert (line["job_id"], line["run_id"]) == ("fails", run.pk)


def test_only_a_terminal_gets_colours() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    record = logging.LogRecord("jobs", logging.ERROR, "", 0, "Broken\x1b[2J.", (), None)
    form = "{log_color}{levelname}{reset} {message}"
    coloured = LineFormatter(form, style="{", stream=Terminal()).format(record)
    assert coloured.startswith("\x1b[31mERROR\x1b[0m ") and "\x1b[2J" not in coloured
    assert "\x1b" not in LineFormatter(form, style="{", stream=io.StringIO()).format(record)
