"""The overview shows in one look what happens, for a constant number of statements."""

import datetime as dt
import re
from typing import Any

import pytest
from apscheduler.triggers.calendarinterval import CalendarIntervalTrigger
from apscheduler.triggers.combining import AndTrigger, OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings

from jobstore import api
from jobstore.admin.dashboard import charts, planned, queries, strips
from jobstore.admin.dashboard.page import Page
from jobstore.admin.dashboard.queries import Minute
from jobstore.admin.refresh import MAX_BYTES
from jobstore.api import building
from jobstore.models import (
    DeclarationProblem,
    DjangoJob,
    DjangoJobExecution,
    SchedulerInstance,
    database_now,
)
from jobstore.tests.admin.test_admin import NewClient, hold_lease, page, ran, staff, store
from jobstore.util import as_aware

__all__ = ["staff"]
pytestmark = pytest.mark.django_db

Run = DjangoJobExecution
OVERVIEW, APP = "/admin/jobstore/overview/", "/admin/jobstore/"
VIEW = ("view_djangojob", "view_djangojobexecution")
HOUR = dt.timedelta(hours=1)


# --- Helpers -------------------------------------------------------------------------------------


def fragment(text: str, name: str) -> str:
    """Return the inside of a fragment, without its tags."""
    found = re.search(rf'<(\w+) id="{name}"[^>]*>(.*?)</\1>', text, re.DOTALL)
    assert found, name
    return " ".join(re.sub(r"<[^>]+>", " ", found[2]).split())


def shown(client: Client, name: str) -> str:
    return fragment(page(client, OVERVIEW), name)


def versions(text: str) -> dict[str, str]:
    """Return the fragments of a page with their versions."""
    return dict(re.findall(r'id="((?:ov|jobstore)-[\w-]+)"[^>]* data-version="(\w+)"', text))


def refresh(client: Client, known: dict[str, str], address: str = OVERVIEW) -> Any:
    """Ask for fragments as the browser does."""
    tag = " ".join(f"{name}={version}" for name, version in known.items())
    headers = {"Jobstore-Refresh": "1", "If-None-Match": f'"{tag}"'}
    return client.get(address, headers=headers)


def job_of_every_kind() -> None:
    hold_lease()
    triggers = [IntervalTrigger(minutes=5), CronTrigger(minute="*/20"), CronTrigger(hour=3)]
    for position in range(6):
        store(f"job-{position}", trigger=triggers[position % 3])
        ran(f"job-{position}", ago=60 * position, duration=1, started_at=database_now("default"))
        ran(f"job-{position}", Run.RUNNING, ago=1, started_at=database_now("default"))


# --- Who may see it, and where -------------------------------------------------------------------


@pytest.mark.parametrize("address", [OVERVIEW, APP])
def test_whoever_may_view_jobs_and_runs_sees_it(staff: NewClient, address: str) -> None:
    hold_lease()
    assert "One scheduler is active" in page(staff(*VIEW), address)


@pytest.mark.parametrize("rights", [(), VIEW[:1], VIEW[1:]])
def test_others_do_not(staff: NewClient, rights: tuple[str, ...]) -> None:
    hold_lease()
    client = staff(*rights)
    assert client.get(OVERVIEW).status_code == 403
    assert refresh(client, {"ov-verdict": "x"}).status_code == 403
    assert "One scheduler is active" not in client.get(APP).content.decode()
    assert "/overview/" not in client.get("/admin/").content.decode()


def test_the_start_page_leads_to_it(admin_client: Client) -> None:
    assert f'href="{OVERVIEW}"' in page(admin_client, "/admin/")


def test_it_offers_nothing_to_do(staff: NewClient) -> None:
    job_of_every_kind()
    text = page(staff(*VIEW), OVERVIEW)
    content = text[text.index('class="jobstore-overview"') :]
    assert "<form" not in content and "<button" not in content


def test_it_is_no_table(admin_client: Client) -> None:
    for address in ("add/", "1/change/", "1/delete/"):
        assert admin_client.get(OVERVIEW + address).status_code == 404


def test_it_has_no_inline_style_or_script(admin_client: Client) -> None:
    job_of_every_kind()
    text = page(admin_client, OVERVIEW)
    content = text[text.index('class="jobstore-overview"') :]
    assert not re.search(r"<style|<script|\sstyle=|\son\w+=|javascript:", content)


# --- What it costs -------------------------------------------------------------------------------


@pytest.mark.parametrize("address", [OVERVIEW, APP])
def test_it_takes_twelve_statements_at_most(staff: NewClient, address: str) -> None:
    client = staff(*VIEW)
    hold_lease()
    for position in range(queries.JOBS_PER_PAGE + 5):
        store(f"job-{position:02}")
        ran(f"job-{position:02}", Run.RUNNING)
        ran(f"job-{position:02}", ago=60, duration=1)
    with CaptureQueriesContext(
        connection,
    ) as statements:
        page(client, address, page="2")
    assert len(statements) <= 12, [one["sql"][:80] for one in statements]


def test_a_statement_that_is_composed_once_is_asked_with_the_times_of_each_look() -> None:
    store("a")
    ran("a", ago=60, duration=1)
    now = database_now("default")
    looks = [now, now - 2 * queries.DAY, now + HOUR / 2, now]
    found = [queries.history("default", one, api.Visible()) for one in looks]
    assert [one.counts for one in found] == [
        {Run.SUCCESS: 1},
        {},
        {Run.SUCCESS: 1},
        {Run.SUCCESS: 1},
    ]
    places = [[minute.good for minute in one.minutes].index(1) for one in (found[0], found[2])]
    assert places[0] - places[1] == 30


def test_a_statement_that_is_composed_once_is_asked_for_the_jobs_of_each_look() -> None:
    now = database_now("default")
    for job, duration in (("quick", 1), ("slow", 100)):
        store(job)
        ran(job, ago=60, duration=duration)
    for job, usual in (("quick", 1), ("slow", 100), ("quick", 1)):
        Run.objects.filter(status=Run.RUNNING).delete()
        ran(job, Run.RUNNING, ago=1)
        [row], number = queries.running("default", api.Visible())
        assert (row.job_id, row.usual, number) == (job, usual, 1)
        assert set(queries.slots("default", [job], now)) == {job}


def test_a_cron_trigger_is_asked_once_for_each_half_hour_at_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = store("busy", trigger=CronTrigger(second="*"))
    asked = []
    original = CronTrigger.get_next_fire_time

    def count(self: Any, *args: Any) -> Any:
        asked.append(args)
        return original(self, *args)

    monkeypatch.setattr(CronTrigger, "get_next_fire_time", count)
    for _ in range(3):
        planned.planned_slots(job, as_aware(database_now("default")))
    assert len(asked) <= strips.SLOTS + planned.AHEAD


# --- What it says --------------------------------------------------------------------------------


def test_it_is_loud_when_nobody_is_active(admin_client: Client) -> None:
    store()
    assert "No scheduler is active: no job runs." in shown(admin_client, "ov-verdict")
    assert "jobstore-finding-bad" in page(admin_client, OVERVIEW)


def test_a_lease_that_has_ended_is_nobodys(admin_client: Client) -> None:
    hold_lease(expires_in=-1)
    assert "No scheduler is active" in shown(admin_client, "ov-verdict")


def test_an_active_scheduler_that_is_silent_is_told(admin_client: Client) -> None:
    hold_lease(heartbeat_ago=20)
    assert "no sign of life for 20 s" in shown(admin_client, "ov-verdict")
    assert "no sign of life" in shown(admin_client, "ov-schedulers")


def test_jobs_that_are_due_and_do_not_start_are_told(admin_client: Client) -> None:
    hold_lease()
    store("forgotten")
    late = database_now("default") - dt.timedelta(seconds=100)
    DjangoJob.objects.update(next_run_time=late)
    text = shown(admin_client, "ov-verdict")
    assert "Jobs are due and do not start: 1, the first one forgotten since 100 s." in text
    assert "Jobs start on time" not in text


def test_jobs_that_wait_for_busy_workers_are_nobodys_fault(admin_client: Client) -> None:
    holder = hold_lease()
    SchedulerInstance.objects.filter(pk=holder.pk).update(saturated='["default"]')
    store("patient")
    late = database_now("default") - dt.timedelta(seconds=100)
    DjangoJob.objects.update(next_run_time=late)
    assert "Jobs wait for a free worker" in shown(admin_client, "ov-verdict")
    assert "jobstore-finding-bad" not in page(admin_client, OVERVIEW)


def test_quarantined_jobs_are_told_with_a_link(admin_client: Client) -> None:
    hold_lease()
    store("broken")
    DjangoJob.objects.update(quarantined_at=database_now("default"), quarantine_reason="no module")
    assert "1 job is in quarantine" in shown(admin_client, "ov-verdict")
    assert "?state=quarantined" in page(admin_client, OVERVIEW)
    assert "no module" in shown(admin_client, "ov-job-0")


def test_wrong_declarations_are_told(admin_client: Client) -> None:
    hold_lease()
    DeclarationProblem.objects.create(subject="x", text="wrong", noticed_at=database_now("default"))
    store()
    assert "1 declaration in the code is wrong" in shown(admin_client, "ov-verdict")


def test_schedulers_are_shown_the_active_one_first(admin_client: Client) -> None:
    now = database_now("default")
    role = SchedulerInstance.Role.STANDBY
    SchedulerInstance.objects.create(
        host="a-standby", pid=1, role=role, version="1.4", started_at=now - HOUR, heartbeat_at=now
    )
    hold_lease()
    text = shown(admin_client, "ov-schedulers")
    assert text.index("somewhere:42 active") < text.index("a-standby:1 1.4 standby")


def test_running_runs_are_shown_with_how_long_they_usually_take(admin_client: Client) -> None:
    now = database_now("default")
    store("report")
    for ago, duration in ((9000, 20), (6000, 40), (3000, 30)):
        ran("report", ago=ago, duration=duration)
    ran("report", Run.ERROR, ago=2000, duration=900)
    ran("report", Run.RUNNING, ago=75, started_at=now - dt.timedelta(seconds=75))
    text = shown(admin_client, "ov-running")
    assert re.search(r"Running now 1 .* report [\d:]{8} 1 min 1[5-9] s 30 s", text)


def test_counts_are_those_of_the_last_day(admin_client: Client) -> None:
    store()
    for status, number in ((Run.SUCCESS, 5), (Run.ERROR, 2), (Run.LOST, 1)):
        for position in range(number):
            ran("job", status, ago=100 + 10 * position + hash(status) % 9)
    ran("job", Run.MISSED, ago=1000, times=40)
    ran("job", Run.MAX_INSTANCES, ago=1001)
    started = database_now("default") - dt.timedelta(seconds=2000 - 11)
    ran("job", Run.SUCCESS, ago=2000, started_at=started)
    ran("job", Run.ERROR, ago=25 * 3600)
    text = shown(admin_client, "ov-counts")
    assert "6 Executed 2 Failed 1 Late 40 Missed 1 Skipped 1 Lost" in text


def test_a_run_that_began_late_counts_at_once(admin_client: Client) -> None:
    store()
    claimed = {"claimed_at": database_now("default") - dt.timedelta(seconds=30)}
    wanted = ran("job", Run.RUNNING, ago=50.5, **claimed)
    ran("job", Run.RUNNING, ago=31, **claimed)
    ran("job", Run.MISSED, ago=51, **claimed)
    text = page(admin_client, OVERVIEW).replace("&amp;", "&")
    assert "1 Late" in shown(admin_client, "ov-counts")
    assert "The longest delay was 20." in text
    [address] = re.findall(r'href="([^"]*delay_over[^"]*)"><b>', text)
    answer = admin_client.get(address)
    assert [row.pk for row in answer.context["cl"].result_list] == [wanted.pk]
    assert re.search(r"field-start_delay[^>]*>20\.\d+ s<", answer.content.decode())


@pytest.mark.parametrize(("query", "status"), [("status=Error%21", Run.ERROR), ("delay_over", "")])
def test_counts_lead_to_the_runs_that_they_count(
    admin_client: Client, query: str, status: str
) -> None:
    store()
    late = {"started_at": database_now("default")}
    wanted = ran("job", status or Run.SUCCESS, ago=60, **late)
    ran("job", status or Run.SUCCESS, ago=25 * 3600, **late)
    ran("job", ago=61)
    text = page(admin_client, OVERVIEW).replace("&amp;", "&")
    [address] = re.findall(rf'href="([^"]*{query}[^"]*)"><b>', text)
    rows = admin_client.get(address).context["cl"].result_list
    assert [row.pk for row in rows] == [wanted.pk]


def test_next_runs_are_those_that_are_due_first(admin_client: Client) -> None:
    store("later")
    store("sooner")
    store("never", paused=True)
    soon = database_now("default") + dt.timedelta(minutes=3, seconds=30)
    DjangoJob.objects.filter(pk="sooner").update(next_run_time=soon)
    text = shown(admin_client, "ov-next")
    assert re.search(r"sooner [\d:]{8} in 3 min later", text)
    assert "never" not in text


def test_jobs_beyond_a_page_are_on_the_next(admin_client: Client) -> None:
    for position in range(queries.JOBS_PER_PAGE + 1):
        store(f"job-{position:02}")
    assert "job-50" not in page(admin_client, OVERVIEW)
    second = page(admin_client, OVERVIEW, page="2")
    assert fragment(second, "ov-job-0").startswith("job-50")
    assert "51 to 51 of 51 jobs · Previous · page 2 of 2" in fragment(second, "ov-paging")


@pytest.mark.parametrize("number", ["0", "99", "-1", "x", "²", "9" * 5000])
def test_a_page_that_there_is_not_is_the_nearest(admin_client: Client, number: str) -> None:
    store()
    assert fragment(page(admin_client, OVERVIEW, page=number), "ov-job-0").startswith("job")


def test_an_empty_project_says_what_to_do(admin_client: Client) -> None:
    text = page(admin_client, OVERVIEW)
    assert "There is no job yet" in text
    assert "Nothing runs at the moment." in text


def test_texts_of_users_are_escaped(admin_client: Client) -> None:
    store("<i>&\"'")
    ran("<i>&\"'", Run.RUNNING)
    text = page(admin_client, OVERVIEW)
    assert "<i>" not in text


def test_a_job_that_the_project_hides_is_not_shown(
    admin_client: Client, settings: Settings
) -> None:
    settings.JOB_ACCESS = "jobstore.tests.admin.test_overview.hides_secret"
    store("open")
    store("secret")
    ran("secret", Run.RUNNING)
    hold_lease()
    DjangoJob.objects.update(next_run_time=database_now("default") - HOUR)
    text = page(admin_client, OVERVIEW)
    assert "open" in text and "secret" not in text


def hides_secret(user: Any, verb: str, job: DjangoJob) -> bool:
    return str(job.pk) != "secret"


# --- Strips and charts ---------------------------------------------------------------------------


def drawn(svg: str, kind: str) -> int:
    """Return how many shapes of a kind are drawn."""
    found = re.search(rf'd="([^"]*)" class="{kind}"', svg)
    return found[1].count("M") if found else 0


def test_each_run_is_a_tick_of_its_kind() -> None:
    now = dt.datetime(2026, 3, 1, 12, 10, tzinfo=dt.UTC)
    current = strips.slot_of(now)
    counts = {
        (current - 10, Run.SUCCESS): 1,
        (current - 8, Run.ERROR): 1,
        (current - 6, Run.MISSED): 3,
        (current - 4, Run.LOST): 1,
        (current, Run.RUNNING): 1,
    }
    svg = strips.strip("job", counts, [current + 2, current + 4], now)
    kinds = ("executed", "failed", "missed", "lost", "busy", "planned")
    # A failed and a lost run: the tick itself and its mark.
    assert [drawn(svg, kind) for kind in kinds] == [1, 3, 1, 1, 1, 2]
    assert "<title>job, last and next 24 hours</title>" in svg
    assert "Started execution 1, Executed 1, Missed 3, Error 1, Lost 1" in svg


def test_the_worst_of_a_half_hour_is_what_marks_it() -> None:
    now = dt.datetime(2026, 3, 1, 12, 10, tzinfo=dt.UTC)
    slot = strips.slot_of(now) - 3
    counts = {(slot, Run.SUCCESS): 90, (slot, Run.MISSED): 1, (slot, Run.ERROR): 1}
    svg = strips.strip("job", counts, [], now)
    assert [drawn(svg, kind) for kind in ("executed", "failed", "missed")] == [1, 1, 0]


@pytest.mark.parametrize(
    ("trigger", "number"),
    [
        (CronTrigger(hour="*", timezone="UTC"), 24),
        (CronTrigger(minute="*/5", timezone="UTC"), 48),
        (CronTrigger(hour="*/6", jitter=60, timezone="UTC"), 4),
        (IntervalTrigger(hours=2, timezone="UTC"), 12),
        (IntervalTrigger(seconds=1, timezone="UTC"), 48),
        (DateTrigger("2099-01-01", timezone="UTC"), 0),
    ],
    ids=str,
)
def test_the_next_day_is_planned_as_the_trigger_says(trigger: Any, number: int) -> None:
    job = store(trigger=trigger)
    now = as_aware(database_now("default"))
    due = trigger.get_next_fire_time(None, now)
    if trigger.jitter if hasattr(trigger, "jitter") else False:
        due = CronTrigger(hour="*/6", timezone="UTC").get_next_fire_time(None, now)
    DjangoJob.objects.update(next_run_time=due)
    job.refresh_from_db()
    slots, is_whole = planned.planned_slots(job, now)
    assert is_whole
    # The ends of the day may cut a slot in two.
    assert number - 1 <= len(slots) <= number + 1


def test_what_is_planned_are_the_times_that_come(settings: Settings) -> None:
    settings.TIME_ZONE = "UTC"
    trigger = CronTrigger(hour="2,5,14", minute="7", timezone="America/New_York")
    job = store(trigger=trigger)
    now = as_aware(database_now("default"))
    expected, moment = set(), trigger.get_next_fire_time(None, now)
    DjangoJob.objects.update(next_run_time=moment)
    job.refresh_from_db()
    while strips.slot_of(moment) < strips.slot_of(now) + strips.SLOTS:
        expected.add(strips.slot_of(moment))
        moment = trigger.get_next_fire_time(moment, moment + dt.timedelta(seconds=1))
    assert planned.planned_slots(job, now)[0] == expected


@pytest.mark.parametrize(
    ("trigger", "number"),
    [
        (
            OrTrigger(
                [CronTrigger(hour="2,14", timezone="UTC"), CronTrigger(hour="5", timezone="UTC")]
            ),
            3,
        ),
        (AndTrigger([CronTrigger(hour="*/6", timezone="UTC")] * 2), 4),
        # APScheduler finds its first time, and none after that, for ever.
        (AndTrigger([CronTrigger(hour=hour, timezone="UTC") for hour in ("*/2", "*/3")]), 4),
        (CalendarIntervalTrigger(days=1, hour=3, timezone="UTC"), 1),
    ],
    ids=["or", "and", "and, of others", "calendar interval"],
)
def test_the_next_day_of_a_compound_trigger_is_planned_too(trigger: Any, number: int) -> None:
    job = store(trigger=trigger)
    now = as_aware(database_now("default"))
    moment = api.next_run_times(trigger, 1)[0]
    DjangoJob.objects.update(next_run_time=moment)
    job.refresh_from_db()
    slots, is_whole = planned.planned_slots(job, now)
    expected = {strips.slot_of(one) for one in api.next_run_times(job, 10)}
    last = strips.slot_of(now) + strips.SLOTS
    assert is_whole and slots == {slot for slot in expected if slot < last}
    assert number - 1 <= len(slots) <= number + 1


@pytest.mark.parametrize(
    "trigger",
    [
        AndTrigger([CronTrigger(hour="*/2", timezone=zone) for zone in ("UTC", "Asia/Tokyo")]),
        OrTrigger([CronTrigger(second="*"), CronTrigger(hour=1)]),
    ],
    ids=["never", "each second"],
)
def test_a_trigger_that_would_have_to_be_asked_for_ever_is_asked_a_bounded_number_of_times(
    trigger: Any,
) -> None:
    job = store()
    job.next_run_time = database_now("default")
    schedule = planned.Schedule(job)
    schedule._trigger = trigger
    now = as_aware(job.next_run_time)
    slots, is_whole = schedule.slots(now, now)
    assert not is_whole
    assert slots <= {strips.slot_of(now), strips.slot_of(now) + 1}
    assert 1 <= len(building.times_from(trigger, now, 10)) <= 10


def test_a_trigger_that_stands_still_is_asked_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stuck(AndTrigger):  # type: ignore[misc]
        def get_next_fire_time(self, previous: Any, now: Any) -> Any:
            asked.append(now)
            return previous or now

    asked: list[Any] = []
    monkeypatch.setattr(planned, "FOLLOWED", (Stuck,))
    job = store()
    schedule = planned.Schedule(job)
    schedule._trigger = Stuck([])
    now = as_aware(database_now("default"))
    assert schedule.slots(now, now) == (frozenset({strips.slot_of(now)}), True)
    assert len(asked) == 1


def test_schedules_that_are_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planned, "MAX_KEPT", 2)
    monkeypatch.setattr(planned, "_kept", {})
    now = as_aware(database_now("default"))
    for number in range(5):
        planned.planned_slots(store(f"job-{number}"), now)
        assert len(planned._kept) <= 2


def test_a_paused_job_has_nothing_planned() -> None:
    job = store(paused=True)
    assert planned.planned_slots(job, as_aware(database_now("default"))) == (frozenset(), True)


def test_charts_tell_in_words_what_they_draw() -> None:
    start = dt.datetime(2026, 3, 1, 12, 0, tzinfo=dt.UTC)
    minutes = [Minute(start + dt.timedelta(minutes=one)) for one in range(60)]
    minutes[7] = Minute(minutes[7].at, good=30, bad=2, delay=0.2, longest_delay=1.5)
    svg, top = charts.runs_chart(minutes)
    assert "30 runs went well, 2 did not; at most 32 in a minute." in svg
    assert top == "50"
    svg, top = charts.delay_chart(minutes)
    assert "The longest delay was 1.500 s." in svg
    assert top == "2 s"
    assert len(charts.table(minutes)) == 1


@pytest.mark.parametrize(
    ("most", "line"), [(0, 1), (1, 1), (3, 5), (50, 50), (120, 200), (1e-9, 0.001), (7e8, 1e9)]
)
def test_the_highest_line_of_a_chart_is_a_round_number(most: float, line: float) -> None:
    assert charts.nice(most) == pytest.approx(line)


def test_minutes_hold_what_was_scheduled_in_them() -> None:
    now = database_now("default").replace(second=30, microsecond=0)
    store()
    for second, delay in ((5, 2), (20, 4)):
        when = now.replace(second=second) - dt.timedelta(minutes=3)
        Run.objects.create(
            job_id="job",
            status=Run.SUCCESS,
            run_time=when,
            started_at=when + dt.timedelta(seconds=delay),
        )
    found = queries.history("default", now, api.Visible()).minutes
    busy = [(position, one.good) for position, one in enumerate(found) if one.good]
    assert busy == [(56, 2)]
    assert found[56].delay == pytest.approx(3, abs=0.01)
    assert found[56].longest_delay == pytest.approx(4, abs=0.01)


# --- Refreshing ----------------------------------------------------------------------------------


def test_nothing_is_answered_if_nothing_changed(admin_client: Client) -> None:
    store()
    hold_lease()
    known = versions(page(admin_client, OVERVIEW))
    answer = refresh(admin_client, known)
    assert (answer.status_code, answer.content) == (304, b"")


def test_only_what_changed_is_answered(admin_client: Client) -> None:
    store()
    hold_lease()
    known = versions(page(admin_client, OVERVIEW))
    ran("job", Run.RUNNING)
    answer = refresh(admin_client, known)
    changed = versions(answer.content.decode())
    assert "ov-running" in changed
    assert not set(changed) & {"ov-schedulers", "ov-verdict", "ov-next"}
    again = refresh(admin_client, known | changed)
    assert again.status_code == 304


def test_only_what_was_asked_for_is_answered(admin_client: Client) -> None:
    job_of_every_kind()
    answer = refresh(admin_client, {"ov-next": "old", "ov-job-3": ""})
    assert set(versions(answer.content.decode())) == {"ov-next", "ov-job-3"}
    assert answer["Jobstore-Refresh"] == "fragments"


def busy_page(client: Client) -> dict[str, str]:
    """Return the fragments of a page that is full, all of them unknown to the browser."""
    for position in range(queries.JOBS_PER_PAGE):
        store(f"job-{position:02}", trigger=CronTrigger(minute="*/5"))
        for ago in range(0, 86_000, 5_000):
            ran(f"job-{position:02}", Run.ERROR, ago=ago)
    for ago in range(0, 3600, 60):
        ran("job-00", ago=ago, duration=1)
        ran("job-00", Run.LOST, ago=ago + 1)
    return dict.fromkeys(versions(page(client, OVERVIEW)), "old")


def test_one_answer_is_ten_kilobytes_at_most_and_the_rest_comes_with_the_next(
    admin_client: Client,
) -> None:
    known = busy_page(admin_client)
    waiting = list(known)
    looks = []
    while waiting:
        answer = refresh(admin_client, {name: known[name] for name in waiting})
        assert len(answer.content) <= MAX_BYTES
        looks.append(set(versions(answer.content.decode())))
        # Nothing is asked for twice: each answer names what had no place in it.
        waiting = answer.get("Jobstore-Left", "").split()
    assert set.union(*looks) == set(known)
    assert sum(map(len, looks)) == len(known)


def test_what_was_asked_for_first_is_answered_first(admin_client: Client) -> None:
    known = busy_page(admin_client)
    names = sorted(known, reverse=True)
    answer = refresh(admin_client, {name: known[name] for name in names})
    sent = list(versions(answer.content.decode()))
    assert 0 < len(sent) < len(names)
    assert sent == names[: len(sent)]
    assert answer["Jobstore-Left"].split() == names[len(sent) :]


def test_what_has_no_place_is_not_made(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = busy_page(admin_client)
    made = []
    original = Page.row

    def count(self: Page, place: int) -> Any:
        made.append(place)
        return original(self, place)

    monkeypatch.setattr(Page, "row", count)
    answer = refresh(admin_client, {name: known[name] for name in known if "job" in name})
    # The last one is made to see that it does not fit.
    assert len(made) == len(versions(answer.content.decode())) + 1 < queries.JOBS_PER_PAGE


def test_the_charts_and_their_table_fit_beside_others(admin_client: Client) -> None:
    busy_page(admin_client)
    for name in ("ov-charts", "ov-minutes"):
        assert len(refresh(admin_client, {name: "old"}).content) < 0.75 * MAX_BYTES


def test_a_change_of_rights_is_sent_like_any_other(
    admin_client: Client, staff: NewClient, settings: Settings
) -> None:
    settings.JOB_ACCESS = "jobstore.tests.admin.test_overview.hides_secret_from_others"
    hold_lease()
    for job in ("a-secret", "open"):
        store(job)
        ran(job, Run.RUNNING)
    known = versions(page(admin_client, OVERVIEW))
    assert refresh(admin_client, known).status_code == 304
    # Somebody else in the same browser, which shows what the first one saw.
    text = refresh(staff(*VIEW), known).content.decode()
    assert {"ov-running", "ov-next", "ov-job-0", "ov-job-1", "ov-paging"} <= set(versions(text))
    assert "secret" not in text
    assert fragment(text, "ov-job-0").startswith("open")
    assert 'id="ov-job-1" class="" data-refresh="10"' in text


def hides_secret_from_others(user: Any, verb: str, job: DjangoJob) -> bool:
    return user.is_superuser or "secret" not in str(job.pk)


def test_the_same_runs_are_drawn_the_same_in_whichever_order_the_database_groups_them() -> None:
    now = dt.datetime(2026, 3, 1, 12, 10, tzinfo=dt.UTC)
    current = strips.slot_of(now)
    kinds = (Run.SUCCESS, Run.ERROR, Run.MISSED)
    counts = {(current - ago, kind): 1 for ago in range(20) for kind in kinds[: 1 + ago % 3]}
    backwards = dict(reversed(counts.items()))
    assert strips.strip("job", counts, [], now) == strips.strip("job", backwards, [], now)


def test_rows_are_answered_inside_of_a_table(admin_client: Client) -> None:
    store()
    text = refresh(admin_client, {"ov-job-0": "old"}).content.decode()
    assert text.startswith('<table><tbody><tr id="ov-job-0"')


@pytest.mark.parametrize("tag", ["", "W/", "*", '"a=b', '"' + "x" * 5000 + '"', '"<i>=1"'])
def test_a_request_that_asks_for_nothing_is_answered_with_nothing(
    admin_client: Client, tag: str
) -> None:
    headers = {"Jobstore-Refresh": "1", "If-None-Match": tag}
    assert admin_client.get(OVERVIEW, headers=headers).status_code == 304


def test_the_script_is_small(settings: Settings) -> None:
    from django.contrib.staticfiles import finders

    path = finders.find("jobstore/refresh.js")
    assert path is not None
    with open(path, "rb") as file:
        assert len(file.read()) <= 6_000
