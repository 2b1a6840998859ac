"""Jobs are added from any code, inside its transaction, with one sentence for each mistake."""

import datetime as dt
from typing import Any

import pytest
from apscheduler.triggers.interval import IntervalTrigger
from django.db import transaction
from django.utils import timezone
from pytest_django.fixtures import Settings

from jobstore import api, conf
from jobstore.models import AuditEntry, DjangoJob, DjangoJobExecution
from jobstore.storage import serializer
from jobstore.tests import callables
from jobstore.tests.api import offers

pytestmark = pytest.mark.django_db

HOUR = dt.timedelta(hours=1)


def add(job_id: str = "job", **options: Any) -> DjangoJob:
    options = {"trigger": "interval", "hours": 1, **options}
    return api.add_job(options.pop("func", callables.note), id=job_id, **options)


def test_a_job_is_added_in_one_line_and_due_after_its_interval() -> None:
    job = api.add_job(callables.note, "interval", hours=1, id="job", args=["hello"])
    assert DjangoJob.objects.get().pk == job.pk == "job"
    assert job.next_run_time is not None
    assert abs(job.next_run_time - timezone.now() - HOUR) < dt.timedelta(seconds=10)
    assert job.arguments == "'hello'"


def test_an_added_job_has_the_defaults_of_declared_ones() -> None:
    job = add()
    assert (job.coalesce, job.max_instances, job.on_lost) == (True, 1, "record")
    assert job.misfire_grace_time == conf.get("SCHEDULER_MISFIRE_GRACE_SECONDS")


def test_all_options_are_stored() -> None:
    job = add(
        kwargs={"text": "hi"},
        name="Greeting",
        coalesce=False,
        max_instances=3,
        misfire_grace_time=None,
        on_lost="rerun",
        next_run_time="2031-06-01 08:00",
    )
    assert (job.name, job.coalesce, job.max_instances) == ("Greeting", False, 3)
    assert (job.misfire_grace_time, job.on_lost) == (None, "rerun")
    assert job.next_run_time is not None and job.next_run_time.year == 2031
    assert serializer.restore(job).kwargs == {"text": "hi"}


def test_a_job_without_an_id_gets_one_of_its_own() -> None:
    ids = {api.add_job(callables.note, "interval", hours=1).pk for _ in range(2)}
    assert len(ids) == 2


def test_a_job_may_be_added_paused_with_the_reason() -> None:
    job = add(paused=True, reason="not before Monday")
    assert job.next_run_time is None
    assert job.pause_reason == "not before Monday"


def test_a_trigger_object_works_as_well() -> None:
    job = api.add_job(callables.note, IntervalTrigger(hours=2), id="job")
    assert job.trigger == "interval[2:00:00]"


@pytest.mark.django_db(transaction=True)
def test_a_rolled_back_request_leaves_no_job_and_no_entry() -> None:
    with transaction.atomic():
        add()
        transaction.set_rollback(True)
    assert not DjangoJob.all_objects.exists()
    assert not AuditEntry.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_refused_job_does_not_break_the_callers_transaction() -> None:
    add()
    with transaction.atomic():
        with pytest.raises(api.AlreadyExists):
            add()
        add("other")
    assert {job.pk for job in DjangoJob.objects.all()} == {"job", "other"}


def test_a_second_job_of_an_id_is_refused_unless_it_replaces_the_first() -> None:
    add()
    with pytest.raises(api.AlreadyExists, match="There is a job 'job'; change that one"):
        add(hours=2)
    job = add(hours=2, replace_existing=True)
    assert job.trigger == "interval[2:00:00]"


def test_a_job_that_replaces_a_paused_one_is_paused_for_its_reason() -> None:
    add()
    api.pause("job", "holidays")
    job = add(hours=2, replace_existing=True)
    assert job.next_run_time is None
    assert job.pause_reason == "holidays"


def test_a_declared_job_is_not_replaced() -> None:
    add()
    DjangoJob.objects.update(declaration="abc")
    with pytest.raises(api.AlreadyExists, match="The code declares a job 'job'"):
        add(replace_existing=True)


def test_a_retired_job_comes_back_without_what_was_its_own() -> None:
    add(on_lost="rerun")
    api.run_now("job")
    api.reschedule("job", "interval", hours=3)
    api.retire("job")
    job = add()
    assert (job.on_lost, job.edited, job.retired_at) == ("record", "", None)
    assert DjangoJobExecution.objects.get().status == DjangoJobExecution.CANCELLED


def test_who_added_what_is_in_the_audit() -> None:
    add(by="import of 2026")
    [entry] = AuditEntry.objects.all()
    assert (entry.verb, entry.job_id, entry.who) == ("add", "job", "import of 2026")
    assert entry.through == "code"
    assert entry.before == {}
    assert entry.after["trigger"] == "interval[1:00:00]"


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"func": lambda: None}, api.NotSchedulable, "lambdas and nested functions"),
        ({"func": 3}, api.NotSchedulable, "3 cannot be called; name a function."),
        ({"func": "no.such:thing"}, api.NotSchedulable, "There is no function 'no.such:thing'"),
        ({"trigger": "hourly"}, api.InvalidSchedule, "'hourly' is not a trigger"),
        ({"trigger": "0 2 * * *"}, api.InvalidSchedule, "write crontab"),
        ({"trigger": None}, api.InvalidSchedule, "Say when it runs"),
        ({"hours": 0}, api.InvalidSchedule, "an interval needs a length|An interval needs"),
        ({"hours": -1}, api.InvalidSchedule, "not above 0"),
        ({"hours": "two"}, api.InvalidSchedule, "hours='two' is not a number"),
        ({"trigger": "cron"}, api.InvalidSchedule, "hours is not a field of cron"),
        ({"args": "text"}, api.InvalidArguments, "a list or a tuple"),
        ({"args": ["a", "b"]}, api.InvalidArguments, "too many positional arguments"),
        ({"kwargs": {"texd": 1}}, api.InvalidArguments, "unexpected keyword argument 'texd'"),
        ({"executor": "cluster"}, api.InvalidOption, "There is no executor 'cluster', only"),
        ({"max_instances": 0}, api.InvalidOption, "max_instances"),
        ({"coalesce": "yes"}, api.InvalidOption, "coalesce is True or False"),
        ({"misfire_grace_time": -1}, api.InvalidOption, "misfire_grace_time"),
        ({"on_lost": "ignore"}, api.InvalidOption, "on_lost is 'record' or 'rerun'"),
        ({"next_run_time": "soon"}, api.InvalidSchedule, "."),
        ({"job_id": ""}, api.InvalidOption, "a text that is not empty"),
        ({"job_id": "x" * 300}, api.InvalidOption, "at most 255"),
    ],
)
def test_each_mistake_has_its_class_and_one_sentence(
    options: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text) as raised:
        add(options.pop("job_id", "job"), **options)
    assert isinstance(raised.value, api.OperationError)
    assert isinstance(raised.value, ValueError)
    assert "\n" not in str(raised.value)
    assert not DjangoJob.all_objects.exists()


def test_what_never_fires_is_refused() -> None:
    with pytest.raises(api.InvalidSchedule, match="never fires"):
        api.add_job(callables.note, "cron", year=2001, id="job")


def test_a_moment_that_has_passed_is_refused() -> None:
    with pytest.raises(api.InvalidSchedule, match="lies in the past"):
        api.add_job(callables.note, "date", run_date="2001-01-01", id="job")


@pytest.mark.parametrize("fields", [{"trigger": "interval", "hours": None, "seconds": 30}])
def test_what_fires_more_often_than_is_allowed_is_refused(
    fields: dict[str, Any], settings: Settings
) -> None:
    settings.SCHEDULER_MIN_INTERVAL_SECONDS = 60
    fields = {name: value for name, value in fields.items() if value is not None}
    with pytest.raises(api.InvalidSchedule, match="fires again after 30 s, and no less than 60 s"):
        api.add_job(callables.note, id="job", **fields)
    with pytest.raises(api.InvalidSchedule, match="fires again after 1 s"):
        api.add_job(callables.note, "cron", hour=3, second="0,1", id="job")
    api.add_job(callables.note, "cron", hour="*", id="job")


def test_a_method_and_an_async_function_can_be_added() -> None:
    api.add_job(callables.note_later, "interval", hours=1, id="async")
    assert DjangoJob.objects.get(pk="async").func.endswith("note_later")


def test_arguments_are_those_of_the_function() -> None:
    api.add_job(offers.greet, "interval", hours=1, id="a", args=["Ann"], kwargs={"loudly": True})
    with pytest.raises(api.InvalidArguments, match="missing a required argument: 'name'"):
        api.add_job(offers.greet, "interval", hours=1, id="b")


def test_weekdays_as_numbers_are_questioned(caplog: pytest.LogCaptureFixture) -> None:
    api.add_job(callables.note, "cron", id="job", day_of_week="0", hour=3)
    assert "day_of_week='0' means mon" in caplog.text
    caplog.clear()
    api.reschedule("job", "cron", day_of_week="6", hour=3)
    assert "day_of_week='6' means sun" in caplog.text
