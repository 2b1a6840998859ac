"""The admin shows what is so, lets those act who may, and never runs anything itself."""

import concurrent.futures
import datetime as dt
import html
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.combining import AndTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from pytest_django.fixtures import Settings

from jobstore.admin import search
from jobstore.admin.display import seconds
from jobstore.admin.overview import AVERAGED_RUNS
from jobstore.admin.words import in_words
from jobstore.jobstores import DjangoJobStore
from jobstore.models import DjangoJob, DjangoJobExecution, SchedulerInstance, database_now
from jobstore.models import SchedulerLease as Lease
from jobstore.tests import callables
from jobstore.tests.conftest import StartScheduler, create_user, eventually

pytestmark = pytest.mark.django_db

Run = DjangoJobExecution
JOBS = "/admin/jobstore/djangojob/"
RUNS = "/admin/jobstore/djangojobexecution/"
SCHEDULERS = "/admin/jobstore/schedulerinstance/"
HOUR = dt.timedelta(hours=1)


# --- Helpers -------------------------------------------------------------------------------------


def store(
    job_id: str = "job", func: Any = callables.note, *, paused: bool = False, **options: Any
) -> DjangoJob:
    """Store a job that is not due soon."""
    scheduler = BackgroundScheduler(timezone="UTC")
    options.setdefault("trigger", IntervalTrigger(hours=1))
    added = scheduler.add_job(func, id=job_id, **options)
    added._modify(
        executor="default",
        max_instances=1,
        coalesce=True,
        misfire_grace_time=None,
        next_run_time=None if paused else database_now("default") + HOUR,
    )
    DjangoJobStore().add_job(added)
    stored: DjangoJob = DjangoJob.objects.get(pk=job_id)
    return stored


def ran(job_id: str = "job", status: str = Run.SUCCESS, *, ago: float = 0, **fields: Any) -> Run:
    """Write a run into the history."""
    when = database_now("default") - dt.timedelta(seconds=ago)
    return Run.objects.create(job_id=job_id, status=status, run_time=when, **fields)


def hold_lease(expires_in: float = 60, heartbeat_ago: float = 0) -> SchedulerInstance:
    """Write a scheduler that holds the lease."""
    now = database_now("default")
    instance = SchedulerInstance.objects.create(
        host="somewhere",
        pid=42,
        role=SchedulerInstance.Role.ACTIVE,
        epoch=7,
        started_at=now,
        heartbeat_at=now - dt.timedelta(seconds=heartbeat_ago),
    )
    ends = now + dt.timedelta(seconds=expires_in)
    Lease.objects.create(holder=instance.pk, epoch=7, expires_at=ends)
    return instance


NewClient = Callable[..., Client]


@pytest.fixture
def staff(db: None) -> NewClient:
    """Return a function that logs in a new member of staff with these permissions."""

    def login(*codenames: str) -> Client:
        user = create_user(is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
        client = Client()
        client.force_login(user)
        return client

    return login


def act(client: Client, action: str, *job_ids: str, **fields: str) -> list[str]:
    """Choose an action for jobs in the list; return the messages that follow."""
    form = {"action": action, "_selected_action": job_ids, **fields}
    answer = client.post(JOBS, form, follow=True)
    assert answer.status_code == 200
    return [html.unescape(str(message)) for message in answer.context["messages"]]


def page(client: Client, address: str, **query: str) -> str:
    answer = client.get(address, query)
    assert answer.status_code == 200
    return answer.content.decode()


def listed(client: Client, address: str = JOBS, **query: str) -> set[str]:
    """Return the keys of the rows that a list shows."""
    rows = client.get(address, query).context["cl"].result_list
    return {str(row.pk) for row in rows}


def job_page(job_id: str = "job") -> str:
    return reverse("admin:jobstore_djangojob_change", args=(job_id,))


def audit(job_id: str = "job") -> list[str]:
    return [entry.change_message for entry in LogEntry.objects.filter(object_id=job_id)]


# --- Jobs: the list ------------------------------------------------------------------------------


def test_the_list_of_a_hundred_jobs_takes_at_most_ten_statements(
    staff: NewClient, django_assert_max_num_queries: Any
) -> None:
    for number in range(100):
        store(f"job-{number}")
        ran(f"job-{number}", duration=1)
    hold_lease()
    client = staff("view_djangojob", "run_djangojob")
    with django_assert_max_num_queries(10):
        assert len(listed(client)) == 100


@pytest.mark.parametrize(
    ("address", "column"), [(JOBS, "job_state"), (RUNS, "job_state"), (RUNS, "traceback")]
)
def test_a_list_never_loads_what_is_long(admin_client: Client, address: str, column: str) -> None:
    store()
    ran()
    with CaptureQueriesContext(connection) as statements:
        assert len(listed(admin_client, address)) == 1
    assert not [one for one in statements.captured_queries if column in one["sql"]]


def test_the_list_shows_what_runs_and_when(admin_client: Client) -> None:
    store()
    text = page(admin_client, JOBS).replace("<wbr>", "")
    assert "jobstore.tests.callables:note" in text
    assert "every hour" in text


@pytest.mark.parametrize(
    ("trigger", "words"),
    [
        (IntervalTrigger(seconds=10), "every 10 seconds"),
        (IntervalTrigger(minutes=90), "every 1 hour 30 minutes"),
        (IntervalTrigger(days=1), "every day"),
        (IntervalTrigger(weeks=1, seconds=1.5), "every 7 days 1.5 seconds"),
        (CronTrigger(hour=3, minute=30), "every day at 03:30"),
        (CronTrigger(hour=3), "every day at 03:00"),
        (CronTrigger(day_of_week="mon-fri", hour=22, minute=5, second=9), "mon-fri at 22:05:09"),
        (CronTrigger(day=1, hour="*/6"), "every 6 hours, on day 1"),
        (CronTrigger(minute="*/5"), "every 5 minutes"),
        (CronTrigger(), "every second"),
        (DateTrigger("2030-01-01 03:30:00", "UTC"), "once, at 2030-01-01 03:30:00 UTC"),
        (AndTrigger([IntervalTrigger(hours=1)]), "every hour"),
    ],
)
def test_triggers_are_shown_in_words(trigger: object, words: str) -> None:
    assert in_words(str(trigger)) == words


def test_the_last_run_is_the_newest(admin_client: Client) -> None:
    store()
    ran(status=Run.SUCCESS, ago=60)
    newest = ran(status=Run.ERROR, ago=30)
    ran(status=Run.MISSED, ago=90)
    [job] = admin_client.get(JOBS).context["cl"].result_list
    assert (job.last_run, job.last_status) == (newest.pk, Run.ERROR)


def test_runs_that_are_running_are_counted(admin_client: Client) -> None:
    store()
    for ago, status in enumerate([Run.RUNNING, Run.RUNNING, Run.SUCCESS]):
        ran(status=status, ago=ago)
    [job] = admin_client.get(JOBS).context["cl"].result_list
    assert job.running == 2


def test_the_average_is_that_of_successful_runs(admin_client: Client) -> None:
    store()
    for ago, (status, duration) in enumerate([(Run.SUCCESS, 1), (Run.SUCCESS, 2), (Run.ERROR, 60)]):
        ran(status=status, ago=ago, duration=duration)
    assert "1.500 s" in page(admin_client, JOBS)


def test_the_average_is_that_of_recent_runs(admin_client: Client) -> None:
    store()
    for ago in range(AVERAGED_RUNS):
        ran(ago=ago, duration=1)
    ran(ago=AVERAGED_RUNS + 1, duration=1000)
    assert "1.000 s" in page(admin_client, JOBS)


def test_a_paused_job_is_marked(admin_client: Client) -> None:
    store(paused=True)
    assert ">paused</span>" in page(admin_client, JOBS)


def test_a_quarantined_job_is_marked_with_the_reason(admin_client: Client) -> None:
    store()
    DjangoJob.objects.update(quarantined_at=database_now("default"), quarantine_reason="it is odd")
    text = page(admin_client, JOBS)
    assert ">quarantined</span>" in text
    assert "it is odd" in text


def test_times_are_local(admin_client: Client, settings: Settings) -> None:
    settings.TIME_ZONE = "Asia/Tokyo"
    store()
    DjangoJob.objects.update(next_run_time=dt.datetime(2030, 1, 1, 20, 30, 5, tzinfo=dt.UTC))
    assert "Jan. 2, 2030, 05:30:05" in page(admin_client, JOBS)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("", {"scheduled", "paused", "quarantined"}),
        ("scheduled", {"scheduled"}),
        ("paused", {"paused"}),
        ("quarantined", {"quarantined"}),
        ("retired", {"retired"}),
    ],
)
def test_jobs_are_filtered_by_state(admin_client: Client, state: str, expected: set[str]) -> None:
    store("scheduled")
    store("paused", paused=True)
    store("quarantined")
    store("retired")
    DjangoJob.objects.filter(pk="quarantined").update(quarantined_at=database_now("default"))
    DjangoJob.objects.filter(pk="retired").retire()
    assert listed(admin_client, **({"state": state} if state else {})) == expected


@pytest.mark.parametrize("text", ["job-1", "nightly", "callables:fail"])
def test_jobs_are_found_by_id_name_and_function(admin_client: Client, text: str) -> None:
    store("job-1", callables.fail, name="nightly")
    store("other", callables.sleep, args=[1])
    assert listed(admin_client, q=text) == {"job-1"}


def test_an_id_may_hold_anything(admin_client: Client) -> None:
    odd = "a/b?c=<script>alert(1)</script> %2F_\"'é"
    store(odd)
    ran(odd)
    text = page(admin_client, JOBS) + page(admin_client, RUNS) + page(admin_client, RUNS, job=odd)
    assert "<script>alert" not in text
    quoted = admin_client.get(JOBS).context["cl"].url_for_result(DjangoJob.objects.get())
    assert "alert(1)" in page(admin_client, quoted)
    assert listed(admin_client, RUNS, job=odd) == {str(Run.objects.get().pk)}


# --- Jobs: the page of one -----------------------------------------------------------------------


def test_the_page_of_a_job_shows_its_arguments(admin_client: Client) -> None:
    store(args=["grüß"], kwargs={})
    assert "&#x27;grüß&#x27;" in page(admin_client, job_page())


def test_the_page_of_a_job_shows_its_latest_runs(admin_client: Client) -> None:
    store()
    runs = [ran(ago=ago) for ago in range(25)]
    groups = admin_client.get(job_page()).context["runs"]
    shown = [run for group in groups for run in group["runs"]]
    assert [run["url"] for run in shown] == [f"{RUNS}{run.pk}/change/" for run in runs[:20]]


def test_a_job_has_nothing_to_edit(admin_client: Client) -> None:
    store()
    answer = admin_client.get(job_page())
    assert list(answer.context["adminform"].form.fields) == []
    assert admin_client.post(job_page(), {"next_run_time_0": "2030-01-01"}).status_code == 403


def test_the_page_of_a_retired_job_stays(admin_client: Client) -> None:
    store()
    DjangoJob.objects.all().retire()
    answer = admin_client.get(job_page())
    assert ">retired</span>" in answer.content.decode()
    assert answer.context["buttons"] == {}


@pytest.mark.parametrize("address", [f"{JOBS}job/delete/", f"{RUNS}add/"])
def test_nobody_adds_or_deletes_by_hand(admin_client: Client, address: str) -> None:
    store()
    assert admin_client.get(address).status_code == 403


# --- Who may act ---------------------------------------------------------------------------------


def test_viewers_are_offered_no_action(staff: NewClient) -> None:
    store()
    client = staff("view_djangojob", "view_djangojobexecution")
    assert client.get(JOBS).context["action_form"] is None
    assert client.get(job_page()).context["buttons"] == {}


@pytest.mark.parametrize(
    "action",
    ["run_selected_jobs", "pause_selected_jobs", "retire_selected_jobs", "delete_selected"],
)
def test_what_viewers_post_is_refused(staff: NewClient, action: str) -> None:
    store()
    version = DjangoJob.objects.get().version
    client = staff("view_djangojob", "change_djangojob")
    act(client, action, "job", post="yes")
    assert client.post(f"{JOBS}job/act/", {"action": action, "post": "yes"}).status_code == 403
    job = DjangoJob.objects.get()
    assert (job.version, Run.objects.count(), LogEntry.objects.count()) == (version, 0, 0)


@pytest.mark.parametrize(
    ("permission", "buttons"),
    [
        ("run_djangojob", ["Run now"]),
        ("pause_djangojob", ["Pause"]),
        ("retire_djangojob", ["Retire"]),
    ],
)
def test_each_permission_offers_its_own_action(
    staff: NewClient, permission: str, buttons: list[str]
) -> None:
    store()
    client = staff("view_djangojob", permission)
    assert list(client.get(job_page()).context["buttons"].values()) == buttons


def test_buttons_need_the_token_of_the_page(admin_user: Any) -> None:
    store()
    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    answer = client.post(f"{JOBS}job/act/", {"action": "run_selected_jobs"})
    assert answer.status_code == 403
    assert Run.objects.count() == 0


def test_a_link_cannot_act(admin_client: Client) -> None:
    store()
    answer = admin_client.get(f"{JOBS}job/act/", {"action": "run_selected_jobs"})
    assert answer.status_code == 405


# --- Run now -------------------------------------------------------------------------------------


@pytest.fixture
def active(start_scheduler: StartScheduler) -> BackgroundScheduler:
    """A real scheduler that holds the lease."""
    scheduler = start_scheduler()
    eventually(lambda: SchedulerInstance.objects.filter(role="active").exists())
    return scheduler


@pytest.mark.usefixtures("active")
def test_running_a_job_now_tells_its_run_time(admin_client: Client) -> None:
    store()
    [message] = act(admin_client, "run_selected_jobs", "job")
    run = Run.objects.get()
    assert message.startswith(f"Job job ran in {seconds(run.duration)}.")
    assert f'href="{RUNS}{run.pk}/change/"' in message
    assert callables.calls == ["ran"]


@pytest.mark.usefixtures("active")
def test_running_a_failing_job_now_tells_why(admin_client: Client) -> None:
    store(func=callables.fail)
    [message] = act(admin_client, "run_selected_jobs", "job")
    assert message.startswith("Job job failed. ValueError: broken")


@pytest.mark.usefixtures("active")
def test_a_long_run_goes_on_after_the_wait(admin_client: Client, settings: Settings) -> None:
    settings.APSCHEDULER_RUN_NOW_TIMEOUT = 1.0
    store(func=callables.block)
    [message] = act(admin_client, "run_selected_jobs", "job")
    assert message.startswith("Job job is running; its outcome will appear in the history.")
    callables.release.set()
    eventually(lambda: Run.objects.get().status == Run.SUCCESS)


@pytest.mark.usefixtures("active")
def test_a_job_with_too_many_runs_is_said_to_be_skipped(
    admin_client: Client, settings: Settings
) -> None:
    settings.APSCHEDULER_RUN_NOW_TIMEOUT = 1.0
    store(func=callables.block)
    act(admin_client, "run_selected_jobs", "job")
    [message] = act(admin_client, "run_selected_jobs", "job")
    assert message.startswith("Job job was skipped.")


@pytest.mark.usefixtures("active")
def test_a_quarantined_job_is_told_to_have_failed(admin_client: Client) -> None:
    store()
    DjangoJob.objects.update(job_state=b"foreign")
    [message] = act(admin_client, "run_selected_jobs", "job")
    assert message.startswith("Job job failed.")


@pytest.mark.usefixtures("active")
def test_two_people_run_jobs_at_once(admin_user: Any) -> None:
    store("one", callables.sleep, args=[0.3])
    store("two", callables.sleep, args=[0.3])

    def run(job_id: str) -> str:
        client = Client()
        client.force_login(admin_user)
        form = {"action": "run_selected_jobs", "_selected_action": job_id}
        try:
            return client.post(JOBS, form, follow=True).content.decode()
        finally:
            connection.close()

    with concurrent.futures.ThreadPoolExecutor(2) as people:
        first, second = people.map(run, ["one", "two"])
    assert "Job one ran in" in first and "Job two ran" not in first
    assert "Job two ran in" in second and "Job one ran" not in second


@pytest.mark.usefixtures("active")
def test_the_web_never_starts_a_thread(admin_client: Client) -> None:
    store()
    before = set(threading.enumerate())
    page(admin_client, JOBS)
    act(admin_client, "run_selected_jobs", "job")
    # The scheduler of this test may start workers and its recorder; nothing else may appear.
    names = {thread.name for thread in set(threading.enumerate()) - before}
    assert {
        name for name in names if not name.startswith(("ThreadPool", "jobstore-recorder"))
    } == set()
    assert sum(thread.name == "APScheduler" for thread in threading.enumerate()) == 1


def test_without_a_scheduler_the_request_waits_and_the_user_need_not(admin_client: Client) -> None:
    store()
    before = threading.active_count()
    nobody, waits = act(admin_client, "run_selected_jobs", "job")
    assert "python manage.py runapscheduler" in nobody
    assert waits.startswith("Job job waits for a scheduler")
    assert (Run.objects.get().status, threading.active_count()) == (Run.REQUESTED, before)


def test_nobody_waits_inside_a_transaction(admin_client: Client) -> None:
    store()
    hold_lease()
    began = time.monotonic()
    [message] = act(admin_client, "run_selected_jobs", "job")
    assert message.startswith("Job job waits for a free worker")
    assert time.monotonic() - began < 4


def test_who_asked_for_a_run_is_recorded(admin_client: Client, admin_user: Any) -> None:
    store()
    act(admin_client, "run_selected_jobs", "job")
    run = Run.objects.get()
    name = admin_user.get_username()
    assert (run.requested_by, audit()) == (name, [f"Requested run {run.pk}."])


def test_sixty_jobs_are_run_in_a_handful_of_statements(
    admin_client: Client, settings: Settings, django_assert_max_num_queries: Any
) -> None:
    settings.APSCHEDULER_RUN_NOW_TIMEOUT = 0.0
    ids = [f"job-{number}" for number in range(60)]
    for job_id in ids:
        store(job_id)
    hold_lease()
    form = {"action": "run_selected_jobs", "_selected_action": ids}
    admin_client.get(JOBS)  # what Django remembers of content types
    with django_assert_max_num_queries(26):  # the two logs of what was done among them
        assert admin_client.post(JOBS, form).status_code == 302
    assert Run.objects.filter(status=Run.REQUESTED).count() == 60
    told = [str(one) for one in admin_client.get(JOBS).context["messages"]]
    assert told == ["60 jobs wait for a free worker; they run in their turn."]
    numbers = dict(Run.objects.values_list("job", "pk"))
    assert all(audit(job_id) == [f"Requested run {numbers[job_id]}."] for job_id in ids)


def test_many_jobs_without_a_scheduler_are_said_to_wait_for_one(
    admin_client: Client, settings: Settings
) -> None:
    settings.APSCHEDULER_RUN_NOW_TIMEOUT = 0.0
    ids = [f"job-{number}" for number in range(11)]
    for job_id in ids:
        store(job_id)
    told = act(admin_client, "run_selected_jobs", *ids)
    assert "No scheduler is active" in told[0]
    assert told[1:] == ["11 jobs wait for a scheduler; they run in their turn."]


def test_of_many_runs_those_that_went_wrong_are_told_each(
    admin_client: Client, settings: Settings, start_scheduler: StartScheduler
) -> None:
    settings.APSCHEDULER_RUN_NOW_TIMEOUT = 10.0
    for number in range(14):
        store(f"job-{number:02}", callables.fail if number == 7 else callables.note)
    start_scheduler()
    eventually(lambda: Lease.objects.filter(holder__isnull=False).exists())
    texts = act(admin_client, "run_selected_jobs", *(f"job-{number:02}" for number in range(14)))
    assert texts[0] == "13 jobs ran."
    assert len(texts) == 2
    assert "job-07" in texts[1]


def test_a_retired_job_is_not_run(admin_client: Client) -> None:
    store()
    DjangoJob.objects.all().retire()
    form = {"action": "run_selected_jobs", "_selected_action": "job"}
    answer = admin_client.post(f"{JOBS}?state=retired", form, follow=True)
    assert "Job job is retired and does not run." in answer.content.decode()
    assert Run.objects.count() == 0


@pytest.mark.parametrize("action", ["run_selected_jobs", "retire_selected_jobs"])
def test_too_many_jobs_are_not_touched_by_accident(admin_client: Client, action: str) -> None:
    DjangoJob.objects.bulk_create(DjangoJob(id=f"{n}", job_state=b"") for n in range(101))
    [message] = act(admin_client, action, "1", select_across="1")
    assert message.startswith("Select at most 100 jobs")
    assert (Run.objects.count(), DjangoJob.objects.count()) == (0, 101)


def test_links_are_for_those_who_may_follow_them(staff: NewClient) -> None:
    store()
    *_, message = act(staff("view_djangojob", "run_djangojob"), "run_selected_jobs", "job")
    assert "href" not in message


def test_a_button_leads_back_to_the_job(admin_client: Client) -> None:
    store()
    answer = admin_client.post(f"{JOBS}job/act/", {"action": "run_selected_jobs"})
    assert answer["Location"] == job_page()
    assert Run.objects.get().job_id == "job"


# --- Pause, resume, retire -----------------------------------------------------------------------


def test_pausing_stops_the_selected_jobs_alone(admin_client: Client) -> None:
    store()
    store("other")
    assert act(admin_client, "pause_selected_jobs", "job") == ["Paused: job."]
    assert {job.pk for job in DjangoJob.objects.filter(next_run_time=None)} == {"job"}
    assert (audit(), audit("other")) == (["Paused."], [])


def test_pausing_twice_says_so(admin_client: Client) -> None:
    store(paused=True)
    [message] = act(admin_client, "pause_selected_jobs", "job")
    assert message.startswith("Nothing to do")
    assert audit() == []


def test_resuming_schedules_from_now_on(admin_client: Client) -> None:
    store(paused=True)
    assert act(admin_client, "resume_selected_jobs", "job") == ["Resumed: job."]
    job = DjangoJob.objects.get()
    assert job.next_run_time is not None
    assert job.next_run_time > database_now("default")
    assert audit() == ["Resumed."]


def test_a_job_without_a_run_time_left_cannot_be_resumed(admin_client: Client) -> None:
    past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    store(paused=True, trigger=IntervalTrigger(hours=1, start_date=past, end_date=past))
    [message] = act(admin_client, "resume_selected_jobs", "job")
    assert "has no run time left" in message


def test_a_job_that_cannot_be_restored_cannot_be_resumed(admin_client: Client) -> None:
    store(paused=True)
    DjangoJob.objects.update(job_state=b"foreign")
    [message] = act(admin_client, "resume_selected_jobs", "job")
    assert "signature" in message
    assert audit() == []


def test_resuming_releases_a_job_from_quarantine_once_it_can_be_restored(
    admin_client: Client,
) -> None:
    store()
    DjangoJob.objects.update(quarantined_at=database_now("default"), quarantine_reason="broken")
    assert act(admin_client, "resume_selected_jobs", "job") == ["Resumed: job."]
    assert DjangoJob.objects.get().quarantined_at is None


def test_retiring_asks_first(admin_client: Client) -> None:
    store()
    form = {"action": "retire_selected_jobs", "_selected_action": "job"}
    text = admin_client.post(JOBS, form).content.decode()
    assert "comes back only once its declaration changes" in text
    assert DjangoJob.objects.count() == 1


def test_the_button_to_retire_asks_first_too(admin_client: Client) -> None:
    store()
    form = {"action": "retire_selected_jobs"}
    assert "Yes, retire" in admin_client.post(f"{JOBS}job/act/", form).content.decode()
    assert DjangoJob.objects.count() == 1
    answer = admin_client.post(f"{JOBS}job/act/", form | {"post": "yes"})
    assert (answer["Location"], DjangoJob.objects.count()) == (job_page(), 0)


def test_retiring_keeps_the_history(admin_client: Client) -> None:
    store()
    ran()
    assert act(admin_client, "retire_selected_jobs", "job", post="yes") == ["Retired: job."]
    assert DjangoJob.objects.count() == 0
    assert Run.objects.get().job.name == "note"
    assert audit() == ["Retired."]


@pytest.mark.parametrize(
    ("action", "changes"),
    [
        ("run_selected_jobs", {}),
        ("pause_selected_jobs", {}),
        ("resume_selected_jobs", {"next_run_time": None}),
        ("retire_selected_jobs", {}),
    ],
)
@pytest.mark.django_db(transaction=True)
def test_an_action_that_cannot_be_written_into_the_audit_is_undone(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch, action: str, changes: dict[str, Any]
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise RuntimeError("killed between the two")

    store()
    DjangoJob.objects.filter(pk="job").update(**changes)
    before = DjangoJob.objects.values().get()
    monkeypatch.setattr(LogEntry, "save", fail)
    monkeypatch.setattr(LogEntry.objects, "bulk_create", fail)
    with pytest.raises(RuntimeError):
        act(admin_client, action, "job", post="yes")
    assert DjangoJob.objects.values().get() == before
    assert not Run.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_request_is_not_cancelled_without_the_audit(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise RuntimeError("killed between the two")

    store()
    request = DjangoJob.objects.get().request_run("test")
    monkeypatch.setattr(LogEntry.objects, "bulk_create", fail)
    form = {"action": "cancel_selected_requests", "_selected_action": [request.pk]}
    with pytest.raises(RuntimeError):
        admin_client.post(RUNS, form)
    assert Run.objects.get().status == Run.REQUESTED


# --- History -------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [status for status, _ in Run.STATUS_CHOICES])
def test_every_status_is_coloured_and_offered_as_a_filter(
    admin_client: Client, status: str
) -> None:
    wanted = ran(status=status)
    ran(status="another", ago=1)
    text = page(admin_client, RUNS)
    assert f'value="{status}"' in text
    assert f">{status}</span>" in text
    assert f'jobstore-plain">{status}<' not in text
    assert listed(admin_client, RUNS, status=status) == {str(wanted.pk)}


def test_an_unknown_status_is_shown_plainly(admin_client: Client) -> None:
    run = ran(status="Teleported")
    badge = '<span class="jobstore-badge jobstore-plain">Teleported</span>'
    assert badge in page(admin_client, RUNS)
    assert badge in page(admin_client, f"{RUNS}{run.pk}/change/")


def test_history_shows_start_delay_and_run_time_apart(admin_client: Client) -> None:
    run = ran(duration="0.002")
    run.started_at = run.run_time + dt.timedelta(seconds=1.5)
    run.save()
    text = page(admin_client, RUNS)
    assert 'field-start_delay">1.500 s' in text
    assert 'field-took">0.002 s' in text


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (None, "-"),
        (0, "0.000 s"),
        (0.0004, "< 0.001 s"),
        (0.002, "0.002 s"),
        (99.5, "99.500 s"),
        (3725.4, "3,725 s"),
    ],
)
def test_lengths_are_in_seconds(length: float | None, text: str) -> None:
    assert seconds(length) == text


def test_history_is_filtered_by_job(admin_client: Client) -> None:
    store("one")
    wanted = ran("one")
    ran("two")
    assert listed(admin_client, RUNS, job="one") == {str(wanted.pk)}


def test_history_is_filtered_by_date(admin_client: Client) -> None:
    new, _ = ran(), ran(ago=40 * 86_400)
    since = (database_now("default") - 24 * HOUR).isoformat()
    assert listed(admin_client, RUNS, run_time__gte=since) == {str(new.pk)}


@pytest.mark.parametrize("text", ["backup", "ValueError", "disk is full"])
def test_history_is_searched_by_job_and_exception(admin_client: Client, text: str) -> None:
    wanted = ran("backup", Run.ERROR, exception_type="ValueError", exception="the disk is full")
    ran("other")
    assert listed(admin_client, RUNS, q=text) == {str(wanted.pk)}


def test_history_takes_the_same_statements_for_any_number_of_rows(admin_client: Client) -> None:
    def statements() -> int:
        with CaptureQueriesContext(connection) as captured:
            page(admin_client, RUNS)
        return len(captured)

    ran("job-0", instance=hold_lease())
    few = statements()
    for number in range(1, 50):
        ran(f"job-{number}", instance_id=uuid.uuid4())
    assert statements() == few <= 10


def test_a_long_history_is_not_counted_to_its_end(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MAX_LISTED_RUNS", 3)
    for ago in range(5):
        ran(ago=ago)
    answer = admin_client.get(RUNS)
    assert answer.context["cl"].result_count == 3
    assert "these are the first 3" in answer.content.decode()


def test_a_run_shows_its_exception_as_it_is(admin_client: Client) -> None:
    run = ran(status=Run.ERROR, exception_type="E", exception="<b>", traceback="line 1\n  line 2")
    text = page(admin_client, f"{RUNS}{run.pk}/change/")
    assert '<pre class="jobstore-text">line 1\n  line 2</pre>' in text
    assert '<pre class="jobstore-text">&lt;b&gt;</pre>' in text


def test_a_run_of_a_forgotten_job_and_process_can_be_looked_at(admin_client: Client) -> None:
    gone = uuid.uuid4()
    run = ran("gone", instance_id=gone)
    assert str(gone) in page(admin_client, f"{RUNS}{run.pk}/change/")


def test_history_cannot_be_edited(admin_client: Client) -> None:
    run = ran()
    answer = admin_client.post(f"{RUNS}{run.pk}/change/", {"status": Run.ERROR})
    assert answer.status_code == 403
    assert Run.objects.get().status == Run.SUCCESS


def delete_runs(client: Client, *runs: Run, **fields: str) -> None:
    form = {"action": "delete_selected", "_selected_action": [run.pk for run in runs]}
    client.post(RUNS, form | {"post": "yes"} | fields)


def test_history_is_deleted_by_those_who_may(staff: NewClient) -> None:
    run = ran()
    delete_runs(staff("view_djangojobexecution"), run)
    assert Run.objects.count() == 1
    delete_runs(staff("view_djangojobexecution", "delete_djangojobexecution"), run)
    assert Run.objects.count() == 0


def test_a_run_that_is_running_is_not_deleted(admin_client: Client) -> None:
    delete_runs(admin_client, ran(status=Run.RUNNING))
    assert Run.objects.count() == 1


def test_history_is_not_deleted_all_at_once(admin_client: Client) -> None:
    delete_runs(admin_client, ran(), select_across="1")
    assert Run.objects.count() == 1


# --- Schedulers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("address", [JOBS, RUNS, SCHEDULERS])
def test_a_banner_names_the_active_scheduler(admin_client: Client, address: str) -> None:
    hold_lease()
    text = page(admin_client, address)
    assert "One scheduler is active: <strong>somewhere:42</strong> (epoch 7)" in text


def test_a_banner_says_that_none_is_active(admin_client: Client) -> None:
    assert "No scheduler is active" in page(admin_client, SCHEDULERS)


def test_an_expired_lease_makes_nobody_active(admin_client: Client) -> None:
    hold_lease(expires_in=-1)
    assert "No scheduler is active" in page(admin_client, SCHEDULERS)


def test_a_real_scheduler_is_shown_as_active(
    admin_client: Client, active: BackgroundScheduler
) -> None:
    [shown] = SchedulerInstance.objects.all()
    text = page(admin_client, SCHEDULERS)
    assert f"<strong>{shown}</strong>" in text
    assert 'jobstore-good">active</span>' in text


def test_a_process_that_has_been_silent_is_doubted(admin_client: Client) -> None:
    hold_lease(expires_in=-1, heartbeat_ago=60)
    text = page(admin_client, SCHEDULERS)
    assert 'jobstore-bad">no sign of life</span> was active' in text


def test_a_process_that_cannot_run_jobs_says_why(admin_client: Client) -> None:
    instance = hold_lease()
    SchedulerInstance.objects.update(role="unfit", problem="The <loop> is stuck.")
    for address in (SCHEDULERS, f"{SCHEDULERS}{instance.pk}/change/"):
        text = page(admin_client, address)
        assert 'jobstore-bad">unfit</span>' in text
        assert "The &lt;loop&gt; is stuck." in text


def test_schedulers_cannot_be_changed(admin_client: Client) -> None:
    instance = hold_lease()
    for verb in ("change", "delete"):
        answer = admin_client.post(f"{SCHEDULERS}{instance.pk}/{verb}/", {"post": "yes"})
        assert answer.status_code == 403
