"""Arguments and options are changed, jobs added, cloned and reset in the admin."""

import datetime as dt
from typing import Any, Literal

import pytest
from django.test import Client
from pytest_django.fixtures import Settings

from jobstore import api, registry
from jobstore.admin.arguments_form import unmasked
from jobstore.api.building import stand_in
from jobstore.jobstores import DjangoJobStore
from jobstore.models import AuditEntry, DjangoJob
from jobstore.storage import serializer
from jobstore.tests import callables
from jobstore.tests.admin.test_admin import JOBS, NewClient, audit, job_page, ran, staff, store
from jobstore.tests.admin.test_schedule_editor import (
    EVERY_TWO_HOURS,
    filled,
    mistakes,
    preview,
    save,
    text_of,
)
from jobstore.tests.api import offers

__all__ = ["staff"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("english_and_utc")]

OPTIONS = f"{JOBS}job/options/"
MASK = "********"
GREET, MAIL = "jobstore.tests.api.offers.greet", "jobstore.tests.admin.test_job_editor.mail"


def mail(
    to: str,
    copies: int = 1,
    *,
    since: dt.date | None = None,
    size: Literal["small", "large"] = "small",
    urgent: bool = False,
    api_token: str = "",
) -> None:
    """Send a letter."""


@pytest.fixture(autouse=True)
def _offered(nothing_declared: None, settings: Settings) -> None:
    settings.TIME_ZONE = "UTC"
    registry.schedulable(name="A letter", copies={"least": 1, "most": 9})(mail)


def stored(job_id: str = "job") -> Any:
    return serializer.restore(DjangoJob.objects.get(pk=job_id))


# --- Arguments ------------------------------------------------------------------------------------


def test_arguments_are_changed_as_json(admin_client: Client) -> None:
    store(func=offers.greet, args=["Ann"])
    save(admin_client, OPTIONS, args='["Bob"]', kwargs='{"times": 3}')
    assert (stored().args, stored().kwargs) == (("Bob",), {"times": 3})


def test_arguments_of_an_offered_function_have_fields_of_their_types(admin_client: Client) -> None:
    store(func=mail, kwargs={"to": "Ann", "since": dt.date(2031, 1, 31)})
    first = filled(admin_client, OPTIONS)
    assert (first["arg_to"], first["arg_since"]) == ("Ann", "2031-01-31")
    save(admin_client, OPTIONS, arg_copies="4", arg_size="large", arg_urgent="true", arg_since="")
    assert stored().kwargs == {"to": "Ann", "copies": 4, "size": "large", "urgent": True}


@pytest.mark.parametrize(
    ("fields", "field", "text"),
    [
        ({"arg_copies": "many"}, "arg_copies", "it must be a whole number from 1 to 9"),
        ({"arg_copies": "10"}, "arg_copies", "from 1 to 9"),
        ({"arg_since": "yesterday"}, "arg_since", "a date such as"),
        ({"arg_size": "huge"}, "arg_size", "huge is not one of"),
        ({"arg_api_token": MASK}, "arg_api_token", "nothing stored that could be kept"),
    ],
)
def test_a_wrong_value_is_told_at_its_field(
    admin_client: Client, fields: dict[str, str], field: str, text: str
) -> None:
    store(func=mail, kwargs={"to": "Ann"})
    assert text in mistakes(preview(admin_client, OPTIONS, **fields))[field]


@pytest.mark.parametrize(
    ("fields", "field", "text"),
    [
        ({"args": "Bob"}, "args", "This is not JSON"),
        ({"args": '{"a": 1}'}, "args", "Write a list"),
        ({"kwargs": "[1]"}, "kwargs", "Write an object"),
        ({"kwargs": '{"a": 1, "a": 2}'}, "kwargs", "a name is given twice"),
        ({"kwargs": '{"times": NaN}'}, "kwargs", "NaN is not a number"),
        ({"args": "[" * 5000}, "args", "This is not JSON"),
        ({"args": "[" + "9" * 5000 + "]"}, "args", "This is not JSON"),
        ({"args": f'["{MASK}"]', "kwargs": ""}, "", "Nothing is changed"),
        ({"args": f'["Ann", "{MASK}"]'}, "args", "there is none at this place"),
        ({"args": '["Ann", 2, 3]'}, "kwargs", "too many positional arguments"),
        ({"kwargs": '{"volume": 1}'}, "kwargs", "unexpected keyword argument 'volume'"),
        ({"args": ""}, "kwargs", "missing a required argument: 'name'"),
        ({"max_instances": "0"}, "max_instances", "greater than or equal to 1"),
        ({"max_instances": "x"}, "max_instances", "Enter a whole number"),
        ({"misfire_grace_time": "0"}, "misfire_grace_time", "greater than or equal to 1"),
        ({"executor": "cluster"}, "executor", "cluster is not one of"),
        ({"on_lost": "ignore"}, "on_lost", "ignore is not one of"),
        ({"name": ""}, "name", "Write what it is called"),
        ({"name": "x" * 5000}, "name", "at most"),
    ],
)
def test_a_mistake_is_told_and_nothing_is_stored(
    admin_client: Client, fields: dict[str, str], field: str, text: str
) -> None:
    store(func=offers.greet, args=["Ann"])
    found = mistakes(preview(admin_client, OPTIONS, **fields))
    assert text in found.get(field, found.get("", "")), found
    assert stored().args == ("Ann",)


def test_secrets_are_not_sent_and_stay_as_they_are(admin_client: Client) -> None:
    options = {"token": "t0p", "n": 1}
    store(func=offers.log_in, args=["ann", "s3cret"], kwargs={"options": options})
    page = text_of(admin_client.get(OPTIONS))
    assert MASK in page and "s3cret" not in page and "t0p" not in page
    kwargs = f'{{"options": {{"token": "{MASK}", "n": 2}}}}'
    answer = save(admin_client, OPTIONS, args=f'["bob", "{MASK}"]', kwargs=kwargs)
    assert answer.status_code == 302
    assert stored().args == ("bob", "s3cret")
    assert stored().kwargs == {"options": {"token": "t0p", "n": 2}}
    entry = AuditEntry.objects.get()
    assert "s3cret" not in str((entry.before, entry.after))


def test_a_secret_of_an_offered_function_is_kept_and_can_be_replaced(admin_client: Client) -> None:
    store(func=mail, kwargs={"to": "Ann", "api_token": "t0p"})
    assert "t0p" not in text_of(admin_client.get(OPTIONS))
    save(admin_client, OPTIONS, arg_copies="2")
    assert stored().kwargs["api_token"] == "t0p"
    save(admin_client, OPTIONS, arg_api_token="n3w")
    assert stored().kwargs["api_token"] == "n3w"


def test_a_preview_shows_no_secret(admin_client: Client) -> None:
    store(func=offers.log_in, args=["ann", "s3cret"])
    answer = preview(admin_client, OPTIONS, max_instances="2")
    assert answer.context_data["preview"] and "s3cret" not in text_of(answer)


def test_what_json_cannot_tell_stays_and_options_can_be_changed(admin_client: Client) -> None:
    day = dt.date(2031, 1, 31)
    store(func=offers.greet, args=[day])
    assert "JSON cannot tell these values" in text_of(admin_client.get(OPTIONS))
    save(admin_client, OPTIONS, max_instances="3")
    assert (stored().args, stored().max_instances) == ((day,), 3)


def test_a_mask_stands_for_what_is_stored_at_its_place_only() -> None:
    assert unmasked({"a": [1, MASK]}, {"a": [5, "x"]}) == {"a": [1, "x"]}
    with pytest.raises(ValueError, match="none at this place"):
        unmasked({"b": MASK}, {"a": "x"})


# --- Options --------------------------------------------------------------------------------------


def test_only_what_was_changed_is_written(admin_client: Client) -> None:
    store(func=offers.greet, args=["Ann"])
    answer = preview(admin_client, OPTIONS, max_instances="4", misfire_grace_time="60")
    shown = {one.label: (one.before, one.after) for one in answer.context_data["preview"].changes}
    assert shown == {"at the same time": ("1", "4"), "may be late by": ("any lateness", "60 s")}
    save(admin_client, OPTIONS, max_instances="4", misfire_grace_time="60")
    assert set(AuditEntry.objects.get().after) == {"max_instances", "misfire_grace_time"}
    assert audit() == ["Changed arguments or options."]


def test_a_switch_can_be_put_out(admin_client: Client) -> None:
    store(func=offers.greet, args=["Ann"])
    save(admin_client, OPTIONS, coalesce="")
    assert stored().coalesce is False


# --- Add and clone --------------------------------------------------------------------------------

ADD = f"{JOBS}add/"


def test_only_functions_that_the_code_offers_can_be_chosen(admin_client: Client) -> None:
    text = text_of(admin_client.get(ADD))
    assert "A letter" in text and MAIL in text and GREET not in text
    for key in (GREET, "os.system", "os:system", "x\x00"):
        answer = admin_client.get(ADD, {"function": key})
        assert "The code offers no function" in text_of(answer)
        answer = admin_client.post(f"{ADD}?function={key}".replace("\x00", "%00"), EVERY_TWO_HOURS)
        assert "The code offers no function" in text_of(answer)
    assert not DjangoJob.objects.exists()


def test_a_job_is_added_once_it_was_looked_at(admin_client: Client) -> None:
    page = f"{ADD}?function={MAIL}"
    fields = {**EVERY_TWO_HOURS, "id": "letters", "arg_to": "Ann", "arg_copies": "2"}
    answer = preview(admin_client, page, **fields)
    assert answer.context_data["preview"].words == "every 2 hours"
    assert not DjangoJob.objects.exists()
    assert save(admin_client, page, **fields)["Location"] == job_page("letters")
    job = stored("letters")
    assert (job.func, job.kwargs) == (mail, {"to": "Ann", "copies": 2})
    assert job.next_run_time is not None
    assert AuditEntry.objects.get().verb == "add"


@pytest.mark.parametrize(
    ("fields", "field", "text"),
    [
        ({"id": ""}, "id", "This field is required."),
        ({"id": " "}, "id", "This field is required."),
        ({"id": "x" * 300}, "id", "at most 255"),
        ({"id": "taken"}, "id", "There is a job 'taken'"),
        ({"arg_to": ""}, "arg_to", "."),
        ({"arg_copies": "0"}, "arg_copies", "from 1 to 9"),
        ({"every": ""}, "every", "Write how long"),
        ({"reason": "why not"}, "reason", "Only a paused job has a reason"),
        ({"kind": "cron", "month": "2", "day": "31", "every": ""}, "month", "never fires"),
    ],
)
def test_a_mistake_in_a_new_job_is_told_at_its_field(
    admin_client: Client, fields: dict[str, str], field: str, text: str
) -> None:
    store("taken")
    page = f"{ADD}?function={MAIL}"
    given = {**EVERY_TWO_HOURS, "id": "letters", "arg_to": "Ann", **fields}
    answer = preview(admin_client, page, **given)
    if field == "arg_to":  # an empty text is a text
        assert answer.context_data["preview"]
        return
    assert text in mistakes(answer)[field]
    assert set(DjangoJob.objects.values_list("pk", flat=True)) == {"taken"}


def test_a_clone_is_paused_at_first_and_has_an_id_of_its_own(admin_client: Client) -> None:
    store(func=mail, kwargs={"to": "Ann", "api_token": "t0p"}, max_instances=3)
    page = f"{JOBS}job/clone/"
    assert "t0p" not in text_of(admin_client.get(page))
    assert "There is a job 'job'" in mistakes(preview(admin_client, page, id="job"))["id"]
    save(admin_client, page, id="copy")
    copy = stored("copy")
    assert copy.kwargs == {"to": "Ann", "api_token": "t0p"}
    assert copy.trigger.interval == dt.timedelta(hours=1)
    assert DjangoJob.objects.get(pk="copy").next_run_time is None


def test_a_job_whose_function_is_not_offered_cannot_be_cloned(admin_client: Client) -> None:
    store(func=offers.greet, args=["Ann"])
    answer = admin_client.get(f"{JOBS}job/clone/", follow=True)
    assert "does not offer its function" in text_of(answer)
    assert "job/clone/" not in text_of(admin_client.get(job_page()))


def test_only_those_who_may_add_jobs_find_and_open_the_page(staff: NewClient) -> None:
    store(func=mail, kwargs={"to": "Ann"})
    editor = staff("view_djangojob", "change_djangojob")
    for page in (ADD, f"{ADD}?function={MAIL}", f"{JOBS}job/clone/"):
        assert editor.get(page).status_code == 403
        assert editor.post(page, EVERY_TWO_HOURS).status_code == 403
    assert "add/" not in text_of(editor.get(JOBS))
    adder = staff("view_djangojob", "add_djangojob")
    assert adder.get(ADD).status_code == 200
    assert "/add/" in text_of(adder.get(JOBS))
    assert "job/clone/" in text_of(adder.get(job_page()))


def test_what_the_project_forbids_to_add_is_told(staff: NewClient, settings: Settings) -> None:
    settings.JOB_ACCESS = "jobstore.tests.api.offers.only_mine"
    client = staff("view_djangojob", "add_djangojob")
    fields = {**EVERY_TWO_HOURS, "arg_to": "Ann"}
    page = f"{ADD}?function={MAIL}"
    answer = preview(client, page, id="letters", **fields)
    assert mistakes(answer) == {"": "You may not add a job like that."}
    assert preview(client, page, id="mine", **fields).context["preview"]


# --- Back to code ---------------------------------------------------------------------------------


def deploy(**options: Any) -> None:
    registry._declared.clear()
    registry.scheduled("interval", id="job", **options)(callables.note)
    registry.sync(DjangoJobStore(), stand_in())


def test_what_differs_from_the_code_is_shown_and_reset_once_confirmed(admin_client: Client) -> None:
    deploy(hours=1)
    assert "Reset to code" not in text_of(admin_client.get(job_page()))
    api.reschedule("job", "interval", minutes=5)
    text = text_of(admin_client.get(job_page()))
    assert "while the code says every hour" in text and "Reset to code" in text
    text = text_of(admin_client.get(f"{JOBS}job/reset/"))
    assert "interval[0:05:00]" in text and "interval[1:00:00]" in text and "Yes, reset" in text
    assert stored().trigger.interval == dt.timedelta(minutes=5)
    admin_client.post(f"{JOBS}job/reset/")
    assert stored().trigger.interval == dt.timedelta(hours=1)
    assert audit() == ["Reset to what the code declares."]


def test_a_reset_repairs_a_declared_job_in_quarantine(admin_client: Client) -> None:
    deploy(hours=1)
    DjangoJob.objects.update(
        job_state=b"foreign", quarantined_at=dt.datetime.now(dt.UTC), quarantine_reason="broken"
    )
    text = text_of(admin_client.get(job_page()))
    assert "“Reset to code” does so now" in text and "job/reset/" in text
    admin_client.post(f"{JOBS}job/reset/")
    assert stored().trigger.interval == dt.timedelta(hours=1)
    assert DjangoJob.objects.get().quarantined_at is None


def test_what_is_not_declared_cannot_be_reset(admin_client: Client) -> None:
    store()
    answer = admin_client.post(f"{JOBS}job/reset/", follow=True)
    assert "The code does not declare a job 'job'" in text_of(answer)


# --- The page of a job ----------------------------------------------------------------------------


def test_the_page_shows_the_next_ten_runs(admin_client: Client) -> None:
    store()
    assert len(admin_client.get(job_page()).context["times"]) == 10


def test_a_pause_asks_for_a_reason_and_shows_it(admin_client: Client) -> None:
    store()
    assert "Reason of a pause" in text_of(admin_client.get(job_page()))
    form = {"action": "pause_selected_jobs", "reason": "the supplier is down"}
    text = text_of(admin_client.post(f"{JOBS}job/act/", form, follow=True))
    assert "This job is paused." in text and "Reason: the supplier is down" in text


def test_a_job_whose_trigger_raises_can_be_looked_at(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    store()

    def fail(*args: Any) -> None:
        raise RuntimeError("no idea")

    monkeypatch.setattr("apscheduler.triggers.interval.IntervalTrigger.get_next_fire_time", fail)
    assert "every hour" in text_of(admin_client.get(job_page()))


def test_latest_runs_have_a_picture_with_words(admin_client: Client) -> None:
    store()
    ran(duration=2)
    ran(duration=1, ago=60)
    text = text_of(admin_client.get(job_page()))
    assert 'role="img"' in text
    assert "<title>The latest 2 runs, the newest on the right</title>" in text
    assert "<desc>duration from 1.000 s to 2.000 s; start delay not known</desc>" in text
