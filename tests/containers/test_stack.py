"""The default answers' stack: it comes up as it was baked, does its work, and stops cleanly."""

import json
import time
import urllib.error

import pytest

from stacks import Browser, Stack

pytestmark = [pytest.mark.containers, pytest.mark.timeout(400)]

HISTORY = "SELECT status FROM jobstore_djangojobexecution WHERE job_id = 'heartbeat'"
ROLE = "SELECT role FROM jobstore_schedulerinstance WHERE host = '{}' ORDER BY started_at DESC LIMIT 1"
HELD = "SELECT count(*) FROM jobstore_schedulerlease WHERE expires_at > now()"


def test_up_waits_until_everything_is_healthy(stack: Stack) -> None:
    # The fixture has checked that `docker compose up --wait` exits with 0.
    for service in ("db", "web", "scheduler"):
        assert stack.the(service).health == "healthy", service
    migrate = stack.the("migrate").state
    assert (migrate["Status"], migrate["ExitCode"]) == ("exited", 0)


def test_up_again_disturbs_nothing(stack: Stack) -> None:
    before = stack.the("scheduler").state["StartedAt"]
    stack.up()
    assert stack.the("scheduler").state["StartedAt"] == before


def test_sample_job_appears_in_the_history(stack: Stack) -> None:
    stack.wait_for(lambda: ["Executed"] in stack.sql(HISTORY), 30)
    assert "jobs.heartbeat" in stack.the("scheduler").logs


def test_web_tells_outside_monitors_about_the_scheduler(stack: Stack, browser: Browser) -> None:
    body = json.loads(browser.get(stack.url("/health/scheduler"))[1])
    assert (body["status"], body["cause"]) == ("ok", "")


def test_web_tells_strangers_no_host(stack: Stack, browser: Browser) -> None:
    text = browser.get(stack.url("/health/scheduler"))[1]
    assert stack.the("scheduler").host not in text


def test_admin_shows_the_runs_to_who_logs_in(stack: Stack, browser: Browser) -> None:
    stack.wait_for(stack.runs, 30)
    stack.create_admin("ada", "correct-horse-7")
    history = "/admin/login/?next=/admin/jobstore/djangojobexecution/"
    page = browser.login(stack.url(history), "ada", "correct-horse-7")
    assert "Log out" in page
    assert "heartbeat" in page
    assert "Executed" in page


def test_admin_refuses_a_wrong_password(stack: Stack, browser: Browser) -> None:
    stack.create_admin("ada", "correct-horse-7")
    page = browser.login(stack.url("/admin/login/?next=/admin/"), "ada", "wrong")
    assert "Please enter the correct username and password" in page


def test_admin_is_styled(stack: Stack, browser: Browser) -> None:
    _, page = browser.get(stack.url("/admin/login/"))
    sheet = next(part for part in page.split('"') if "/css/base" in part)
    assert "body" in browser.get(stack.url(sheet))[1]


def test_scheduler_stops_cleanly(stack: Stack) -> None:
    scheduler = stack.the("scheduler")
    begin = time.monotonic()
    stack.compose("stop", "scheduler")
    # Docker would kill it after the grace period of 40 s, with exit code 137.
    assert time.monotonic() - begin < 40
    assert scheduler.state["ExitCode"] == 0
    assert scheduler.logs.rstrip().endswith("Stopped.")
    assert stack.sql(ROLE.format(scheduler.host)) == [["stopped"]]
    assert stack.sql(HELD) == [["0"]]


def test_web_stops_cleanly(stack: Stack) -> None:
    web = stack.the("web")
    stack.compose("stop", "web")
    assert web.state["ExitCode"] == 0


def test_stopped_scheduler_is_seen_from_outside(stack: Stack, browser: Browser) -> None:
    stack.compose("stop", "scheduler")
    with pytest.raises(urllib.error.HTTPError, match="503"):
        browser.get(stack.url("/health/scheduler"))
