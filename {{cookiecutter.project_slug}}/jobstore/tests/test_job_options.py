"""The options that APScheduler does not have: on every surface, and old digests as they were."""

import datetime as dt
import inspect
from collections.abc import Callable
from typing import Any

import pytest
from apscheduler.schedulers.background import BackgroundScheduler
from django.db import OperationalError

from jobstore import api, exception_names, job_options, registry
from jobstore.admin.options_form import OptionsForm
from jobstore.api.columns import UNSET
from jobstore.declarations.declaration import Declaration
from jobstore.jobstores import DjangoJobStore
from jobstore.models import AuditEntry, DjangoJob
from jobstore.storage import edits, serializer
from jobstore.tests import callables
from jobstore.tests.option_mistakes import MISTAKES

# An unusual value of each option, as a column holds it.
UNUSUAL: dict[str, Any] = {
    "on_lost": "rerun",
    "timeout": 600.0,
    "retries": 3,
    "retry_delay": 30.5,
    "retry_on": "ConnectionError, requests.exceptions.Timeout",
    "overlap": "queue",
    "catch_up": "latest",
    "queue": "heavy",
}
NAMES = list(job_options.NAMES)


@pytest.fixture(autouse=True)
def _only_these(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.declarations()
    monkeypatch.setattr(registry, "_declared", {})


def deploy(**options: Any) -> DjangoJob:
    registry._declared.clear()
    registry.scheduled("interval", id="job", **({"hours": 1} | options))(callables.note)
    registry.sync(DjangoJobStore(), BackgroundScheduler(timezone="UTC"))
    job: DjangoJob = DjangoJob.objects.get()
    return job


# --- One list of them -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("function", "default"),
    [(registry.scheduled, None), (api.add_job, None), (api.change, UNSET)],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_each_option_is_an_argument_with_the_default_of_the_list(
    function: Callable[..., Any], default: Any
) -> None:
    found = inspect.signature(function).parameters
    for name, option in job_options.OPTIONS.items():
        assert found[name].default == (option.default if default is None else default)


def test_each_option_is_a_column_with_the_default_of_the_list() -> None:
    assert job_options.of(DjangoJob()) == job_options.defaults()


def test_each_option_has_an_unusual_value_in_these_tests() -> None:
    assert set(UNUSUAL) == set(NAMES)
    assert all(UNUSUAL[name] != one for name, one in job_options.defaults().items())
    assert job_options.taken(UNUSUAL) == UNUSUAL


# --- What may be written -------------------------------------------------------------------------


class OrderFailed(Exception):
    """An error of a job."""


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ({"timeout": 600}, 600.0),
        ({"timeout": 0.5}, 0.5),
        ({"timeout": dt.timedelta(minutes=5)}, 300.0),
        ({"timeout": dt.timedelta(days=7)}, 604_800.0),
        ({"timeout": None}, None),
        ({"retry_delay": 0}, 0.0),
        ({"retry_delay": -0.0}, 0.0),
        ({"retry_delay": dt.timedelta(seconds=2)}, 2.0),
        ({"retries": 100}, 100),
        ({"retry_on": ConnectionError}, "ConnectionError"),
        ({"retry_on": IOError}, "OSError"),
        ({"retry_on": "IOError"}, "OSError"),
        ({"retry_on": (ConnectionError, "requests.exceptions.Timeout")}, UNUSUAL["retry_on"]),
        ({"retry_on": "ConnectionError,requests.exceptions.Timeout,"}, UNUSUAL["retry_on"]),
        ({"retry_on": ["ValueError, KeyError", ValueError]}, "ValueError, KeyError"),
        ({"retry_on": {ValueError, KeyError}}, "KeyError, ValueError"),
        ({"retry_on": "builtins.ValueError"}, "ValueError"),
        ({"retry_on": OrderFailed}, f"{__name__}.OrderFailed"),
        ({"retry_on": DjangoJob.DoesNotExist}, "jobstore.models.DjangoJob.DoesNotExist"),
        ({"retry_on": None}, ""),
        ({"overlap": "cancel_running"}, "cancel_running"),
        ({"overlap": DjangoJob.Overlap.QUEUE}, "queue"),
        ({"catch_up": 3}, "3"),
        ({"catch_up": "1000"}, "1000"),
        ({"catch_up": "none"}, "none"),
        ({"catch_up": ""}, ""),
        ({"catch_up": None}, ""),
        ({"queue": "Heavy-2.x_y"}, "Heavy-2.x_y"),
        ({"queue": "q" * 100}, "q" * 100),
        ({"queue": None}, ""),
    ],
)
def test_what_people_write_is_stored_in_one_form(given: dict[str, Any], stored: Any) -> None:
    [name] = given
    taken = job_options.taken(given)
    assert repr(taken) == repr({name: stored})
    assert job_options.taken(taken) == taken


@pytest.mark.parametrize(("given", "text"), MISTAKES)
def test_a_mistake_in_a_declaration_is_told_in_one_sentence(
    given: dict[str, Any], text: str
) -> None:
    registry.scheduled("cron", hour=3, id="job", **given)(callables.note)
    found = registry.collect(BackgroundScheduler(timezone="UTC"))
    assert not found.jobs
    [problem] = [one for one in found.fatal if one.subject == "job"]
    assert text.rstrip(".") in problem.text
    assert problem.text.startswith("Job 'job' (jobstore.tests.callables.note): ")
    assert "\n" not in problem.text and len(problem.text) < 400


def test_a_misspelt_option_is_told_by_its_right_name() -> None:
    registry.scheduled("cron", hour=3, id="job", retires=3)(callables.note)
    found = registry.collect(BackgroundScheduler(timezone="UTC"))
    [problem] = [one for one in found.fatal if one.subject == "job"]
    assert problem.text.endswith("; did you mean retries?")


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"retry_on": ValueError}, "retry_on has no effect without retries; give it some"),
        ({"retry_delay": 5}, "retry_delay has no effect without retries; give it some"),
        (
            {"retries": 1, "retry_on": "json.JSONDecodeErorr"},
            "json.JSONDecodeErorr, which there is not; write json.JSONDecodeError",
        ),
        ({"retries": 1, "retry_on": "json.nothing_like_it"}, "which there is not."),
        ({"retries": 1, "retry_on": "json.dumps"}, "which is no class of exceptions"),
        ({"retries": 1, "retry_on": "socket.error"}, "which calls itself OSError; write that"),
        ({"retries": 1, "retry_on": "json.JSONDecodeError"}, ""),
        ({"retries": 1, "retry_on": "nowhere.NotImported"}, ""),
        ({"retries": 1, "retry_on": "concurrent.futures.MadeWhenAskedFor"}, ""),
        ({"retries": 3, "retry_delay": 5, "retry_on": ValueError}, ""),
        ({"queue": "heavy"}, "queue has no effect, since the executor 'default' has no queues"),
        ({"overlap": "queue", "catch_up": 3}, ""),
    ],
)
@pytest.mark.django_db
def test_what_is_questionable_is_told_and_runs_all_the_same(
    given: dict[str, Any], text: str, caplog: pytest.LogCaptureFixture
) -> None:
    registry.scheduled("cron", hour=3, id="job", **given)(callables.note)
    found = registry.collect(BackgroundScheduler(timezone="UTC"))
    told = [one.text for one in found.problems]
    assert len(told) == bool(text) and all(text in one for one in told)
    assert not found.fatal and "job" in found.jobs
    api.add_job(callables.note, "interval", hours=1, id="added", **given)
    assert text in caplog.text
    caplog.clear()
    api.add_job(callables.note, "interval", hours=1, id="changed")
    api.change("changed", **given)
    assert text in caplog.text and bool(caplog.text) == bool(text)


class HasQueues:
    """Stands for an executor such as Celery."""

    has_queues = True


@pytest.mark.parametrize(
    ("queue", "executor", "is_questionable"),
    [("heavy", "celery", False), ("heavy", "default", True), ("heavy", "gone", True)]
    + [("", "default", False)],
)
def test_only_an_executor_with_queues_takes_one(
    queue: str, executor: str, is_questionable: bool
) -> None:
    values = job_options.defaults() | {"queue": queue}
    known = {"default": object(), "celery": HasQueues()}
    assert bool(list(job_options.questions(values, executor, known))) is is_questionable


# --- Catching up and coalescing -------------------------------------------------------------------

IMPLIED = [("latest", True), ("all", False), (3, False)]


@pytest.mark.django_db
@pytest.mark.parametrize(("catch_up", "coalesce"), IMPLIED)
def test_catch_up_says_what_coalesce_is(catch_up: Any, coalesce: bool) -> None:
    assert deploy(catch_up=catch_up).coalesce is coalesce
    assert deploy(catch_up=catch_up, coalesce=coalesce).coalesce is coalesce
    added = api.add_job(callables.note, "interval", hours=1, id="added", catch_up=catch_up)
    assert added.coalesce is coalesce
    api.add_job(callables.note, "interval", hours=1, id="changed", coalesce=not coalesce)
    changed = api.change("changed", catch_up=catch_up)
    assert changed.coalesce is coalesce
    assert serializer.restore(changed).coalesce is coalesce


@pytest.mark.django_db
@pytest.mark.parametrize(("catch_up", "coalesce"), IMPLIED)
def test_what_contradicts_catch_up_is_refused(catch_up: Any, coalesce: bool) -> None:
    given: dict[str, Any] = {"catch_up": catch_up, "coalesce": not coalesce}
    text = f"catch_up='{catch_up}' means coalesce={coalesce}, not coalesce={not coalesce}; leave"
    registry.scheduled("interval", hours=1, id="job", **given)(callables.note)
    found = registry.collect(BackgroundScheduler(timezone="UTC"))
    assert not found.jobs
    assert [text in one.text for one in found.fatal] == [True]
    with pytest.raises(api.InvalidOption, match=text):
        api.add_job(callables.note, "interval", hours=1, **given)
    api.add_job(callables.note, "interval", hours=1, id="added")
    with pytest.raises(api.InvalidOption, match=text):
        api.change("added", **given)
    api.change("added", catch_up=catch_up)
    with pytest.raises(api.InvalidOption, match=text):
        api.change("added", coalesce=not coalesce)
    assert api.get("added").coalesce is coalesce


@pytest.mark.django_db
@pytest.mark.parametrize("coalesce", [True, False])
def test_catch_up_none_and_nothing_go_with_any_coalesce(coalesce: bool) -> None:
    assert deploy(catch_up="none", coalesce=coalesce).coalesce is coalesce
    assert api.change("job", catch_up="").coalesce is coalesce


@pytest.mark.parametrize(
    ("wanted", "raised", "is_one"),
    [
        ("ValueError", ValueError, True),
        ("LookupError", KeyError, True),
        ("KeyError", LookupError, False),
        ("TypeError, LookupError", KeyError, True),
        ("OSError", ConnectionError, True),
        ("django.db.utils.OperationalError", OperationalError, True),
        ("django.db.OperationalError", OperationalError, True),
        ("django.db.DatabaseError", OperationalError, True),
        ("django.db.Operational", OperationalError, False),
        ("other.db.OperationalError", OperationalError, False),
        ("django.d.OperationalError", OperationalError, False),
        ("jobstore.models.DjangoJob.DoesNotExist", DjangoJob.DoesNotExist, True),
        ("django.core.exceptions.ObjectDoesNotExist", DjangoJob.DoesNotExist, True),
        ("", ValueError, False),
    ],
)
def test_a_name_stands_for_a_class_its_subclasses_and_its_second_name(
    wanted: str, raised: type[BaseException], is_one: bool
) -> None:
    names = [exception_names.name_of(one) for one in raised.__mro__ if one is not object]
    assert exception_names.is_among(wanted, names) is is_one


# --- Declared, edited, reset ----------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("name", NAMES)
def test_a_declared_option_is_stored_and_so_is_its_change(name: str) -> None:
    default, unusual = job_options.defaults()[name], UNUSUAL[name]
    assert getattr(deploy(), name) == default
    assert getattr(deploy(**{name: unusual}), name) == unusual
    assert api.differs_from_code("job") == []
    assert getattr(deploy(), name) == default


@pytest.mark.django_db
@pytest.mark.parametrize("name", NAMES)
def test_an_edited_option_stays_until_the_code_changes_it(name: str) -> None:
    default, unusual = job_options.defaults()[name], UNUSUAL[name]
    deploy()
    assert edits.parts(api.change("job", **{name: unusual})) == [name]
    [difference] = api.differs_from_code("job")
    assert difference == api.Difference(name, unusual, default, is_edited=True)
    job = deploy(hours=2)
    assert (getattr(job, name), edits.parts(job)) == (unusual, [name])
    job = deploy(**{name: unusual})
    assert (getattr(job, name), edits.parts(job)) == (unusual, [])
    job = deploy()
    assert (getattr(job, name), edits.parts(job)) == (default, [])


@pytest.mark.django_db
@pytest.mark.parametrize("name", NAMES)
def test_a_reset_takes_an_option_back_and_the_audit_has_both(name: str) -> None:
    default, unusual = job_options.defaults()[name], UNUSUAL[name]
    deploy()
    api.change("job", **{name: unusual})
    assert getattr(api.reset("job"), name) == default
    changed = AuditEntry.objects.get(verb="change")
    assert (changed.before, changed.after) == ({name: default}, {name: unusual})
    back = AuditEntry.objects.get(verb="reset")
    assert (back.before[name], back.after[name]) == (unusual, default)


@pytest.mark.django_db
@pytest.mark.parametrize("name", NAMES)
def test_a_job_that_comes_back_to_the_code_has_its_options(name: str) -> None:
    """Not those of the retired job, nor the defaults of a new row."""
    deploy()
    registry._declared.clear()
    registry.sync(DjangoJobStore(), BackgroundScheduler(timezone="UTC"))
    assert getattr(deploy(**{name: UNUSUAL[name]}), name) == UNUSUAL[name]


@pytest.mark.django_db
@pytest.mark.parametrize("name", NAMES)
def test_a_program_that_adds_its_job_again_leaves_an_edited_option(name: str) -> None:
    def add(**options: Any) -> DjangoJob:
        return api.add_job(
            callables.note, "interval", id="job", hours=1, replace_existing=True, **options
        )

    add()
    api.change("job", **{name: UNUSUAL[name]})
    assert getattr(add(), name) == UNUSUAL[name]
    assert edits.parts(api.get("job")) == [name]
    api.retire("job")
    assert getattr(add(), name) == job_options.defaults()[name]


# --- What a deploy sees ---------------------------------------------------------------------------


def declared(own: dict[str, Any], run_at_start: bool = False, **options: Any) -> str:
    options = {"hour": 3, "timezone": "UTC", "misfire_grace_time": 60} | options
    return Declaration("job", callables.note, "cron", options, own, run_at_start).digest[:16]


def test_digests_of_jobs_without_newer_options_are_those_of_earlier_versions() -> None:
    """Or an upgrade would take all jobs for changed, and undo what operators did."""
    assert declared({}) == "3d5e7d2753e7c827"
    assert declared({"on_lost": "rerun"}) == "7c74ad2010105d6f"
    assert declared({"on_lost": "rerun"}, run_at_start=True) == "20002bb6f729ee92"
    assert declared({}, args=("a",), max_instances=2) == "8077e3e32979b4a7"
    assert declared(job_options.defaults()) == declared({})


def test_edits_of_earlier_versions_are_still_known_as_edits() -> None:
    assert edits._digest(repr(job_options.defaults()["on_lost"])) == "d036256f2914"


@pytest.mark.parametrize("name", NAMES)
def test_each_option_changes_the_digest(name: str) -> None:
    assert declared({name: UNUSUAL[name]}) != declared({})


# --- Shown ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_each_option_has_a_field_with_its_default(name: str) -> None:
    form = OptionsForm()
    assert form.fields[name].label and form.fields[name].help_text
    assert form.initial[name] == job_options.defaults()[name]
