"""Where scripts run, a preview comes without the page around it; any other answer is the page."""

import re
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.messages import get_messages
from django.test import Client
from pytest_django.fixtures import Settings

from jobstore import registry
from jobstore.models import AuditEntry, DjangoJob
from jobstore.storage import serializer
from jobstore.tests.admin.test_admin import JOBS, NewClient, job_page, staff, store
from jobstore.tests.admin.test_schedule_editor import (
    EVERY_TWO_HOURS,
    PAGE,
    filled,
    mistakes,
    save,
    text_of,
)
from jobstore.tests.api import offers

__all__ = ["staff"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("english_and_utc")]

OPTIONS, CLONE = f"{JOBS}job/options/", f"{JOBS}job/clone/"
ADD = f"{JOBS}add/?function=jobstore.tests.api.offers.greet"
SCRIPT = {"Jobstore-Refresh": "1"}
# What is filled in on each page, and what of it the preview shows.
PAGES = {
    PAGE: (EVERY_TWO_HOURS, "<strong>every 2 hours</strong>"),
    OPTIONS: ({"max_instances": "7"}, "<ins>7</ins>"),
    CLONE: ({"id": "copy", "name": "A copy"}, "A copy"),
    ADD: ({**EVERY_TWO_HOURS, "id": "new", "arg_name": "Bob"}, "Bob"),
}


@pytest.fixture(autouse=True)
def _offered(nothing_declared: None, settings: Settings) -> None:
    settings.TIME_ZONE = "UTC"
    registry.schedulable(offers.greet)


def ask(client: Client, page: str = PAGE, **fields: str) -> Any:
    """Fill in a page and ask for its preview as the script does: its button is not in the form."""
    return client.post(page, filled(client, page) | fields, headers=SCRIPT)


def is_whole(answer: Any) -> bool:
    """Tell whether a script takes an answer for something else than a preview."""
    return "Jobstore-Refresh" not in answer.headers


@pytest.mark.parametrize("page", PAGES)
def test_a_script_gets_the_preview_alone_and_nothing_is_stored(
    admin_client: Client, page: str
) -> None:
    before = store(func=offers.greet, args=["Ann"])
    fields, shown = PAGES[page]
    answer = ask(admin_client, page, **fields)
    text = text_of(answer)
    assert answer["Jobstore-Refresh"] == "fragments" and "Jobstore-Refresh" in answer["Vary"]
    assert text.strip().startswith("<section") and text.strip().endswith("</section>")
    assert shown in text and "What changes" in text and 'name="save"' in text
    assert text.count("<tr") >= 10
    assert "admin/base.html" not in {one.name for one in answer.templates}
    assert DjangoJob.objects.values().get() == DjangoJob.objects.filter(pk=before.pk).values().get()
    assert DjangoJob.objects.get().version == before.version
    assert not AuditEntry.objects.exists() and not LogEntry.objects.exists()


@pytest.mark.parametrize("page", PAGES)
def test_the_page_holds_the_same_preview_without_a_script(admin_client: Client, page: str) -> None:
    store(func=offers.greet, args=["Ann"])
    form = filled(admin_client, page) | PAGES[page][0]
    alone = without_seconds(admin_client.post(page, form, headers=SCRIPT)).strip()
    whole = admin_client.post(page, form | {"preview": "Preview"})
    assert is_whole(whole) and alone in without_seconds(whole)


def without_seconds(answer: Any) -> str:
    """Return the text of an answer, in which a second more or less changes nothing."""
    return re.sub(r":\d\d:\d\d", ":", text_of(answer))


def test_a_preview_that_came_alone_can_be_saved(admin_client: Client) -> None:
    store()
    form = filled(admin_client) | EVERY_TWO_HOURS
    alone: Any = admin_client.post(PAGE, form, headers=SCRIPT)
    seen = {"previewed": alone.context_data["previewed"], "save": "Save"}
    assert f'name="previewed" value="{seen["previewed"]}"' in text_of(alone)
    assert admin_client.post(PAGE, form | seen)["Location"] == job_page()
    assert serializer.restore(DjangoJob.objects.get()).trigger.interval.total_seconds() == 7200


def test_ends_of_lines_are_no_difference_to_a_preview(admin_client: Client) -> None:
    store(func=print, args=["Ann"])
    form = filled(admin_client, OPTIONS)
    lines = ("[", '"Bob"', "]")
    alone: Any = admin_client.post(OPTIONS, form | {"args": "\n".join(lines)}, headers=SCRIPT)
    seen = {"previewed": alone.context_data["previewed"], "save": "Save"}
    answer = admin_client.post(OPTIONS, form | {"args": "\r\n".join(lines)} | seen)
    assert answer.status_code == 302
    assert serializer.restore(DjangoJob.objects.get()).args == ("Bob",)


def test_what_is_questionable_is_in_it(admin_client: Client) -> None:
    store(paused=True)
    fields = {"kind": "cron", "day_of_week": "0", "hour": "2", "timezone": "UTC"}
    text = text_of(ask(admin_client, **fields))
    assert "what you wrote means mon" in text and "if it were resumed now" in text


def test_mistakes_give_the_whole_page(admin_client: Client) -> None:
    store()
    for fields in ({"kind": "interval", "every": "0"}, {"kind": "cron", "year": "2001"}, {}):
        answer = ask(admin_client, **fields)
        assert is_whole(answer) and "<html" in text_of(answer)
        assert mistakes(answer)
        # Its mistakes would stay if only the preview came.
        assert "data-preview" not in text_of(answer)
    assert "data-preview" in text_of(admin_client.get(PAGE))


def test_nobody_sees_more_of_a_job_by_a_script(staff: NewClient, admin_user: Any) -> None:
    store(func=offers.greet, args=["Ann"])
    for page in PAGES:
        answer = staff("view_djangojob").post(page, EVERY_TWO_HOURS, headers=SCRIPT)
        assert answer.status_code == 403 and is_whole(answer)
        answer = Client().post(page, EVERY_TWO_HOURS, headers=SCRIPT)
        assert "/login/" in answer["Location"] and is_whole(answer)
        strict = Client(enforce_csrf_checks=True)
        strict.force_login(admin_user)
        answer = strict.post(page, EVERY_TWO_HOURS, headers=SCRIPT)
        assert answer.status_code == 403 and is_whole(answer)


def test_what_stands_in_the_way_is_told_once(admin_client: Client) -> None:
    store(func=print)  # which the code does not offer
    form = EVERY_TWO_HOURS | {"id": "copy"}
    for headers, told in ((SCRIPT, 0), ({}, 1)):
        answer: Any = admin_client.post(CLONE, form, headers=headers)
        assert answer["Location"] == job_page() and is_whole(answer)
        assert len(list(get_messages(answer.wsgi_request))) == told


def test_a_script_can_save_nothing_that_was_not_looked_at(admin_client: Client) -> None:
    store()
    form = filled(admin_client) | EVERY_TWO_HOURS | {"save": "Save"}
    answer = admin_client.post(PAGE, form, headers=SCRIPT)
    assert is_whole(answer) and "Look at this one" in text_of(answer)
    assert not AuditEntry.objects.exists()
    assert save(admin_client, **EVERY_TWO_HOURS).status_code == 302
