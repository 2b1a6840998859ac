"""The pages of a job and of a run follow what happens, for a bounded number of statements."""

import datetime as dt
import re
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils.html import escape

from jobstore.admin.refresh import MAX_BYTES
from jobstore.models import DjangoJob, DjangoJobExecution, database_now
from jobstore.tests.admin.test_admin import (
    NewClient,
    hold_lease,
    job_page,
    page,
    ran,
    staff,
    store,
)
from jobstore.tests.admin.test_overview import fragment, refresh, shown, versions

__all__ = ["staff"]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("english_and_utc")]

Run = DjangoJobExecution
VIEW = ("view_djangojob", "view_djangojobexecution")
# After a dozen seconds, or a few more on a busy machine.
TOLD = r"24 % \(1,200 of 5,000\): &lt;orders&gt;, about [3-5]\d s left"
JOB_FRAGMENTS = {
    *("jobstore-state", "jobstore-schedule", "jobstore-job", "jobstore-options"),
    *("jobstore-runs-0", "jobstore-runs-5", "jobstore-runs-10", "jobstore-runs-15"),
    "jobstore-durations",
}


def runs(ago: float = 12, **fields: Any) -> Run:
    """Write a run as the claim leaves it: claimed, and not known to have started."""
    when = database_now("default") - dt.timedelta(seconds=ago)
    return ran(status=Run.RUNNING, ago=ago, claimed_at=when, **fields)


def run_page(run: Run) -> str:
    return f"/admin/jobstore/djangojobexecution/{run.pk}/change/"


def far(**fields: Any) -> Run:
    fields |= {"progress_done": 1200, "progress_total": 5000, "progress_text": "<orders>"}
    return runs(**fields)


# --- Progress -------------------------------------------------------------------------------------


def test_the_overview_shows_progress_as_a_bar_and_in_words(admin_client: Client) -> None:
    hold_lease()
    far()
    text = shown(admin_client, "ov-running")
    assert re.search(TOLD, text)
    assert 'd="M0 0h24v6h-24z"' in page(admin_client, "/admin/jobstore/overview/")


def test_the_pages_of_the_job_and_of_the_run_show_it_too(admin_client: Client) -> None:
    store()
    run = far()
    for address in (job_page(), run_page(run)):
        text = page(admin_client, address)
        assert re.search(TOLD, text)
        assert 'd="M0 0h24v6h-24z"' in text


def test_it_is_seen_afterwards_how_far_a_run_came(admin_client: Client) -> None:
    run = far(exception="gone")
    Run.objects.update(status=Run.ERROR)
    text = page(admin_client, run_page(run))
    assert "24 % (1,200 of 5,000): &lt;orders&gt;</div>" in text


def test_a_run_that_tells_nothing_has_no_bar(admin_client: Client) -> None:
    assert "jobstore-elapsed" not in page(admin_client, run_page(runs()))


def test_a_run_that_was_only_claimed_says_how_long_it_runs(admin_client: Client) -> None:
    store()
    run = runs(ago=65)
    assert re.search(r">1 min \d s so far<", page(admin_client, run_page(run)))
    text = page(admin_client, job_page())
    assert re.search(r">1 min \d s so far<", text) and re.search(r"1, for 6\d\.", text)


# --- Refreshing -----------------------------------------------------------------------------------


def test_a_run_page_is_refreshed_until_the_run_is_over(admin_client: Client) -> None:
    store()
    run = runs()
    text = page(admin_client, run_page(run))
    assert "jobstore/refresh" in text and 'data-refresh="2"' in text
    assert "data-refresh-controls" in text
    Run.objects.update(
        status=Run.ERROR,
        exception_type="ValueError",
        exception="full",
        traceback="in work",
        finished=database_now("default"),
        duration=3,
    )
    answer = refresh(admin_client, {"jobstore-run": "old"}, run_page(run))
    body = answer.content.decode()
    assert answer["Jobstore-Refresh"] == "fragments"
    assert "in work" in body and "Error!" in body and "3.000 s" in body
    assert "data-refresh=" not in body and "<html" not in body
    assert "admin/base.html" not in {one.name for one in answer.templates}
    text = page(admin_client, run_page(run))
    assert "data-refresh" not in text and "jobstore/refresh" not in text


def test_headings_say_nothing_that_a_refresh_would_have_to_change(admin_client: Client) -> None:
    job, run = store(paused=True), runs()
    names = {job_page(): "job", run_page(run): f"{run.pk}: job"}
    for address, name in names.items():
        text = page(admin_client, address)
        [crumbs] = re.findall(r'class="breadcrumbs"[^>]*>(.*?)</(?:div|ol)>', text, re.DOTALL)
        assert re.sub(r"<[^>]+>", "", crumbs).strip().endswith(name)
        assert f"<h2>{name}</h2>" in text
        assert f"<title>{name} |" in text
        for old in (str(job), str(run)):
            assert escape(old) not in text


def test_a_request_is_refreshed_until_somebody_starts_it(admin_client: Client) -> None:
    run = ran(status=Run.REQUESTED)
    assert 'data-refresh="2"' in page(admin_client, run_page(run))


def test_nothing_is_sent_if_nothing_has_changed(admin_client: Client) -> None:
    store()
    text = page(admin_client, job_page())
    known = versions(text)
    assert set(known) == JOB_FRAGMENTS
    answer = refresh(admin_client, known, job_page())
    assert (answer.status_code, answer.content) == (304, b"")


def test_a_job_page_tells_what_became_of_the_job(admin_client: Client) -> None:
    store()
    known = dict.fromkeys(JOB_FRAGMENTS, "old")
    DjangoJob.objects.update(next_run_time=None, pause_reason="holidays")
    ran()
    body = refresh(admin_client, known, job_page()).content.decode()
    assert "holidays" in fragment(body, "jobstore-state")
    assert "Executed" in fragment(body, "jobstore-runs-0")
    assert "paused" in body
    assert "<form" not in body and "<input" not in body and len(body) <= MAX_BYTES


def test_a_busy_page_brings_everything_within_three_looks(admin_client: Client) -> None:
    store("a" * 60)
    for number in range(30):
        ran("a" * 60, Run.ERROR, ago=100 + number, duration=1, exception_type="ValueError")
    far(job_id="a" * 60)
    known = dict.fromkeys(sorted(JOB_FRAGMENTS), "old")
    looks = 0
    while "old" in known.values():
        answer = refresh(admin_client, known, job_page("a" * 60))
        assert len(answer.content) <= MAX_BYTES
        known |= dict(one.split("=") for one in answer["ETag"].strip('"').split())
        looks += 1
    assert looks <= 3
    # What changes all the time is a small part of it.
    known |= dict.fromkeys(("jobstore-job", "jobstore-runs-0"), "old")
    assert len(refresh(admin_client, known, job_page("a" * 60)).content) <= MAX_BYTES / 2


def test_a_refresh_takes_few_statements(staff: NewClient) -> None:
    client = staff(*VIEW)
    store()
    for number in range(30):
        ran(ago=100 + number, duration=1)
    run = far()
    for address, names, most in (
        (run_page(run), ["jobstore-run"], 9),
        (job_page(), ["jobstore-state", "jobstore-job", "jobstore-runs-0"], 10),
        (job_page(), JOB_FRAGMENTS, 11),
    ):
        with CaptureQueriesContext(connection) as statements:
            assert refresh(client, dict.fromkeys(names, "old"), address).status_code == 200
        sent = [one["sql"] for one in statements if "SAVEPOINT" not in one["sql"]]
        assert len(sent) <= most, [one[:90] for one in sent]


def test_others_are_refused(staff: NewClient) -> None:
    store()
    run = far()
    client = staff(VIEW[0])
    assert refresh(client, {"jobstore-run": "old"}, run_page(run)).status_code == 403
    names = ("jobstore-job", "jobstore-runs-0")
    body = refresh(client, dict.fromkeys(names, "old"), job_page()).content.decode()
    assert 'id="jobstore-job"' in body
    assert 'id="jobstore-runs-0"' not in body and "orders" not in body


def test_a_run_that_was_deleted_leaves_no_message_at_each_look(admin_client: Client) -> None:
    run = runs()
    address = run_page(run)
    run.delete()
    answer = refresh(admin_client, {"jobstore-run": "old"}, address)
    assert answer.status_code == 404
    assert not list(get_messages(answer.wsgi_request))
    assert admin_client.get(address).status_code == 302


def test_a_retired_job_is_not_refreshed(admin_client: Client) -> None:
    store()
    DjangoJob.objects.all().retire()
    assert "data-refresh" not in page(admin_client, job_page())
