"""Mistakes of callers: each has one class and one sentence, and leaves everything as it was."""

import functools
import re
from collections.abc import Callable
from typing import Any

import pytest
from apscheduler.triggers.combining import AndTrigger, OrTrigger

from jobstore import api, registry
from jobstore.declarations.offers import offer_of
from jobstore.models import AuditEntry, DjangoJob, DjangoJobExecution
from jobstore.tests import callables
from jobstore.tests.api import offers

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("english_and_utc")]

GREET = "jobstore.tests.api.offers.greet"
NESTED: list[Any] = []
for _ in range(5000):
    NESTED = [NESTED]


class Hostile:
    """An object whose own methods fail."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")

    def __reduce__(self) -> Any:
        raise RuntimeError("no pickle")


class Homemade:
    """Something like a trigger."""

    def get_next_fire_time(self, previous: Any, now: Any) -> Any:
        raise RuntimeError("no time")


@pytest.fixture(autouse=True)
def _jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_offered", {GREET: offer_of(offers.greet)})
    api.add_job(offers.greet, "interval", id="job", hours=1, kwargs={"name": "Ann"})
    api.add_job(callables.note, "interval", id="gone", hours=1)
    api.retire("gone")
    api.run_now("job")


def everything() -> Any:
    jobs = DjangoJob.all_objects.order_by("pk").values()
    return list(jobs), list(DjangoJobExecution.objects.values()), AuditEntry.objects.count()


def refused(kind: type[Exception], text: str, operation: Callable[[], Any]) -> None:
    before = everything()
    with pytest.raises(api.OperationError) as raised:
        operation()
    said = str(raised.value)
    assert type(raised.value) is kind, said
    assert text in said
    assert re.fullmatch(r"[^\n]{1,600}[.?]", said), said
    assert everything() == before


# What is wrong with how a job is added: what is given, the class, and a part of the sentence.
FUNCTIONS: list[tuple[Any, str]] = [
    (None, "None cannot be called"),
    ("no.such.module:x", "There is no function 'no.such.module:x'"),
    ("os.system", "write it as 'package.module:name'"),
    ("a\0b:c", "There is no function"),
    ("..x:y", "There is no function"),
    ("jobstore.tests.misdeeds:none", "There is no function"),
    (lambda: None, "move it to the top level"),
    (functools.partial(callables.note, "x"), "pass args= and kwargs="),
    (5, "5 cannot be called"),
    ([], "[] cannot be called"),
]
SCHEDULES: list[tuple[Any, dict[str, Any], str]] = [
    (None, {}, "Say when it runs"),
    (5, {}, "not of the type int"),
    ("chron", {"hour": 3}, "'chron' is not a trigger"),
    ("0 3 * * *", {}, "write crontab('0 3 * * *')"),
    (Homemade(), {}, "Homemade is no trigger object"),
    ("and", {}, "Write AndTrigger([...])"),
    (AndTrigger([]), {}, "at least one"),
    (OrTrigger([]), {}, "at least one"),
    ("interval", {}, "needs a length"),
    ("interval", {"hours": -1}, "not above 0"),
    ("interval", {"hours": "1"}, "hours='1' is not a number"),
    ("interval", {"hours": True}, "hours=True is not a number"),
    ("interval", {"hours": float("nan")}, "not a length of time"),
    ("interval", {"weeks": 10**9}, "never comes to its first run"),
    ("interval", {"weeks": 10**400}, "never comes to its first run"),
    ("interval", {"seconds": 1e-9}, "needs a length"),
    ("interval", {"hour": 1}, "did you mean hours?"),
    ("interval", {"hours": 1, "max_instance": 2}, "did you mean max_instances?"),
    ("interval", {"hours": 1, "jitter": -1}, "below 0"),
    ("interval", {"hours": 1, "jitter": 10**12}, "more than a year"),
    ("interval", {"hours": 1, "start_date": 5}, "start_date=5 is not a date"),
    ("interval", {"hours": 1, "start_date": "0001-01-01"}, "choose 1900 to 9000"),
    ("cron", {}, "Without a field"),
    ("cron", {"hour": 25}, "hour=25 is wrong"),
    ("cron", {"hour": [1, 2]}, "hour='1,2'"),
    ("cron", {"hour": 1.5}, "neither a number nor text"),
    ("cron", {"hour": True}, "neither a number nor text"),
    ("cron", {"hours": 3}, "hours is not a field of cron"),
    ("cron", {"hour": 3, "timezone": "Mars"}, "The time zone 'Mars' is not known"),
    ("cron", {"hour": 3, "timezone": 5}, "The time zone 5 is not known"),
    ("cron", {"hour": 3, "start_date": "soon"}, "start_date='soon' is not a date"),
    ("cron", {"hour": 3, "jitter": float("inf")}, "more than a year"),
    ("date", {"run_date": "2001-01-01"}, "lies in the past"),
    ("date", {"run_date": 17}, "run_date=17 is not a date"),
    ("date", {"at": "2030-01-01"}, "at= is not an argument of date"),
    ("calendarinterval", {}, "needs a length"),
    ("calendarinterval", {"days": -1}, "days=-1 is below 0"),
    ("calendarinterval", {"days": "1"}, "not a whole number"),
    ("calendarinterval", {"days": 1.5}, "not a whole number"),
    ("calendarinterval", {"days": 1, "hour": 25}, "must be in 0..23"),
]
ARGUMENTS: list[tuple[dict[str, Any], str]] = [
    ({"args": "abc"}, "a list or a tuple"),
    ({"args": 5}, "a list or a tuple"),
    ({"args": {"abc"}}, "a list or a tuple"),
    ({"kwargs": [1]}, "a dict"),
    ({"kwargs": {1: 1}}, "not the name of an argument"),
    ({"kwargs": {"nope": 1}}, "is called wrongly"),
    ({"args": [lambda: None]}, "cannot be stored"),
    ({"args": [Hostile()]}, "cannot be stored"),
    ({"args": [NESTED]}, "recursion|nested"),
    ({"args": ["x" * 5_000_000]}, "larger than 3 MB"),
]
OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"id": 5}, "is a text that is not empty"),
    ({"id": "  "}, "is a text that is not empty"),
    ({"id": "x" * 256}, "at most 255"),
    ({"id": "a\0b"}, "databases do not store"),
    ({"id": "\ud800"}, "databases do not store"),
    ({"name": 5}, "name must be a nonempty string"),
    ({"executor": "nope"}, "There is no executor 'nope'"),
    ({"executor": None}, "executor must be a string"),
    ({"coalesce": "yes"}, "coalesce is True or False"),
    ({"max_instances": 0}, "positive integer"),
    ({"max_instances": True}, "whole number above 0"),
    ({"max_instances": 10**30}, "is more than"),
    ({"misfire_grace_time": 0}, "positive integer"),
    ({"on_lost": ["rerun"]}, "'record' or 'rerun'"),
    ({"paused": "no"}, "paused is True or False"),
    ({"reason": "no pause"}, "Only a paused job has a reason"),
    ({"paused": True, "reason": 5}, "A reason is text, not 5"),
    ({"paused": True, "reason": None}, "A reason is text, not None"),
    ({"paused": True, "next_run_time": "2030-01-01"}, "leave out one of both"),
    ({"replace_existing": "no"}, "replace_existing is True or False"),
]
MOMENTS = [
    (None, "is paused: use that"),
    ("soon", "is not a date and time"),
    (5, "Unsupported type"),
    ("2001-01-01", "lies in the past"),
    ("0001-01-01", "choose 1900 to 9000"),
    ("9999-12-31", "choose 1900 to 9000"),
]


@pytest.mark.parametrize(("func", "text"), FUNCTIONS)
def test_a_function_that_cannot_be_found_is_refused(func: Any, text: str) -> None:
    refused(api.NotSchedulable, text, lambda: api.add_job(func, "interval", hours=1))


@pytest.mark.parametrize(("trigger", "fields", "text"), SCHEDULES)
def test_a_schedule_that_makes_no_sense_is_refused_by_each_verb(
    trigger: Any, fields: dict[str, Any], text: str
) -> None:
    for operation in (
        lambda: api.add_job(callables.note, trigger, **fields),
        lambda: api.add_offered(GREET, trigger, values={"name": "Eve"}, **fields),
        lambda: api.reschedule("job", trigger, **fields),
        lambda: api.preview(trigger, **{"number": 3, **fields}),
    ):
        if "max_instance" in fields and text.startswith("did"):
            text = "max_instances?"
        refused(api.InvalidSchedule, text, operation)


@pytest.mark.parametrize(("given", "text"), ARGUMENTS)
def test_arguments_that_cannot_be_meant_are_refused_by_each_verb(
    given: dict[str, Any], text: str
) -> None:
    wanted = text.split("|")[0] if "|" not in text else ""
    refused(
        api.InvalidArguments,
        wanted,
        lambda: api.add_job(callables.note, "interval", hours=1, **given),
    )
    given = {"args": [], "kwargs": {}} | given
    for verb in (api.change, api.run_now):
        refused(api.InvalidArguments, "", lambda verb=verb: verb("job", **given))  # type: ignore[misc]


@pytest.mark.parametrize(("given", "text"), OPTIONS)
def test_an_option_that_makes_no_sense_is_refused(given: dict[str, Any], text: str) -> None:
    add = functools.partial(api.add_job, callables.note, "interval", hours=1)
    refused(api.InvalidOption, text, lambda: add(**given))
    own = ("name", "executor", "coalesce", "max_instances", "misfire_grace_time", "on_lost")
    if set(given) <= set(own):
        refused(api.InvalidOption, text, lambda: api.change("job", **given))


@pytest.mark.parametrize(("when", "text"), MOMENTS)
def test_a_next_run_that_cannot_be_is_refused(when: Any, text: str) -> None:
    add = functools.partial(api.add_job, callables.note, "interval", hours=1)
    refused(api.InvalidSchedule, text, lambda: add(next_run_time=when))
    refused(api.InvalidSchedule, text, lambda: api.change("job", next_run_time=when))


@pytest.mark.parametrize(
    "job", ["none", "gone", "", 5, None, ["job"], {}, "a\0b", "\ud800", "x" * 999]
)
def test_a_job_that_cannot_be_is_not_there_for_any_verb(job: Any) -> None:
    verbs: list[Callable[[Any], Any]] = [
        lambda job: api.reschedule(job, "interval", hours=1),
        lambda job: api.change(job, name="another"),
        api.pause,
        api.resume,
        api.reset,
        api.run_now,
        lambda job: api.run_all_now(["job", job]),
    ]
    if job != "gone":  # its history, and that it is retired, can be looked at
        verbs += [api.get, api.retire, api.next_run_times, api.definition]
    for verb in verbs:
        refused(api.NoSuchJob, "", lambda verb=verb: verb(job))  # type: ignore[misc]


@pytest.mark.parametrize("run", [10**6, 10**30, -1, 0, "x", "1", None, 1.5, True, [1]])
def test_a_run_that_cannot_be_is_not_in_the_history(run: Any) -> None:
    for verb in (api.get_run, api.cancel, api.run_again):
        refused(api.NoSuchRun, "There is no run", lambda verb=verb: verb(run))  # type: ignore[misc]
    if isinstance(run, int) and 0 < run < 2**63 and run is not True:
        return  # of several, those that are gone are counted
    for several in (api.cancel_all, api.run_all_again):
        if run != [1]:
            refused(api.NoSuchRun, "", lambda several=several: several([run]))  # type: ignore[misc]


@pytest.mark.parametrize("ids", ["job", b"job", None, 5])
def test_several_are_a_list(ids: Any) -> None:
    for verb in (api.run_all_now, api.cancel_all, api.run_all_again):
        refused(api.InvalidOption, "Pass a list of ids", lambda verb=verb: verb(ids))  # type: ignore[misc]


@pytest.mark.parametrize("reason", [5, None, b"x", ["x"]])
def test_a_reason_is_text(reason: Any) -> None:
    refused(api.InvalidOption, "A reason is text", lambda: api.pause("job", reason))


def test_a_reason_that_is_too_long_is_not_cut_in_silence() -> None:
    text = "at most 500 characters, and this one has 501"
    refused(api.InvalidOption, text, lambda: api.pause("job", "x" * 501))
    assert api.pause("job", " " + "x" * 500)


def test_a_reason_that_no_database_stores_is_kept_as_it_can_be() -> None:
    assert api.pause("job", "a\0b\ud800")
    assert DjangoJob.objects.get(pk="job").pause_reason == "a␀b\\ud800"


@pytest.mark.parametrize("number", [0, -1, 1001, "5", 2.5, None, True])
def test_a_number_of_times_is_from_one_to_a_thousand(number: Any) -> None:
    refused(api.InvalidOption, "From 1 to 1000", lambda: api.next_run_times("job", number))
    refused(api.InvalidOption, "From 1 to 1000", lambda: api.preview("cron", number, hour=3))


@pytest.mark.parametrize(
    "filters",
    [
        {"state": "asleep"},
        {"state": 5},
        {"text": 5},
        {"text": "a\0"},
        {"text": "\ud800"},
        {"text": "x" * 100_000},
        {"func": ["a"]},
        {"executor": None},
        {"declared": "no"},
        {"edited": 1},
    ],
)
def test_a_filter_that_no_job_could_match_is_refused(filters: dict[str, Any]) -> None:
    refused(api.InvalidOption, "", lambda: list(api.find(**filters)))


@pytest.mark.parametrize(
    ("key", "values", "kind"),
    [
        ("jobs.nope", {}, api.NotSchedulable),
        (5, {}, api.NotSchedulable),
        (None, {}, api.NotSchedulable),
        (GREET, {}, api.InvalidArguments),
        (GREET, [1], api.InvalidArguments),
        (GREET, {"name": "A", "times": "x"}, api.InvalidArguments),
        (GREET, {"name": "A", "times": "9" * 5000}, api.InvalidArguments),
        (GREET, {"name": 5}, api.InvalidArguments),
        (GREET, {"name": "A", "loudly": "maybe"}, api.InvalidArguments),
        (GREET, {"nam": "A"}, api.InvalidArguments),
    ],
)
def test_an_offered_function_takes_its_own_values_alone(key: Any, values: Any, kind: Any) -> None:
    refused(kind, "", lambda: api.add_offered(key, "interval", hours=1, values=values))


def test_what_is_so_already_is_neither_changed_nor_audited() -> None:
    before = everything()
    api.change("job", max_instances=1, kwargs={"name": "Ann"}, on_lost="record")
    assert not api.resume("job")
    assert everything() == before


def test_a_row_names_its_job_and_its_run() -> None:
    run = api.run_now(api.get("job"))  # type: ignore[arg-type]
    assert api.cancel(run).status == DjangoJobExecution.CANCELLED
    assert api.pause(api.get("job"))  # type: ignore[arg-type]
