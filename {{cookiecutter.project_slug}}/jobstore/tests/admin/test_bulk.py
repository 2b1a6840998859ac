"""Many runs are run again, cancelled or exported: those that match, by those who may."""

import csv
import dataclasses
import datetime as dt
import io
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.db import connection, transaction
from django.test import Client
from pytest_django.fixtures import Settings

from jobstore import api
from jobstore.admin import bulk, export, search
from jobstore.api import bulk as api_bulk
from jobstore.models import AuditEntry, DjangoJob, database_now
from jobstore.storage import run_arguments
from jobstore.tests.admin.test_admin import RUNS, Run, ran, store
from jobstore.tests.conftest import create_user

pytestmark = pytest.mark.django_db

AGAIN, CANCEL, EXPORT = f"{RUNS}all/run-again/", f"{RUNS}all/cancel/", f"{RUNS}all/export/"


def staff(*codenames: str) -> Client:
    """Log in a new member of staff who may look at runs and has these permissions."""
    user = create_user(is_staff=True)
    names = (*codenames, "view_djangojobexecution")
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    client = Client()
    client.force_login(user)
    return client


def confirm(client: Client, address: str, **query: str) -> list[str]:
    """Answer the question that a page asks; return the messages that follow."""
    address = f"{address}?{urlencode(query)}"
    newest = client.get(address).context["newest"]
    answer = client.post(address, {"newest": newest}, follow=True)
    return [str(message) for message in answer.context["messages"]]


def failed(number: int, job_id: str = "job") -> list[Run]:
    return [ran(job_id, Run.ERROR, ago=60 + second) for second in range(number)]


def requested() -> list[str]:
    return list(Run.objects.filter(status=Run.REQUESTED).values_list("job_id", flat=True))


# --- All that match -------------------------------------------------------------------------------


def test_all_that_match_are_run_again_once(admin_client: Client, admin_user: Any) -> None:
    store()
    failed(7)
    ran(ago=10)
    told = confirm(admin_client, AGAIN, status=Run.ERROR)
    assert told == ["Asked for again: 7."]
    again = Run.objects.filter(status=Run.REQUESTED)
    assert [run.requested_by for run in again] == [admin_user.get_username()] * 7
    assert again.values("run_time").distinct().count() == 7


def test_the_question_says_how_many_and_which(admin_client: Client) -> None:
    for job_id in ("one", "two"):
        store(job_id)
    failed(3, "one")
    failed(2, "two")
    ran("one", Run.RUNNING)
    answer = admin_client.get(f"{AGAIN}?{urlencode({'status': Run.ERROR})}")
    text = answer.content.decode()
    assert "Run 5 runs again?" in text
    assert answer.context["counts"]["job"] == [("one", 3), ("two", 2)]
    assert answer.context["counts"]["status"] == [(Run.ERROR, 5)]
    assert "Status: Error!" in text
    assert requested() == []


def test_what_is_written_after_the_question_is_left_alone(admin_client: Client) -> None:
    store()
    failed(2)
    address = f"{AGAIN}?{urlencode({'status': Run.ERROR})}"
    newest = admin_client.get(address).context["newest"]
    ran(status=Run.ERROR)
    admin_client.post(address, {"newest": newest})
    assert len(requested()) == 2


def test_only_what_has_ended_is_run_again(admin_client: Client) -> None:
    store()
    ended = failed(1)
    ran(status=Run.RUNNING)
    DjangoJob.objects.get().request_run("test")
    assert confirm(admin_client, AGAIN, job="job") == ["Asked for again: 1."]
    [entry] = [one for one in AuditEntry.objects.all() if "again" in one.after]
    assert entry.after["again"] == ended[0].pk


def test_all_requests_that_match_are_cancelled(admin_client: Client) -> None:
    for job_id in ("one", "two"):
        store(job_id)
        api.run_now(job_id)
        api.run_now(job_id)
    running = ran("one", Run.RUNNING)
    assert confirm(admin_client, CANCEL, job="one") == ["Cancelled: 2."]
    assert requested() == ["two", "two"]
    assert Run.objects.get(pk=running.pk).status == Run.RUNNING


@pytest.mark.parametrize("address", [AGAIN, CANCEL])
def test_a_link_alone_changes_nothing(admin_client: Client, address: str) -> None:
    store()
    failed(1)
    api.run_now("job")
    before = list(Run.objects.values_list("pk", "status"))
    admin_client.get(address)
    admin_client.post(address)  # without what the question gave
    admin_client.post(address, {"newest": "x"})
    admin_client.post(address, {"newest": "9" * 40})
    assert list(Run.objects.values_list("pk", "status")) == before


def test_each_batch_is_one_transaction_of_its_own(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[int] = []

    def counted(run_ids: list[int], **options: Any) -> api.Outcome:
        batches.append(len(run_ids))
        assert connection.in_atomic_block
        return api_bulk.cancel_all(run_ids, **options)

    monkeypatch.setattr(bulk, "BATCH_RUNS", 3)
    verb = dataclasses.replace(bulk.VERBS["cancel"], act=counted)
    monkeypatch.setitem(bulk.VERBS, "cancel", verb)
    store()
    for _ in range(8):
        api.run_now("job")
    assert confirm(admin_client, CANCEL) == ["Cancelled: 8."]
    assert batches == [3, 3, 2]


def test_too_many_are_refused_and_none_is_touched(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "MAX_CHANGED_RUNS", 3)
    monkeypatch.setattr(export, "MAX_EXPORTED_RUNS", 3)
    store()
    failed(4)
    for address in (AGAIN, EXPORT):
        answer = admin_client.get(address, follow=True)
        [told] = [str(message) for message in answer.context["messages"]]
        assert told.startswith("More than 3 runs match; nothing was done.")
    admin_client.post(AGAIN, {"newest": "999999"})
    assert requested() == []


def test_a_filter_that_makes_no_sense_changes_nothing(admin_client: Client) -> None:
    store()
    failed(2)
    for address in (AGAIN, CANCEL, EXPORT):
        answer = admin_client.post(f"{address}?delay_over=soon", {"newest": "999999"})
        assert answer["Location"] == f"{RUNS}?delay_over=soon"
    assert requested() == []


def test_runs_beyond_what_was_searched_are_left_alone(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "SEARCHED_RUNS", 3)
    monkeypatch.setattr(search, "RARE_RUNS", 0)
    store()
    failed(5)
    answer = admin_client.get(f"{AGAIN}?{urlencode({'status': Run.ERROR})}")
    assert "The newest 3 runs were searched; older ones are left alone." in answer.content.decode()
    assert confirm(admin_client, AGAIN, status=Run.ERROR) == ["Asked for again: 3."]


# --- What cannot be done --------------------------------------------------------------------------


def test_runs_that_cannot_be_repeated_are_counted_with_the_reason(admin_client: Client) -> None:
    for job_id in ("well", "retired", "broken"):
        store(job_id)
        failed(2, job_id)
    failed(1, "gone")
    DjangoJob.objects.filter(pk="retired").retire()
    DjangoJob.objects.filter(pk="broken").update(quarantined_at=database_now("default"))
    done, *left = confirm(admin_client, AGAIN)
    assert done == "Asked for again: 2."
    assert left == [
        "Left alone, since they belong to jobs in quarantine: 2.",
        "Left alone, since they belong to jobs that are not in service: 3.",
    ]
    assert requested() == ["well", "well"]


def test_a_run_again_has_the_arguments_that_the_run_had() -> None:
    store(kwargs={})
    former = api.run_now("job", args=["other"])
    Run.objects.filter(pk=former.pk).update(status=Run.ERROR)
    outcome = api.run_all_again([former.pk], by="test")
    again = Run.objects.get(pk=outcome.done[former.pk])
    assert run_arguments.restore(again) == (("other",), {})


def test_arguments_that_were_not_signed_are_not_run_again() -> None:
    store()
    forged = ran(status=Run.ERROR, arguments="x", arguments_state=b"forged")
    outcome = api.run_all_again([forged.pk], by="test")
    assert (outcome.done, dict(outcome.left)) == ({}, {api_bulk.UNREADABLE: 1})
    assert requested() == []


def test_a_request_that_was_claimed_meanwhile_is_not_cancelled() -> None:
    store()
    run = api.run_now("job")
    Run.objects.filter(pk=run.pk).update(status=Run.RUNNING)
    outcome = api.cancel_all([run.pk, run.pk + 1000], by="test")
    assert (outcome.done, dict(outcome.left)) == ({}, {api_bulk.ENDED: 2})


def test_requests_at_the_same_microsecond_do_not_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    store()
    now = database_now("default")
    monkeypatch.setattr(api_bulk, "database_now", lambda using: now)
    runs = failed(3)
    Run.objects.create(
        job_id="job", status=Run.REQUESTED, run_time=now + dt.timedelta(microseconds=1)
    )
    outcome = api.run_all_again([run.pk for run in runs], by="test")
    assert len(set(outcome.done.values())) == 3
    assert len(requested()) == 4


# --- Who may --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "right"), [(AGAIN, "run_djangojob"), (CANCEL, "cancel_djangojob")]
)
def test_each_action_needs_its_own_right(address: str, right: str) -> None:
    store()
    failed(1)
    api.run_now("job")
    others = {"run_djangojob", "cancel_djangojob", "pause_djangojob"} - {right}
    before = list(Run.objects.values_list("pk", "status"))
    without = staff(*others)
    assert without.get(address).status_code == 403
    assert without.post(address, {"newest": "999"}).status_code == 403
    assert list(Run.objects.values_list("pk", "status")) == before
    assert staff(right).get(address).status_code == 200


def test_a_list_offers_what_its_reader_may_do() -> None:
    ran()

    def offered(client: Client) -> list[str]:
        return [label for _, label in client.get(RUNS).context["all_matching"]]

    assert offered(staff()) == ["Export as CSV"]
    assert offered(staff("run_djangojob")) == ["Run again…", "Export as CSV"]
    assert offered(staff("cancel_djangojob")) == ["Cancel requests…", "Export as CSV"]


def test_nobody_exports_what_they_may_not_see(client: Client) -> None:
    client.force_login(create_user(is_staff=True))
    assert client.get(EXPORT).status_code == 403


def only_one(user: Any, verb: str, job: DjangoJob) -> bool:
    """Stand for a project's JOB_ACCESS."""
    return verb == "view" or bool(job.pk == "one")


def test_the_projects_own_rule_decides_for_each_job(settings: Settings) -> None:
    settings.JOB_ACCESS = f"{__name__}.only_one"
    for job_id in ("one", "two"):
        store(job_id)
        failed(2, job_id)
    client = staff("run_djangojob", "cancel_djangojob")
    forbidden = "Left alone, since they belong to jobs that you may not do this with: 2."
    assert confirm(client, AGAIN) == ["Asked for again: 2.", forbidden]
    assert requested() == ["one", "one"]
    api.run_all_now(["two"])
    assert confirm(client, CANCEL)[0] == "Cancelled: 2."
    assert requested() == ["two"]


# --- Both logs ------------------------------------------------------------------------------------


def test_each_run_has_an_entry_in_both_logs(admin_client: Client, admin_user: Any) -> None:
    store()
    failed(3)
    confirm(admin_client, AGAIN)
    entries = AuditEntry.objects.filter(verb="run", who=admin_user.get_username())
    assert sorted(entry.run_id or 0 for entry in entries) == sorted(
        Run.objects.filter(status=Run.REQUESTED).values_list("pk", flat=True)
    )
    assert {entry.through for entry in entries} == {"admin"}
    assert LogEntry.objects.count() == 3


@pytest.mark.django_db(transaction=True)
def test_a_batch_that_cannot_be_written_down_is_not_done(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise RuntimeError("killed between the two")

    store()
    failed(2)
    monkeypatch.setattr(LogEntry.objects, "bulk_create", fail)
    with pytest.raises(RuntimeError):
        confirm(admin_client, AGAIN)
    assert requested() == []


def test_a_batch_takes_the_same_statements_for_any_number_of_runs(
    django_assert_max_num_queries: Any,
) -> None:
    store()
    ids = [run.pk for run in failed(100)]
    with django_assert_max_num_queries(12):
        assert len(api.run_all_again(ids, by="test").done) == 100


# --- Selected runs --------------------------------------------------------------------------------


def test_selected_runs_are_run_again(admin_client: Client) -> None:
    store()
    first, _, third = failed(3)
    form = {"action": "run_selected_again", "_selected_action": [first.pk, third.pk]}
    answer = admin_client.post(RUNS, form, follow=True)
    assert "Asked for again: 2." in answer.content.decode()
    assert len(requested()) == 2


def test_selected_runs_are_exported(admin_client: Client) -> None:
    runs = failed(3)
    form = {"action": "export_selected", "_selected_action": [run.pk for run in runs[:2]]}
    assert [row["run"] for row in exported(admin_client.post(RUNS, form))] == [
        str(run.pk) for run in runs[:2]
    ]


# --- Export ---------------------------------------------------------------------------------------


def exported(answer: Any) -> list[dict[str, str]]:
    assert answer.streaming
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    text = b"".join(answer.streaming_content).decode()
    return list(csv.DictReader(io.StringIO(text)))


def test_the_export_holds_what_matches_and_nothing_else(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    settings.TIME_ZONE = "Asia/Tokyo"
    monkeypatch.setattr(export, "BATCH_RUNS", 2)
    runs = failed(5)
    ran()
    when = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
    Run.objects.filter(pk=runs[0].pk).update(
        run_time=when, started_at=when + dt.timedelta(seconds=1.5), duration="2.25"
    )
    rows = exported(admin_client.get(EXPORT, {"status": Run.ERROR}))
    assert sorted(int(row["run"]) for row in rows) == sorted(run.pk for run in runs)
    [row] = [row for row in rows if row["run"] == str(runs[0].pk)]
    assert row["scheduled"] == "2026-03-01T21:00:00+09:00"
    assert (row["start_delay_seconds"], row["duration_seconds"]) == ("1.500000", "2.250000")
    assert row["finished"] == ""


def test_a_text_in_the_export_is_no_formula(admin_client: Client) -> None:
    run = ran(status=Run.ERROR, exception="=cmd()", result='a,"b"\nc', requested_by="@anna")
    run.started_at = run.run_time - dt.timedelta(seconds=1)
    run.save()
    [row] = exported(admin_client.get(EXPORT))
    assert (row["exception"], row["requested_by"]) == ("'=cmd()", "'@anna")
    assert (row["result"], row["start_delay_seconds"]) == ('a,"b"\nc', "-1.000000")


def test_the_export_does_not_show_secrets(admin_client: Client) -> None:
    ran(arguments="user='anna', password='hunter2'")
    [row] = exported(admin_client.get(EXPORT))
    assert row["arguments"] == "user='anna', password=********"


def test_the_export_reads_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "BATCH_RUNS", 2)
    ids = [run.pk for run in failed(5)]
    lines = export.lines(ids, dt.UTC)
    next(lines)
    next(lines)
    with transaction.atomic():
        Run.objects.filter(pk=ids[4]).delete()
    rest = "".join(lines)
    assert rest.count("\r\n") == 2  # what is gone by then is left out
