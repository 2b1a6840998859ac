"""A schedule is changed in the admin: filled in, looked at, saved; mistakes stand at a field."""

import datetime as dt
import html
import re
from typing import Any

import pytest
from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger
from django.contrib.admin.models import LogEntry
from django.template.loader import render_to_string
from django.test import Client
from django.utils.translation import override
from pytest_django.fixtures import Settings

from jobstore import api
from jobstore.admin.schedule_fields import fields_of
from jobstore.admin.schedule_form import ScheduleForm
from jobstore.admin.schedule_rows import TEMPLATE, schedule_row
from jobstore.models import AuditEntry, DjangoJob
from jobstore.registry import crontab
from jobstore.storage import replacement, serializer
from jobstore.tests.admin.test_admin import JOBS, NewClient, act, job_page, staff, store
from jobstore.tests.api import offers

__all__ = ["staff"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("english_and_utc")]

PAGE = f"{JOBS}job/schedule/"
EVERY_TWO_HOURS = {"kind": "interval", "every": "2", "unit": "hours", "timezone": "UTC"}


@pytest.fixture(autouse=True)
def _zone(settings: Settings) -> None:
    settings.TIME_ZONE = "UTC"


def filled(client: Client, page: str = PAGE) -> dict[str, str]:
    """Return what the form of a page holds at first, as a browser would send it."""
    answer: Any = client.get(page)
    assert answer.status_code == 200
    found: dict[str, str] = {}
    for form in ("new", "schedule", "arguments", "options"):
        for field in answer.context_data.get(form) or ():
            value = field.field.widget.format_value(field.value())
            value = value[0] if isinstance(value, list) and value else value
            if field.widget_type == "checkbox":
                value = "on" if field.value() else None
            if value not in (None, [], ""):
                found[field.html_name] = str(value)
    if expected := answer.context_data.get("expected"):
        found["expected"] = expected
    return found


def preview(client: Client, page: str = PAGE, **fields: str) -> Any:
    """Fill in a page and ask for the preview; return the answer."""
    form = filled(client, page) | fields | {"preview": "Preview"}
    return client.post(page, {name: value for name, value in form.items() if value != ""})


def save(client: Client, page: str = PAGE, **fields: str) -> Any:
    """Fill in a page, look at its preview and save; return the answer."""
    answer = preview(client, page, **fields)
    assert answer.context_data.get("preview"), mistakes(answer)
    form = filled(client, page) | fields
    form = {name: value for name, value in form.items() if value != ""}
    return client.post(page, form | {"previewed": answer.context_data["previewed"], "save": "Save"})


def mistakes(answer: Any) -> dict[str, str]:
    """Return what stands at the fields of an answer."""
    assert answer.status_code == 200
    assert not answer.context_data.get("preview")
    found = {"": " ".join(answer.context_data["general"])}
    for form in ("new", "schedule", "arguments", "options"):
        for field in answer.context_data.get(form) or ():
            found[field.html_name] = " ".join(field.errors)
    return {name: text for name, text in found.items() if text}


def text_of(answer: Any) -> str:
    return html.unescape(answer.content.decode())


def trigger() -> Any:
    return serializer.restore(DjangoJob.objects.get(pk="job")).trigger


# --- Look, then save -----------------------------------------------------------------------------


def test_a_preview_tells_what_would_be_and_stores_nothing(admin_client: Client) -> None:
    before = store()
    answer = preview(admin_client, **EVERY_TWO_HOURS)
    shown = answer.context_data["preview"]
    assert (shown.words, len(shown.times)) == ("every 2 hours", 10)
    assert ("every hour", "every 2 hours") in [(one.before, one.after) for one in shown.changes]
    assert DjangoJob.objects.values().get() == DjangoJob.objects.filter(pk=before.pk).values().get()
    assert DjangoJob.objects.get().version == before.version
    assert not AuditEntry.objects.exists() and not LogEntry.objects.exists()


def test_what_was_looked_at_is_saved(admin_client: Client, admin_user: Any) -> None:
    store()
    answer = save(admin_client, **EVERY_TWO_HOURS)
    assert answer["Location"] == job_page()
    assert trigger().interval == dt.timedelta(hours=2)
    entry = AuditEntry.objects.get()
    assert (entry.verb, entry.through, entry.who) == (
        "reschedule",
        "admin",
        admin_user.get_username(),
    )
    assert LogEntry.objects.get().change_message == "Changed the schedule."


def test_nothing_is_saved_that_was_not_looked_at(admin_client: Client) -> None:
    store()
    previewed = preview(admin_client, **EVERY_TWO_HOURS).context_data["previewed"]
    form = filled(admin_client) | EVERY_TWO_HOURS | {"every": "3", "save": "Save"}
    for seen in ("", previewed):
        answer: Any = admin_client.post(PAGE, form | {"previewed": seen})
        assert answer.context_data["preview"].words == "every 3 hours"
        assert "Look at this one" in text_of(answer)
    assert trigger().interval == dt.timedelta(hours=1)


def test_a_change_of_somebody_else_is_told_and_what_was_typed_stays(admin_client: Client) -> None:
    store()
    form = filled(admin_client) | EVERY_TWO_HOURS
    api.reschedule("job", "interval", hours=5)
    answer: Any = admin_client.post(PAGE, form | {"preview": "Preview"})
    assert "was changed since you looked at it" in mistakes(answer)[""]
    assert 'name="every" value="2"' in text_of(answer)
    assert "every 5 hours" in text_of(answer)
    again: Any = admin_client.post(PAGE, form | {"expected": answer.context_data["expected"]})
    changes = [(one.before, one.after) for one in again.context_data["preview"].changes]
    assert ("every 5 hours", "every 2 hours") in changes


def test_a_change_between_preview_and_save_is_not_undone(admin_client: Client) -> None:
    store()
    form = filled(admin_client) | EVERY_TWO_HOURS
    first: Any = admin_client.post(PAGE, form)
    previewed = first.context_data["previewed"]
    api.reschedule("job", "interval", hours=5)
    answer: Any = admin_client.post(PAGE, form | {"previewed": previewed, "save": "Save"})
    assert "was changed since" in mistakes(answer)[""]
    assert trigger().interval == dt.timedelta(hours=5)


def test_a_paused_job_stays_paused_and_the_preview_says_so(admin_client: Client) -> None:
    store(paused=True)
    answer = preview(admin_client, **EVERY_TWO_HOURS)
    assert (
        answer.context_data["preview"].is_paused and len(answer.context_data["preview"].times) == 10
    )
    save(admin_client, **EVERY_TWO_HOURS)
    assert DjangoJob.objects.get().next_run_time is None


def test_the_change_of_clocks_is_marked(admin_client: Client) -> None:
    store()
    answer = preview(
        admin_client,
        kind="cron",
        hour="3",
        month="3",
        day="last sun",
        year="2031",
        timezone="Europe/Berlin",
    )
    [run] = answer.context_data["preview"].times
    assert run.mark == "Clocks go forward by 1 h before this run."
    assert run.here.endswith("01:00:00 UTC") and "Clocks go forward" in text_of(answer)


def test_a_preview_takes_at_most_twenty_statements(
    admin_client: Client, django_assert_max_num_queries: Any
) -> None:
    store()
    form = filled(admin_client) | EVERY_TWO_HOURS
    with django_assert_max_num_queries(20):  # the session, the user and savepoints among them
        answer: Any = admin_client.post(PAGE, form)
    assert answer.context_data["preview"]


# --- Each kind -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"kind": "crontab", "crontab": "30 3 * * 1-5", "timezone": "Asia/Tokyo"},
            CronTrigger(day_of_week="mon-fri", hour=3, minute=30, timezone="Asia/Tokyo"),
        ),
        (
            {
                "kind": "cron",
                "day_of_week": "0",
                "hour": "4",
                "jitter": "30",
                "timezone": "UTC",
            },
            CronTrigger(day_of_week="0", hour=4, jitter=30, timezone="UTC"),
        ),
        (
            {
                "kind": "interval",
                "every": "90",
                "unit": "seconds",
                "start_date": "2031-01-01T08:00",
                "timezone": "UTC",
            },
            IntervalTrigger(seconds=90, start_date="2031-01-01 08:00:00", timezone="UTC"),
        ),
    ],
)
def test_a_schedule_of_each_kind_is_stored(
    admin_client: Client, fields: dict[str, str], expected: Any
) -> None:
    store()
    save(admin_client, **fields)
    assert replacement.identity(trigger()) == replacement.identity(expected)


def test_a_job_can_be_moved_to_one_moment(admin_client: Client) -> None:
    store()
    save(admin_client, kind="date", run_at="2031-07-01T12:00:00", timezone="Europe/Berlin")
    assert trigger().run_date.astimezone(dt.UTC) == dt.datetime(2031, 7, 1, 10, tzinfo=dt.UTC)


def test_the_two_ways_to_count_weekdays_are_told_apart(admin_client: Client) -> None:
    store()
    text = re.sub(r"<[^>]+>", "", text_of(admin_client.get(PAGE)))
    assert "as cron counts: 0 or 7 = sun" in text and "as APScheduler counts: 0 = mon" in text
    of_cron = preview(admin_client, kind="crontab", crontab="0 2 * * 0", timezone="UTC")
    fields = {"day_of_week": "0", "hour": "2", "timezone": "UTC"}
    of_fields = preview(admin_client, kind="cron", **fields)
    assert of_cron.context_data["preview"].words == "sun at 02:00"
    assert of_fields.context_data["preview"].words == "mon at 02:00"
    assert of_cron.context_data["preview"].questions == []
    assert "means mon" in of_fields.context_data["preview"].questions[0]


@pytest.mark.parametrize(
    "stored",
    [
        CronTrigger(hour=3, timezone="UTC"),
        CronTrigger(day="last", hour="*/2", second=5, timezone="Asia/Tokyo", jitter=7),
        CronTrigger(minute="*/5", start_date="2030-01-01", end_date="2031-01-01", timezone="UTC"),
        CronTrigger(day_of_week="0,mon-fri", timezone="Europe/Berlin"),
        IntervalTrigger(weeks=3, timezone="UTC"),
        IntervalTrigger(seconds=5400, start_date="2030-01-01 00:30:00", timezone="Europe/Berlin"),
        IntervalTrigger(seconds=0.5, timezone="UTC"),
        crontab("*/10 8-18 * * mon-fri"),
    ],
)
def test_a_form_that_is_sent_back_untouched_means_the_stored_schedule(stored: Any) -> None:
    first = ScheduleForm(trigger=stored)
    data = {field.html_name: field.value() for field in first if field.value() is not None}
    again = ScheduleForm(data, trigger=stored)
    assert again.is_valid(), again.errors
    assert not again.has_changed()
    kind, fields = again.arguments
    assert replacement.identity(api.made_trigger(kind, **fields)) == replacement.identity(stored)


@pytest.mark.parametrize(
    ("stored", "line"),
    [
        (CronTrigger(hour=3, timezone="UTC"), "0 3 * * *"),
        (CronTrigger(minute="*/5", timezone="UTC"), "*/5 * * * *"),
        (crontab("30 3 1 * *"), "30 3 1 * *"),
        (CronTrigger(day_of_week="mon-fri", hour=3, timezone="UTC"), "0 3 * * mon-fri"),
        (CronTrigger(day_of_week="0", hour=3, timezone="UTC"), ""),
        (CronTrigger(second=5, timezone="UTC"), ""),
        (CronTrigger(day=13, day_of_week="fri", timezone="UTC"), ""),
    ],
)
def test_cron_fields_are_shown_as_crontab_only_where_both_mean_the_same(
    stored: CronTrigger, line: str
) -> None:
    assert fields_of(stored)["crontab"] == line


def test_what_the_form_cannot_tell_is_said_and_can_be_replaced(admin_client: Client) -> None:
    store(trigger=OrTrigger([CronTrigger(hour=1), CronTrigger(hour=5)]))
    assert "cannot be told by these fields" in text_of(admin_client.get(PAGE))
    assert mistakes(preview(admin_client)) == {"kind": "This field is required."}
    save(admin_client, **EVERY_TWO_HOURS)
    assert trigger().interval == dt.timedelta(hours=2)


# --- What people do wrong ------------------------------------------------------------------------

LONG = "9" * 150


@pytest.mark.parametrize(
    ("fields", "field", "text"),
    [
        ({"kind": "crontab", "crontab": ""}, "crontab", "Write five fields"),
        ({"kind": "crontab", "crontab": "0 3 * *"}, "crontab", "It has 4 fields instead of five"),
        ({"kind": "crontab", "crontab": "0 25 * * *"}, "crontab", "Hour 25 is not from 0 to 23."),
        ({"kind": "crontab", "crontab": "0 3 30 2 *"}, "crontab", "would never run"),
        ({"kind": "crontab", "crontab": "@reboot"}, "crontab", "run_at_start=True"),
        ({"kind": "crontab", "crontab": "\u0663 3 * * *"}, "crontab", "not understood"),
        ({"kind": "cron", "hour": ""}, "hour", "Fill in at least one field"),
        ({"kind": "cron", "hour": "3 am"}, "hour", 'Unrecognized expression "3 am"'),
        ({"kind": "cron", "hour": "25"}, "hour", "23"),
        ({"kind": "cron", "day_of_week": "sunday"}, "day_of_week", "sunday"),
        ({"kind": "cron", "minute": LONG}, "minute", "."),
        ({"kind": "cron", "month": "2", "day": "30"}, "month", "never fires"),
        ({"kind": "cron", "year": "2001"}, "year", "never fires"),
        ({"kind": "interval", "every": ""}, "every", "Write how long"),
        ({"kind": "interval", "every": "0"}, "every", "greater than or equal to"),
        ({"kind": "interval", "every": "-5"}, "every", "greater than or equal to"),
        ({"kind": "interval", "every": "ten"}, "every", "Enter a number"),
        ({"kind": "interval", "every": "nan"}, "every", "Enter a number"),
        ({"kind": "interval", "every": "1000000000", "unit": "weeks"}, "every", "."),
        ({"kind": "interval", "every": "5", "unit": "fortnights"}, "unit", "fortnights"),
        ({"kind": "interval", "every": "5", "end_date": "2001-01-01T00:00"}, "every", "never"),
        ({"kind": "date", "run_at": ""}, "run_at", "Choose a date"),
        ({"kind": "date", "run_at": "tomorrow"}, "run_at", "is not a date and time"),
        ({"kind": "date", "run_at": "9999-12-31T23:59"}, "run_at", "Choose a year"),
        ({"kind": "date", "run_at": "2031-01-01T08:00+02:00"}, "run_at", "Leave out the offset"),
        (
            {"kind": "date", "run_at": "2031-03-30T02:30", "timezone": "Europe/Berlin"},
            "run_at",
            "clocks are put forward past it",
        ),
        ({"kind": "weekly"}, "kind", "weekly"),
        ({**EVERY_TWO_HOURS, "timezone": "Mars/Olympus"}, "timezone", "Mars/Olympus"),
        ({**EVERY_TWO_HOURS, "timezone": "../../etc/passwd"}, "timezone", "passwd"),
        ({**EVERY_TWO_HOURS, "jitter": "-1"}, "jitter", "greater than or equal to"),
        ({"kind": "crontab", "crontab": "0 3 * * *", "jitter": "9"}, "jitter", "Only cron fields"),
        ({"crontab": "0 3 * * *"}, "kind", "You filled in “Crontab text”, but chose “Interval”"),
        ({"kind": "crontab", "crontab": "0 3\x00 * * *"}, "crontab", "Null characters"),
        ({}, "", "Nothing is changed."),
    ],
)
def test_a_mistake_is_told_at_its_field_and_nothing_is_stored(
    admin_client: Client, fields: dict[str, str], field: str, text: str
) -> None:
    store()
    answer = preview(admin_client, **fields)
    found = mistakes(answer)
    assert text in found[field], found
    assert "Nothing is saved." in text_of(answer)
    assert trigger().interval == dt.timedelta(hours=1)


def test_a_moment_in_the_past_is_refused(admin_client: Client) -> None:
    store(func=offers.greet, args=["Ann"])
    api.change("job", misfire_grace_time=60)
    answer = preview(admin_client, kind="date", run_at="2020-01-01T00:00")
    assert "lies in the past" in mistakes(answer)["run_at"]


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "interval", "every": "5", "unit": "seconds"},
        {"kind": "cron", "second": "*/5"},
        {"kind": "crontab", "crontab": "* * * * *"},
    ],
)
def test_what_fires_more_often_than_is_allowed_is_refused(
    admin_client: Client, settings: Settings, fields: dict[str, str]
) -> None:
    settings.SCHEDULER_MIN_INTERVAL_SECONDS = 61
    store()
    [(field, text)] = mistakes(preview(admin_client, **fields)).items()
    assert field in {"every", "second", "crontab"}
    assert "no less than 61 s are allowed here" in text


def test_an_interval_of_thousands_of_years_is_previewed_as_far_as_time_goes(
    admin_client: Client,
) -> None:
    store()
    answer = preview(admin_client, kind="interval", every="300000", unit="weeks")
    assert len(answer.context_data["preview"].times) == 1


def test_garbage_is_no_error_of_the_server(admin_client: Client) -> None:
    store()
    for form in ({"save": "Save"}, {"previewed": "x"}, {"expected": "\x00"}, {"kind": "cron"}):
        assert admin_client.post(PAGE, form).status_code == 200
    for address in ("none/schedule/", "%00/schedule/", "x" * 300 + "/options/", "none/clone/"):
        assert admin_client.get(f"{JOBS}{address}").status_code == 404


# --- Who may -------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["schedule", "options", "reset"])
def test_only_those_who_may_edit_find_and_open_the_editor(staff: NewClient, page: str) -> None:
    store()
    viewer, editor = staff("view_djangojob"), staff("view_djangojob", "change_djangojob")
    assert viewer.get(f"{JOBS}job/{page}/").status_code == 403
    assert viewer.post(f"{JOBS}job/{page}/", EVERY_TWO_HOURS).status_code == 403
    assert "job/schedule/" not in text_of(viewer.get(job_page()))
    assert editor.get(f"{JOBS}job/{page}/").status_code == 200
    assert "job/schedule/" in text_of(editor.get(job_page()))


def test_the_project_decides_for_each_job_who_edits(staff: NewClient, settings: Settings) -> None:
    settings.JOB_ACCESS = "jobstore.tests.admin.test_schedule_editor.all_but_edit"
    store()
    client = staff("view_djangojob", "change_djangojob")
    assert client.get(PAGE).status_code == 403
    assert client.get(job_page()).status_code == 200


def all_but_edit(user: Any, verb: str, job: Any) -> bool:
    """Let nobody edit."""
    return verb != "edit"


def test_a_retired_job_and_one_that_cannot_be_read_are_not_edited(admin_client: Client) -> None:
    store()
    DjangoJob.objects.update(job_state=b"foreign")
    answer: Any = admin_client.get(PAGE, follow=True)
    assert "cannot be restored" in text_of(answer)
    act(admin_client, "retire_selected_jobs", "job", post="yes")
    assert admin_client.get(PAGE).status_code == 404


def test_a_job_that_is_retired_meanwhile_is_said_to_be(admin_client: Client) -> None:
    store()
    form = filled(admin_client) | EVERY_TWO_HOURS
    api.retire("job")
    assert admin_client.post(PAGE, form).status_code == 404


def test_a_field_is_shown_as_it_is_whatever_was_shown_of_it_before() -> None:
    cron = CronTrigger(hour=3, jitter=5, end_date="2090-01-01", timezone="UTC")
    triggers = (cron, IntervalTrigger(hours=2, timezone="Europe/Berlin"), OrTrigger([cron]), None)
    filled_in = {"kind": "cron", "hour": "4", "timezone": "Asia/Tokyo"}
    wrong = {"kind": "date", "crontab": "None", "timezone": "UTC"}
    for language in ("en", "de"):
        for data in (None, filled_in, wrong, {}):
            for trigger in triggers:
                with override(language):
                    form = ScheduleForm(data, trigger=trigger)
                    for field in form:
                        assert schedule_row(field) == render_to_string(TEMPLATE, {"field": field})


def test_the_page_has_no_script_or_style_of_its_own(admin_client: Client) -> None:
    store()
    for answer in (admin_client.get(PAGE), preview(admin_client, **EVERY_TWO_HOURS)):
        text = text_of(answer)
        assert not re.search(r"<script(?![^>]*\bsrc=)[^>]*>\s*\S", text)
        assert not re.search(r"<style|\sstyle=|\son\w+=", text)
