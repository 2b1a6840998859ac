"""Runs are asked for, repeated and taken back; jobs are paused with a reason, resumed, retired."""

import time
from typing import Any

import pytest
from django.db import connection, transaction
from pytest_django.fixtures import Settings

from jobstore import api, registry
from jobstore.models import AuditEntry, DjangoJob, DjangoJobExecution, database_now
from jobstore.storage import run_arguments, serializer
from jobstore.tests import callables
from jobstore.tests.api import offers
from jobstore.tests.api.test_adding import add
from jobstore.tests.conftest import StartScheduler, eventually

pytestmark = pytest.mark.django_db

Run = DjangoJobExecution


def stored() -> DjangoJob:
    return DjangoJob.all_objects.get(pk="job")


def quarantine() -> None:
    now = database_now("default")
    DjangoJob.objects.update(quarantined_at=now, quarantine_reason="The function is gone.")


# --- Pause, resume, retire ------------------------------------------------------------------------


def test_a_pause_has_its_reason_until_the_job_is_resumed() -> None:
    add()
    assert api.pause("job", "broken scanner")
    assert (stored().next_run_time, stored().pause_reason) == (None, "broken scanner")
    assert api.resume("job")
    assert stored().pause_reason == ""
    assert stored().next_run_time is not None


def test_a_second_pause_changes_nothing_but_a_new_reason() -> None:
    add()
    assert api.pause("job", "one")
    assert not api.pause("job")
    assert stored().pause_reason == "one"
    assert api.pause("job", "another")
    assert stored().pause_reason == "another"
    assert AuditEntry.objects.filter(verb="pause").count() == 2


def test_resuming_releases_from_quarantine() -> None:
    add()
    quarantine()
    assert api.resume("job")
    assert api.state_of(stored()) == "scheduled"


def test_a_retired_job_is_retired_once() -> None:
    add()
    assert api.retire("job", by="Ann")
    assert not api.retire("job")
    assert AuditEntry.objects.filter(verb="retire").count() == 1


@pytest.mark.parametrize("operation", [api.pause, api.resume, api.run_now, api.reset])
def test_nothing_is_done_with_a_job_that_is_gone(operation: Any) -> None:
    add()
    api.retire("job")
    for job_id in ("none", "job"):
        with pytest.raises(api.NoSuchJob):
            operation(job_id)
        with pytest.raises(ValueError, match=job_id):  # what callers caught before
            operation(job_id)


# --- Runs ----------------------------------------------------------------------------------------


def test_a_run_is_asked_for_and_audited() -> None:
    add()
    run = api.run_now("job", by="Ann")
    assert (run.status, run.requested_by) == (Run.REQUESTED, "Ann")
    entry = AuditEntry.objects.get(verb="run")
    assert (entry.run_id, entry.who) == (run.pk, "Ann")


def test_a_job_in_quarantine_is_not_run_and_says_why() -> None:
    add()
    quarantine()
    with pytest.raises(api.Quarantined, match="Repair it, and resume it"):
        api.run_now("job")


def test_a_run_may_have_arguments_of_its_own() -> None:
    add(func=offers.greet, args=["Ann"], kwargs={"times": 2})
    run = Run.objects.get(pk=api.run_now("job", args=["Bob"]).pk)
    assert run_arguments.restore(run) == (("Bob",), {"times": 2})
    assert run.arguments == "'Bob', times=2"
    assert serializer.restore(stored()).args == ("Ann",)


@pytest.mark.parametrize("options", [{"args": []}, {"kwargs": {"nobody": 1}}, {"args": "Bob"}])
def test_arguments_that_do_not_fit_are_refused(options: dict[str, Any]) -> None:
    add(func=offers.greet, args=["Ann"])
    with pytest.raises(api.InvalidArguments):
        api.run_now("job", **options)
    assert not Run.objects.exists()


def test_arguments_that_cannot_be_stored_are_refused() -> None:
    add()
    with pytest.raises(api.InvalidArguments, match="cannot be stored"):
        api.run_now("job", args=[lambda: None])


def test_a_run_again_has_the_same_arguments() -> None:
    add(func=offers.greet, args=["Ann"])
    first = api.run_now("job", args=["Bob"])
    Run.objects.update(status=Run.ERROR)
    again = Run.objects.get(pk=api.run_again(first.pk, by="Ann").pk)
    assert run_arguments.restore(again) == (("Bob",), {})
    assert AuditEntry.objects.filter(run_id=again.pk).get().after["again"] == first.pk


def test_arguments_of_one_run_are_no_other_runs() -> None:
    add(func=offers.greet, args=["Ann"])
    first = Run.objects.get(pk=api.run_now("job", args=["Bob"]).pk)
    second = Run.objects.get(pk=api.run_now("job").pk)
    Run.objects.filter(pk=second.pk).update(
        arguments=first.arguments, arguments_state=first.arguments_state
    )
    with pytest.raises(serializer.UnsignedState, match="signature of this run's own arguments"):
        run_arguments.restore(Run.objects.get(pk=second.pk))
    Run.objects.filter(pk=first.pk).update(arguments="'Somebody else'", status=Run.ERROR)
    with pytest.raises(api.Unreadable):
        api.run_again(first.pk)


def test_arguments_of_a_former_key_are_read_while_it_is_known(settings: Any) -> None:
    add(func=offers.greet, args=["Ann"])
    run = Run.objects.get(pk=api.run_now("job", args=["Bob"]).pk)
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "another" * 10
    assert run_arguments.restore(run) == (("Bob",), {})
    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(serializer.UnsignedState):
        run_arguments.restore(run)


def test_many_runs_are_asked_for_at_once_or_none() -> None:
    add("a")
    add("b")
    assert set(api.run_all_now(["a", "b"])) == {"a", "b"}
    with pytest.raises(api.NoSuchJob):
        api.run_all_now(["a", "none"])
    assert Run.objects.count() == AuditEntry.objects.filter(verb="run").count() == 2


def test_a_run_that_has_not_begun_is_cancelled() -> None:
    add()
    run = api.cancel(api.run_now("job"), by="Ann")
    assert (run.status, run.exception) == (Run.CANCELLED, "Cancelled by Ann before it started.")
    assert AuditEntry.objects.get(verb="cancel").before == {"status": Run.REQUESTED}


@pytest.mark.parametrize(
    ("status", "text"), [(Run.RUNNING, "a thread cannot be interrupted"), (Run.ERROR, "has ended")]
)
def test_a_run_that_has_begun_cannot_be_cancelled(status: str, text: str) -> None:
    add()
    run = api.run_now("job")
    Run.objects.update(status=status)
    with pytest.raises(api.CannotCancel, match=text):
        api.cancel(run)
    assert not AuditEntry.objects.filter(verb="cancel").exists()


def test_a_run_that_has_not_ended_is_not_run_again() -> None:
    add()
    run = api.run_now("job")
    with pytest.raises(api.NotEnded, match="has not ended yet"):
        api.run_again(run)
    assert Run.objects.count() == 1


@pytest.mark.parametrize("operation", [api.cancel, api.run_again, api.get_run])
def test_a_run_that_is_not_there_is_said_to_be_missing(operation: Any) -> None:
    with pytest.raises(api.NoSuchRun, match="There is no run 12 in the history"):
        operation(12)


# --- Under a real scheduler -----------------------------------------------------------------------


def calls_within(seconds: float, wanted: list[str]) -> None:
    eventually(lambda: [one for one in callables.calls if one in wanted] == wanted, seconds)


@pytest.mark.django_db(transaction=True)
def test_a_run_is_called_with_its_own_arguments(start_scheduler: StartScheduler) -> None:
    add(func=offers.greet, args=["Ann"])
    start_scheduler()
    run = api.run_now("job", args=["Bob"], kwargs={"loudly": True})
    eventually(lambda: Run.objects.filter(pk=run.pk, status=Run.SUCCESS).exists())
    assert callables.calls == ["Bob x1!"]
    api.run_now("job")
    calls_within(10, ["Bob x1!", "Ann x1"])


@pytest.mark.django_db(transaction=True)
def test_a_run_with_forged_arguments_is_not_called(start_scheduler: StartScheduler) -> None:
    add(func=offers.greet, args=["Ann"])
    run = api.run_now("job", args=["Bob"])
    Run.objects.update(arguments="'Cid'")
    start_scheduler()
    ended = eventually(lambda: Run.objects.filter(pk=run.pk, status=Run.ERROR).first())
    assert "signature" in (ended.exception or "")
    assert callables.calls == []


# Seconds. PostgreSQL tells of a change; elsewhere a renewal notices, every two seconds. A loaded
# machine takes a while for the rest.
AT_ONCE = 1.0 if connection.vendor == "postgresql" else 3.0


@pytest.mark.django_db(transaction=True)
def test_each_operation_is_noticed_by_a_scheduler_that_sleeps(
    start_scheduler: StartScheduler, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_declared", {})
    monkeypatch.setattr("jobstore.declarations.discovery.import_jobs", list)
    settings.SCHEDULER_RENEW_SECONDS, settings.SCHEDULER_LEASE_SECONDS = 2.0, 10.0
    start_scheduler()
    add("first")
    run = api.run_now("first", by="somebody")
    eventually(lambda: Run.objects.get(pk=run.pk).status == Run.SUCCESS)  # it holds the lease

    registry.scheduled("interval", id="job", seconds=0.1, args=["declared"])(offers.greet)
    api.add_job(offers.greet, "interval", id="job", seconds=0.1, args=["added"])
    calls_soon("added x1")
    api.pause("job")
    callables.calls.clear()
    api.change("job", args=["changed"])
    run = api.run_now("job")
    calls_soon("changed x1")
    eventually(lambda: Run.objects.get(pk=run.pk).status == Run.SUCCESS)
    api.run_again(run)
    calls_soon("changed x1", times=2)
    api.run_now("job", args=["other"])
    calls_soon("other x1")
    api.reschedule("job", "interval", hours=5)
    api.resume("job")
    assert callables.calls[-1] == "other x1"
    api.reschedule("job", "interval", seconds=0.1)
    calls_soon("changed x1", times=4)
    api.change("job", max_instances=3, next_run_time="2100-01-01")
    api.pause("job")
    api.reset("job")
    api.resume("job")
    calls_soon("declared x1", times=2)
    api.pause("job")
    eventually(lambda: not Run.objects.filter(status=Run.RUNNING).exists())
    with transaction.atomic():
        asked = api.run_now("job", args=["never"])
        api.cancel(asked)
    with transaction.atomic():
        api.add_job(offers.greet, "interval", id="rolled-back", seconds=0.1, args=["never"])
        transaction.set_rollback(True)
    api.retire("job")
    callables.calls.clear()
    time.sleep(AT_ONCE)
    assert callables.calls == []


def calls_soon(call: str, times: int = 1) -> None:
    eventually(lambda: callables.calls.count(call) >= times, AT_ONCE + 0.5)


def test_times_are_those_of_the_schedule() -> None:
    job = add()
    times = api.next_run_times("job", 3)
    assert times[0] == job.next_run_time
    assert (times[2] - times[0]).total_seconds() == 7200
    api.pause("job")
    assert api.next_run_times("job") == []
    assert len(api.preview("cron", 4, hour=3)) == 4
    assert api.next_run_times(serializer.restore(stored()).trigger, 2)
    for number in (0, 1001):
        with pytest.raises(api.InvalidOption, match="From 1 to 1000"):
            api.next_run_times("job", number)


def test_jobs_are_found_by_all_filters() -> None:
    add("a", func=offers.greet, args=["Ann"])
    add("b", name="Other")
    api.pause("b")
    assert [job.pk for job in api.find(state="paused")] == ["b"]
    assert [job.pk for job in api.find(text="greet")] == ["a"]
    assert [job.pk for job in api.find(func="jobstore.tests.callables:note")] == ["b"]
    assert not api.find(declared=True)
    assert {job.pk for job in api.find(edited=False, executor="default")} == {"a", "b"}
    with pytest.raises(api.InvalidOption, match="There is no state 'asleep'"):
        api.find(state="asleep")
