"""Whatever an address of the admin asks for, staff get a page or a message, never an error."""

import uuid
from urllib.parse import quote, urlencode

import pytest
from django.test import Client

from jobstore.models import DjangoJob, DjangoJobExecution, SchedulerInstance, database_now

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("english_and_utc")]

PAGES = {
    "djangojob": ("job", "/admin/jobstore/djangojob/"),
    "djangojobexecution": ("1", "/admin/jobstore/djangojobexecution/"),
    "schedulerinstance": (str(uuid.uuid4()), "/admin/jobstore/schedulerinstance/"),
}

NASTY = [
    {"job_state": "x"},
    {"job_state__startswith": "x"},
    {"id__regex": "("},
    {"pk__in": "a,b"},
    {"job__job_state__regex": "."},
    {"job__func": "x"},
    {"run_time__gte": "abc"},
    {"run_time__gte": "2026-01-01 00:00:00Z", "run_time__lt": "x"},
    {"run_time__isnull": "maybe"},
    {"run_time__year": "abc"},
    {"run_time__gte": "0001-01-01 00:00:00+23:59"},
    {"run_time__gte": "9999-12-31 23:59:59-23:59"},
    {"status__exact": "\x00"},
    {"status__exact": "x" * 100_000},
    {"status__regex": "("},
    {"status__in": "\x00"},
    {"role__exact": "\x00"},
    {"role__exact": "unheard of"},
    {"job": "\x00"},
    {"job": "x" * 5000},
    {"job": "\ud83d"},
    {"state": "\x00"},
    {"state": "nonsense"},
    {"e": "1"},
    {"p": "99999"},
    {"p": "-1"},
    {"p": "abc"},
    {"p": "9" * 50},
    {"o": "x"},
    {"o": "-99.1.x"},
    {"o": "9" * 50},
    {"all": ""},
    {"q": "\x00"},
    {"q": "'\"; DROP TABLE x; --"},
    {"q": "%_\\"},
    {"q": "'unfinished"},
    {"q": "x " * 2000},
    {"q": "\ud800"},
    {"_facets": "True"},
    {"_popup": "1"},
    {"_to_field": "job_state"},
    {"_changelist_filters": "%00"},
    {"": ""},
    {"a__b__c": "d"},
    {"\x00": "\x00"},
    {"epoch": "9" * 50},
    {"duration__gte": "NaN"},
]

KEYS = [
    "0",
    "-1",
    "x",
    "9" * 30,
    "1e9",
    "\x00",
    "a\x00b",
    "x" * 5000,
    "_",
    "_00",
    "..",
    "\U0001f40d",
    "00000000-0000-0000-0000-000000000000",
    "{}",
    " ",
]


@pytest.fixture(autouse=True)
def _rows(db: None) -> None:
    now = database_now("default")
    SchedulerInstance.objects.create(
        pk=PAGES["schedulerinstance"][0],
        host="here",
        pid=1,
        role="active",
        started_at=now,
        heartbeat_at=now,
    )
    DjangoJob.objects.create(pk="job", next_run_time=now, job_state=b"x")
    DjangoJobExecution.objects.create(job_id="job", status="Executed", run_time=now)


def address(path: str, query: dict[str, str]) -> str:
    return f"{path}?{urlencode(query, errors='surrogatepass')}"


@pytest.mark.parametrize("query", NASTY, ids=lambda query: repr(query)[:40])
@pytest.mark.parametrize("page", PAGES)
def test_no_list_fails_whatever_its_address_asks_for(
    admin_client: Client, page: str, query: dict[str, str]
) -> None:
    _, path = PAGES[page]
    answer = admin_client.get(address(path, query))
    assert answer.status_code in (200, 302, 400), answer.content[:300]
    if answer.status_code == 302:  # where the list is shown
        assert admin_client.get(answer["Location"]).status_code == 200


@pytest.mark.parametrize(
    ("page", "query"),
    [
        ("djangojobexecution", {"e": "1"}),
        ("djangojob", {"e": "1"}),
        ("schedulerinstance", {"e": "1"}),
    ],
)
def test_a_list_that_cannot_be_filtered_like_that_says_so(
    admin_client: Client, page: str, query: dict[str, str]
) -> None:
    answer = admin_client.get(address(PAGES[page][1], query), follow=True)
    assert answer.status_code == 200
    assert len(answer.context["cl"].result_list) == 1
    [told] = [str(message) for message in answer.context["messages"]]
    assert "This filter is not valid" in told


def test_what_no_page_offers_is_not_to_be_asked_for(admin_client: Client) -> None:
    for lookup in ("job_state__startswith", "id__regex", "job__job_state", "declaration"):
        assert admin_client.get(PAGES["djangojob"][1], {lookup: "x"}).status_code == 400
        assert admin_client.get(PAGES["djangojobexecution"][1], {lookup: "x"}).status_code == 400


@pytest.mark.parametrize("key", KEYS, ids=lambda key: repr(key)[:20])
@pytest.mark.parametrize("suffix", ["change/", "history/", "delete/", "act/", ""])
@pytest.mark.parametrize("page", PAGES)
def test_no_page_fails_whatever_key_it_is_given(
    admin_client: Client, page: str, suffix: str, key: str
) -> None:
    path = f"{PAGES[page][1]}{quote(key, safe='')}/{suffix}"
    assert admin_client.get(path).status_code in (200, 301, 302, 403, 404, 405)


@pytest.mark.parametrize(
    ("page", "action", "key"),
    [
        ("djangojob", "pause_selected_jobs", "none"),
        ("djangojob", "run_selected_jobs", "none"),
        ("djangojobexecution", "cancel_selected_requests", "999999"),
        ("djangojobexecution", "run_selected_again", "-1"),
    ],
)
def test_an_action_on_rows_that_are_gone_says_so(
    admin_client: Client, page: str, action: str, key: str
) -> None:
    form = {"action": action, "_selected_action": [key]}
    answer = admin_client.post(PAGES[page][1], form, follow=True)
    [told] = [str(message) for message in answer.context["messages"]]
    assert "None of the selected rows is in this list any more" in told


@pytest.mark.parametrize("key", KEYS, ids=lambda key: repr(key)[:20])
@pytest.mark.parametrize(
    "action",
    [
        "run_selected_jobs",
        "pause_selected_jobs",
        "retire_selected_jobs",
        "delete_selected",
        "x",
        "\x00",
    ],
)
def test_no_action_fails_whatever_is_posted(admin_client: Client, action: str, key: str) -> None:
    for _, path in PAGES.values():
        for index in ("0", "x", "99"):
            form = {"action": action, "_selected_action": [key], "index": index}
            assert admin_client.post(path, form).status_code in (200, 302, 403)
    path = f"{PAGES['djangojob'][1]}{quote(key, safe='')}/act/"
    assert admin_client.post(path, {"action": action}).status_code in (200, 302, 403, 404)
