"""The audit is read in the admin: by whom, what, when, and what was before and after."""

import datetime as dt
import html
import re
from typing import Any

import pytest
from apscheduler.triggers.interval import IntervalTrigger
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings

from jobstore import api
from jobstore.admin import audit, search
from jobstore.models import AuditEntry, DjangoJob, DjangoJobExecution, database_now
from jobstore.tests.admin.test_admin import NewClient, job_page, page, ran, staff, store
from jobstore.tests.api import offers
from jobstore.tests.api.test_adding import add

__all__ = ["staff"]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("english_and_utc")]

AUDIT = "/admin/jobstore/auditentry/"


def plain(text: str) -> str:
    """Return what is read, on one line."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


def rows(client: Client, **query: str) -> list[str]:
    """Return the rows of the list, the newest first."""
    answer = client.get(AUDIT, query)
    assert answer.status_code == 200
    found = re.search(r"<tbody>(.*)</tbody>", answer.content.decode(), re.DOTALL)
    return [plain(row) for row in found[1].split("</tr>")[:-1]] if found else []


def of_job(client: Client, job_id: str = "job") -> str:
    return page(client, job_page(job_id))


def written(job_id: str = "job", *, ago: float = 0, **fields: Any) -> AuditEntry:
    at = database_now("default") - dt.timedelta(seconds=ago)
    return AuditEntry.objects.create(**{"at": at, "job_id": job_id, "verb": "pause", **fields})


def test_an_entry_tells_who_did_what_and_what_changed(admin_client: Client) -> None:
    add(trigger="interval", hours=1)
    with api.through("admin"):
        api.reschedule("job", "interval", hours=2, by="ada")
    [first, _] = rows(admin_client)
    for told in ("ada", "rescheduled", "job", "admin", "Schedule: every hour", "every 2 hours"):
        assert told in first
    text = page(admin_client, AUDIT)
    assert "<del>every hour</del>" in text and "<ins>every 2 hours</ins>" in text


def test_retiring_shows_as_a_change(admin_client: Client) -> None:
    add()
    api.retire("job", by="ada")
    assert re.search(r"Retired: no → becomes yes", rows(admin_client)[0])


def test_what_was_added_folds_away_all_but_the_first_values(admin_client: Client) -> None:
    add()
    text = page(admin_client, AUDIT)
    assert re.search(r"<summary>\d+ more</summary>", text)
    assert "<del>" not in text


def test_the_run_that_was_asked_for_is_linked(admin_client: Client) -> None:
    add()
    run = api.run_now("job", by="ada")
    link = f'href="/admin/jobstore/djangojobexecution/{run.pk}/change/"'
    assert link in page(admin_client, AUDIT)
    assert link in of_job(admin_client)


def test_secrets_are_masked_even_if_their_names_were_added_later(
    admin_client: Client, settings: Settings
) -> None:
    add(func=offers.log_in, args=["ann", "hunter2"])
    written(after={"arguments": "pin=1234, name='x'"})
    settings.JOB_SECRET_ARGUMENTS = ["passw", "^pin$"]
    text = page(admin_client, AUDIT) + of_job(admin_client)
    assert "hunter2" not in text and "1234" not in text
    assert "pin=********" in text


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"job": "one"}, {"one"}),
        ({"job": "on"}, set()),
        ({"who": "AD"}, {"one"}),
        ({"verb": "run"}, {"three"}),
        ({"through": "command"}, {"two"}),
        ({"who": "bob", "job": "two"}, {"two"}),
        ({"who": "bob", "job": "one"}, set()),
    ],
)
def test_each_filter_finds_its_entries(
    admin_client: Client, query: dict[str, str], expected: set[str]
) -> None:
    written("one", who="ada")
    written("two", who="bob", through="command")
    written("three", who="bob", verb="run")
    found = {one.job_id for one in admin_client.get(AUDIT, query).context["cl"].result_list}
    assert found == expected


def test_entries_are_filtered_by_time(admin_client: Client) -> None:
    written("old", ago=7200)
    written("new", ago=60)
    border = (database_now("default") - dt.timedelta(hours=1)).isoformat()
    assert len(rows(admin_client, done_from=border)) == 1
    assert "old" in rows(admin_client, done_to=border)[0]
    answer = admin_client.get(AUDIT, {"done_from": "yesterday"})
    assert "yesterday is no time" in answer.content.decode()
    assert answer.context["cl"].result_count == 0


def test_a_long_audit_is_searched_within_a_bound_that_is_said(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "SEARCHED_RUNS", 3)
    for number in range(5):
        written(ago=10 * number, who="ada" if number == 4 else "bob")
    text = page(admin_client, AUDIT, who="ada")
    assert "The newest 3 entries were searched" in text and "Nothing to show." in text
    older = re.search(r'href="(\?[^"]*)">Search those before', text)
    assert older
    assert "ada" in page(admin_client, AUDIT + html.unescape(older[1]))


def test_the_list_takes_the_same_few_statements_for_any_number_of_entries(
    admin_client: Client,
) -> None:
    def asked() -> int:
        with CaptureQueriesContext(connection) as statements:
            rows(admin_client)
        return len(statements)

    written()
    few = asked()
    for number in range(30):
        written(f"job-{number}", run_id=number)
    assert asked() == few


def test_nobody_changes_or_deletes_an_entry(admin_client: Client) -> None:
    entry = written()
    address = f"{AUDIT}{entry.pk}/"
    assert admin_client.get(f"{address}delete/").status_code == 403
    assert admin_client.post(f"{address}change/", {"who": "nobody"}).status_code == 403
    assert admin_client.get(f"{AUDIT}add/").status_code == 403
    admin_client.post(AUDIT, {"action": "delete_selected", "_selected_action": [entry.pk]})
    assert AuditEntry.objects.get().who == entry.who
    assert page(admin_client, f"{address}change/")


def test_the_page_of_a_job_shows_the_latest_entries_to_whom_the_audit_is_open(
    staff: NewClient,
) -> None:
    store()
    for number in range(audit.SHOWN_ENTRIES + 2):
        api.pause("job", f"reason {number:02}", by="ada")
        api.resume("job")
    client = staff("view_djangojob", "view_auditentry")
    text = of_job(client)
    assert text.count('data-label="Done by"') == audit.SHOWN_ENTRIES
    assert f"reason {audit.SHOWN_ENTRIES + 1}" in text and "reason 00" not in text
    assert f'href="{AUDIT}?job=job"' in text
    assert "Latest changes" not in of_job(staff("view_djangojob"))
    assert staff("view_djangojob").get(AUDIT).status_code == 403
    # A run is linked for those who may look at runs.
    run = api.run_now("job")
    assert f">{run.pk}</a>" not in of_job(client)
    both = staff("view_djangojob", "view_auditentry", "view_djangojobexecution")
    assert f">{run.pk}</a>" in of_job(both)


def test_texts_of_an_entry_are_escaped(admin_client: Client) -> None:
    store("<b>")
    api.pause("<b>", "<i>a reason</i>", by="<u>ada</u>")
    for text in (page(admin_client, AUDIT), of_job(admin_client, "<b>")):
        assert "<i>" not in text and "<u>" not in text


def test_what_differs_from_the_code_is_compared_once_for_a_page(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(trigger=IntervalTrigger(hours=3))
    DjangoJob.objects.update(declaration="x")
    asked: list[DjangoJob | str] = []
    original = api.differs_from_code

    def count(job: DjangoJob | str) -> list[api.Difference]:
        asked.append(job)
        return original(job)

    monkeypatch.setattr(api, "differs_from_code", count)
    ran(status=DjangoJobExecution.SUCCESS)
    of_job(admin_client)
    assert len(asked) == 1
