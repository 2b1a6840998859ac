"""Jobs that the project hides from somebody are hidden everywhere, and each right is its own."""

import contextlib
import datetime as dt
import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.models import QuerySet
from django.test import Client
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings

from jobstore import api
from jobstore.admin import search
from jobstore.api import visibility
from jobstore.models import AuditEntry, DeclarationProblem, DjangoJob, DjangoJobExecution
from jobstore.tests.admin.test_admin import JOBS, RUNS, hold_lease, listed, ran, store
from jobstore.tests.admin.test_overview import OVERVIEW
from jobstore.tests.conftest import create_user

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("english_and_utc")]

Run = DjangoJobExecution
AUDIT = "/admin/jobstore/auditentry/"
VIEWER = ("view_djangojob", "view_djangojobexecution", "view_auditentry")
ROLES = {
    "viewer": VIEWER,
    "operator": (*VIEWER, "run_djangojob", "pause_djangojob", "cancel_djangojob"),
    "editor": (*VIEWER, "add_djangojob", "change_djangojob", "retire_djangojob"),
}


def shows_mine(user: Any, verb: str, job: DjangoJob) -> bool:
    return str(job.pk).startswith("mine")


def shows_my_rows(user: Any, jobs: QuerySet[DjangoJob]) -> QuerySet[DjangoJob]:
    return jobs.filter(pk__startswith="mine")


def hides_one(user: Any, verb: str, job: DjangoJob) -> bool:
    return str(job.pk) != "secret"


def fails_for_one(user: Any, verb: str, job: DjangoJob) -> bool:
    if job.pk == "secret":
        raise RuntimeError("no idea")
    return True


def fails(user: Any, jobs: QuerySet[DjangoJob]) -> QuerySet[DjangoJob]:
    raise RuntimeError("no idea")


def returns_a_list(user: Any, jobs: QuerySet[DjangoJob]) -> Any:
    return list(jobs)


def name_of(function: Any) -> str:
    return f"{__name__}.{function.__name__}"


def logged_in(*codenames: str) -> Client:
    user = create_user(is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def jobs() -> None:
    """A job that is shown and one that is not, each with runs, an audit and a problem."""
    hold_lease()
    for job_id in ("mine", "secret"):
        store(job_id)
        ran(job_id, Run.ERROR, ago=30, exception=f"text of {job_id}")
        ran(job_id, Run.RUNNING, ago=1)
        api.pause(job_id, f"reason of {job_id}", by="somebody")
        api.resume(job_id)
        DeclarationProblem.objects.create(
            subject=job_id, text=f"problem of {job_id}", noticed_at=dt.datetime.now(dt.UTC)
        )
    # Of a job whose row is gone nobody can be asked.
    ran("secret orphan", Run.ERROR, ago=20)


# By the project's function for one job, with the one for many, and with most jobs shown or hidden.
HOOKS: dict[str, dict[str, Any]] = {
    "few are shown": {"JOB_ACCESS": shows_mine},
    "few are hidden": {"JOB_ACCESS": hides_one},
    "a queryset": {"JOB_ACCESS": shows_mine, "JOB_ACCESS_QUERYSET": shows_my_rows},
    "one cannot be decided": {"JOB_ACCESS": fails_for_one},
}


@pytest.fixture(params=[(hooks, few) for hooks in HOOKS for few in (visibility.FEW, 0)])
def hooks(request: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each way in which a project decides, with lists that name ids and lists that do not."""
    chosen, few = request.param
    monkeypatch.setattr(visibility, "FEW", few)
    for setting, function in HOOKS[chosen].items():
        setattr(settings, setting, name_of(function))


@pytest.mark.usefixtures("jobs", "hooks")
def test_a_hidden_job_is_in_no_list_and_no_number() -> None:
    sees_mine_alone(logged_in(*VIEWER))


@pytest.mark.usefixtures("jobs")
@pytest.mark.parametrize("role", ["operator", "editor"])
def test_whoever_may_do_more_does_not_see_more(role: str, settings: Settings) -> None:
    settings.JOB_ACCESS = name_of(shows_mine)
    sees_mine_alone(logged_in(*ROLES[role]))


def sees_mine_alone(client: Client) -> None:
    for address in (OVERVIEW, "/admin/jobstore/", JOBS, RUNS, AUDIT, f"{RUNS}all/export/"):
        answer = client.get(address)
        assert answer.status_code == 200, address
        text = b"".join(answer).decode()
        assert "mine" in text, address
        assert "secret" not in text, address
    # Whoever filters by its name finds nothing either.
    for query in ("?job=secret", "?text=secret", "?q=secret", "?status=Error!&job=secret"):
        assert listed(client, f"{RUNS}{query}") == set()
    overview = client.get(OVERVIEW).context["overview"]
    counts = {one["kind"]: one["number"] for one in overview.counts()}
    assert (overview.totals.jobs, overview.totals.problems, overview.running["number"]) == (1, 1, 1)
    assert counts["failed"] == 1
    assert sum(minute.bad for minute in overview._history_of_day[0].minutes) == 1


@pytest.mark.usefixtures("jobs", "hooks")
def test_a_hidden_job_cannot_be_reached_by_its_address() -> None:
    client = logged_in(
        *{one for role in ROLES.values() for one in role}, "delete_djangojobexecution"
    )
    run = Run.objects.filter(job="secret", status=Run.ERROR).get()
    entry = AuditEntry.objects.filter(job_id="secret").first()
    assert entry is not None
    for address in (
        *(f"{JOBS}secret/{page}/" for page in ("change", "schedule", "options", "clone", "reset")),
        *(f"{RUNS}{run.pk}/{page}/" for page in ("change", "delete", "history")),
        f"{AUDIT}{entry.pk}/change/",
    ):
        assert client.get(address).status_code == 403, address
    act = client.post(f"{JOBS}secret/act/", {"action": "pause_selected_jobs"})
    assert act.status_code == 403
    for page, key, action in (
        (JOBS, "secret", "pause_selected_jobs"),
        (JOBS, "secret", "retire_selected_jobs"),
        (RUNS, str(run.pk), "run_selected_again"),
        (RUNS, str(run.pk), "delete_selected"),
        (RUNS, str(run.pk), "export_selected"),
    ):
        text = client.post(page, {"action": action, "_selected_action": [key]}, follow=True)
        assert "secret" not in b"".join(text).decode()
    for page in ("run-again", "cancel"):
        assert "secret" not in client.get(f"{RUNS}all/{page}/", follow=True).content.decode()
    complete = (
        "/admin/autocomplete/?app_label=jobstore&model_name=djangojobexecution&field_name=job"
    )
    assert "secret" not in client.get(complete).content.decode()
    assert DjangoJob.objects.get(pk="secret").next_run_time is not None
    assert Run.objects.filter(job="secret").count() == 2


@pytest.mark.usefixtures("jobs", "hooks")
def test_the_command_and_code_leave_out_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    user = create_user(is_superuser=True, is_staff=True)
    assert [job.pk for job in api.find(by=user)] == ["mine"]
    assert {job.pk for job in api.find(by="a script")} == {"mine", "secret"}
    for command in ("list", "history"):
        call_command("jobs", command, "--json", "--as", user.get_username())
        said = capsys.readouterr().out
        assert "mine" in said and "secret" not in said
    for command in ("show", "next", "history"):
        with pytest.raises(CommandError, match="may not view job 'secret'"):
            call_command("jobs", command, "secret", "--as", user.get_username())


@pytest.mark.parametrize("command", ["list", "history"])
def test_the_command_shows_nothing_to_whoever_may_not_view(
    command: str, jobs: None, capsys: pytest.CaptureFixture[str]
) -> None:
    user = create_user(is_staff=True)
    with contextlib.suppress(CommandError):
        call_command("jobs", command, "--json", "--as", user.get_username())
    assert "mine" not in capsys.readouterr().out


@pytest.mark.usefixtures("jobs")
def test_whoever_sees_every_job_sees_runs_of_jobs_that_are_gone(settings: Settings) -> None:
    settings.JOB_ACCESS = f"{__name__}.sees_all"
    run = Run.objects.get(job="secret orphan")
    client = logged_in(*VIEWER)
    assert "secret orphan" in client.get(RUNS).content.decode()
    assert client.get(f"{RUNS}{run.pk}/change/").status_code == 200


def sees_all(user: Any, verb: str, job: DjangoJob) -> bool:
    return True


def test_the_function_is_asked_once_for_each_job_and_page(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        store(f"mine-{number}")
        ran(f"mine-{number}")
    client = logged_in(*VIEWER)
    asked: list[str] = []

    def count(user: Any, verb: str, job: DjangoJob) -> bool:
        asked.append(job.pk)
        return True

    monkeypatch.setitem(globals(), "counted", count)
    settings.JOB_ACCESS = f"{__name__}.counted"
    for address in (OVERVIEW, JOBS, RUNS, AUDIT):
        asked.clear()
        with CaptureQueriesContext(connection) as statements:
            client.get(address)
        assert len(asked) == len(set(asked)) == 5, address
        # Two of them ask who is there and what they may.
        assert address != OVERVIEW or len(statements) <= 12 + 1
    asked.clear()
    settings.JOB_ACCESS_QUERYSET = name_of(shows_my_rows)
    client.get(RUNS)
    assert asked == []


@pytest.mark.usefixtures("jobs")
def test_the_bound_of_a_search_is_said_to_whoever_does_not_see_all(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(visibility, "FEW", 0)
    monkeypatch.setattr(search, "SEARCHED_RUNS", 2)
    settings.JOB_ACCESS = name_of(hides_one)
    assert "The newest 2 runs were searched" in logged_in(*VIEWER).get(RUNS).content.decode()


@pytest.mark.usefixtures("jobs")
def test_a_function_that_fails_shows_nothing_and_says_so(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.JOB_ACCESS = name_of(shows_mine)
    settings.JOB_ACCESS_QUERYSET = name_of(fails)
    assert listed(logged_in(*VIEWER)) == set()
    assert "JOB_ACCESS_QUERYSET raised" in caplog.text
    settings.JOB_ACCESS_QUERYSET = name_of(returns_a_list)
    with pytest.raises(ImproperlyConfigured, match="something else than a whole queryset of jobs"):
        api.visible_to(create_user())


def test_a_function_that_fails_for_one_job_leaves_its_page_an_answer(settings: Settings) -> None:
    store("secret")
    settings.JOB_ACCESS = name_of(fails_for_one)
    assert logged_in(*VIEWER).get(f"{JOBS}secret/change/").status_code == 403


# --- Each right is its own ------------------------------------------------------------------------

ACT = f"{JOBS}job/act/"
# What each right opens: the permission, how it is done, and what the page of the job offers for it.
RIGHTS: dict[str, tuple[str, Any, str]] = {
    "run": (
        "run_djangojob",
        lambda client: client.post(ACT, {"action": "run_selected_jobs"}),
        "Run now",
    ),
    "pause": (
        "pause_djangojob",
        lambda client: client.post(ACT, {"action": "pause_selected_jobs"}),
        "Pause",
    ),
    "edit": (
        "change_djangojob",
        lambda client: client.get(f"{JOBS}job/schedule/"),
        "Change schedule",
    ),
    "create": ("add_djangojob", lambda client: client.get(f"{JOBS}add/"), ""),
    "cancel": ("cancel_djangojob", lambda client: client.get(f"{RUNS}all/cancel/"), ""),
    "retire": (
        "retire_djangojob",
        lambda client: client.post(ACT, {"action": "retire_selected_jobs"}),
        "Retire",
    ),
    "audit": ("view_auditentry", lambda client: client.get(AUDIT), "Latest changes"),
}
LOOKING = ("view_djangojob", "view_djangojobexecution")


@pytest.mark.parametrize("right", RIGHTS)
def test_each_right_opens_its_own_door_and_no_other(right: str, settings: Settings) -> None:
    settings.APSCHEDULER_RUN_NOW_TIMEOUT = 0.0
    store()
    ran(status=Run.REQUESTED)
    client = logged_in(*LOOKING, RIGHTS[right][0])
    text = client.get(f"{JOBS}job/change/").content.decode()
    offered = set(re.findall(r"<(?:button|a|h2)[^>]*>([^<]+)</(?:button|a|h2)>", text))
    for name, (_permission, open_it, label) in RIGHTS.items():
        assert (open_it(client).status_code == 403) == (name != right), name
        assert not label or (label in offered) == (name == right), name


def test_looking_alone_offers_nothing_to_do() -> None:
    store()
    client = logged_in(*LOOKING)
    text = client.get(f"{JOBS}job/change/").content.decode()
    assert '<form method="post" action="/admin/jobstore' not in text
    assert not re.search(r'<option value="\w+_selected', client.get(JOBS).content.decode())
    assert client.get(f"{JOBS}add/").status_code == 403


@pytest.mark.parametrize("page", [JOBS, f"{JOBS}mine/change/"])
def test_links_to_runs_are_for_those_who_may_open_them(page: str, jobs: None) -> None:
    ran("mine")
    job_alone = logged_in("view_djangojob").get(page)
    assert "Executed" in job_alone.text
    assert RUNS not in job_alone.text
    assert RUNS in logged_in("view_djangojob", "view_djangojobexecution").get(page).text
