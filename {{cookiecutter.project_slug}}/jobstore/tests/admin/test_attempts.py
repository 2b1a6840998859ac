"""The attempts at a run look like one run, and a run that is under way can be cancelled."""

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import call_command
from django.test import Client
from pytest_django.fixtures import Settings

from jobstore import api
from jobstore.admin.dashboard import strips
from jobstore.models import AuditEntry, DjangoJob, DjangoJobExecution, database_now
from jobstore.tests.admin.test_admin import RUNS, NewClient, hold_lease, page, ran, staff, store
from jobstore.tests.admin.test_overview import OVERVIEW, fragment
from jobstore.util import as_aware

__all__ = ["staff"]
pytestmark = pytest.mark.django_db

Run = DjangoJobExecution
MAY_CANCEL = ("view_djangojobexecution", "cancel_djangojob")


def three_attempts() -> list[Run]:
    """Return a run that failed, timed out, and went well at last."""
    store()
    DjangoJob.objects.update(retries=3)
    first = ran(status=Run.ERROR, ago=300)
    second = ran(status=Run.TIMED_OUT, ago=200, attempt=2, attempt_of=first.pk)
    second.requested_by = f"retry of run {first.pk}"
    third = ran(ago=100, attempt=3, attempt_of=first.pk)
    for one, following in ((first, second), (second, third)):
        one.retry_time = following.run_time
        one.save()
    return [first, second, third]


def address(run: Run) -> str:
    return f"{RUNS}{run.pk}/change/"


def running() -> Run:
    return ran(status=Run.RUNNING, instance=hold_lease(), claimed_at=database_now("default"))


def cancel(client: Client, run: Run) -> Any:
    return client.post(f"{RUNS}{run.pk}/cancel-run/", follow=True)


@pytest.mark.parametrize("shown", [0, 1, 2])
def test_the_page_of_each_attempt_leads_to_the_others(admin_client: Client, shown: int) -> None:
    runs = three_attempts()
    text = page(admin_client, address(runs[shown]))
    assert f"{shown + 1} of 4" in text
    assert (f"of run {runs[0].pk}" in text) == bool(shown)
    for position, run in enumerate(runs):
        assert (f'href="{address(run)}"' in text) == (position != shown)
    assert "Timed out!" in text and "Executed" in text


def test_a_page_shows_the_attempts_that_the_history_still_has(admin_client: Client) -> None:
    first, second, third = three_attempts()
    first.delete()
    assert "3 of 4" in page(admin_client, address(third))
    third.delete()
    assert "2 of 4" in page(admin_client, address(second))


def test_the_run_of_a_job_without_retries_is_no_attempt(admin_client: Client) -> None:
    store()
    assert "jobstore-attempts" not in page(admin_client, address(ran(status=Run.ERROR)))


def test_the_lists_mark_attempts(admin_client: Client) -> None:
    three_attempts()
    for where in (RUNS, "/admin/jobstore/djangojob/job/change/"):
        text = page(admin_client, where)
        assert "(tried again)" in text
        assert "(attempt 2, tried again)" in text
        assert "(attempt 3)" in text


@pytest.mark.parametrize(
    ("attempts", "expected"), [("last", {2}), ("again", {0, 1}), ("further", {1, 2})]
)
def test_the_history_is_filtered_by_attempts(
    admin_client: Client, attempts: str, expected: set[int]
) -> None:
    runs = three_attempts()
    found = admin_client.get(f"{RUNS}?attempts={attempts}").context["cl"].found.ids
    assert set(found) == {runs[one].pk for one in expected}


def test_a_failed_attempt_that_is_tried_again_is_not_a_failed_run(admin_client: Client) -> None:
    hold_lease()
    three_attempts()
    text = page(admin_client, OVERVIEW)
    assert "1 Executed 0 Failed" in fragment(text, "ov-counts")
    assert "failed" not in fragment(text, "ov-job-0")
    last = ran(status=Run.TIMED_OUT, ago=50)
    text = page(admin_client, OVERVIEW)
    assert "1 Executed 1 Failed" in fragment(text, "ov-counts")
    assert "1 timed out" in fragment(text, "ov-job-0")
    query = "status=Error%21&amp;status=Timed+out%21&amp;attempts=last"
    assert query in text
    found = admin_client.get(f"{RUNS}?{query.replace('&amp;', '&')}").context["cl"].found.ids
    assert found == [last.pk]


def test_a_run_that_timed_out_has_a_shape_of_its_own() -> None:
    shapes = [shape for _kind, shape in strips.MARKS.values()]
    assert len(set(shapes)) == len(shapes)
    now = as_aware(database_now("default"))
    svg = strips.strip("job", {(strips.slot_of(now), Run.TIMED_OUT): 1}, [], now)
    assert 'class="timed-out"' in svg


def test_the_command_shows_attempts(capsys: pytest.CaptureFixture[str]) -> None:
    first, *_ = three_attempts()
    call_command("jobs", "history", "job", "--json")
    told = capsys.readouterr().out
    assert f'"attempt_of": {first.pk}' in told
    assert told.count('"next_attempt": null') == 1


def test_the_csv_shows_attempts(admin_client: Client) -> None:
    first, *_ = three_attempts()
    answer: Any = admin_client.get(f"{RUNS}all/export/")
    head, *lines = b"".join(answer.streaming_content).decode().splitlines()
    position = head.split(",").index("attempt_of")
    assert [line.split(",")[position] for line in lines] == [str(first.pk), str(first.pk), ""]


# --- Cancelling -----------------------------------------------------------------------------------


def test_a_button_asks_a_run_to_stop(admin_client: Client, admin_user: Any) -> None:
    store()
    run = running()
    assert "Cancel this run" in page(admin_client, address(run))
    answer = cancel(admin_client, run).content.decode()
    assert f"Asked to stop by {admin_user.get_username()} at " in answer
    assert "A thread cannot be interrupted" in answer
    assert "Cancel this run" not in answer
    entry = AuditEntry.objects.get(verb="cancel")
    assert (entry.through, entry.run_id) == ("admin", run.pk)
    assert LogEntry.objects.get().change_message == "Cancelled."
    assert "asked to stop" in page(admin_client, RUNS)


def test_a_button_takes_a_request_back(admin_client: Client) -> None:
    store()
    run = api.run_now("job")
    assert "The run is cancelled." in cancel(admin_client, run).content.decode()
    assert Run.objects.get().status == Run.CANCELLED


def test_what_cannot_be_cancelled_is_said(admin_client: Client) -> None:
    store()
    over = ran(status=Run.ERROR)
    assert "Cancel this run" not in page(admin_client, address(over))
    assert "has ended: Error!" in cancel(admin_client, over).content.decode()
    run = running()
    cancel(admin_client, run)
    assert "was asked to stop before, by" in cancel(admin_client, run).content.decode()
    assert not LogEntry.objects.filter(object_id=str(over.pk)).exists()


def test_only_those_who_may_cancel_a_run(staff: NewClient, settings: Settings) -> None:
    store()
    run = running()
    others = staff("view_djangojobexecution", "run_djangojob")
    assert "Cancel this run" not in page(others, address(run))
    assert cancel(others, run).status_code == 403
    entitled = staff(*MAY_CANCEL)
    assert entitled.get(f"{RUNS}{run.pk}/cancel-run/").status_code == 405
    assert cancel(entitled, Run(pk=run.pk + 1)).status_code == 404
    settings.JOB_ACCESS = "jobstore.tests.api.offers.only_mine"
    assert cancel(entitled, run).status_code == 403
    run.refresh_from_db()
    assert run.cancel_requested_at is None
    settings.JOB_ACCESS = ""
    assert cancel(entitled, run).status_code == 200
    run.refresh_from_db()
    assert run.cancel_requested_at is not None


def test_the_command_tells_what_becomes_of_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    store()
    run = running()
    call_command("jobs", "cancel", str(run.pk))
    assert f"Run {run.pk} of job job is asked to stop." in " ".join(capsys.readouterr().out.split())
    assert Run.objects.get().cancel_requested_at is not None
