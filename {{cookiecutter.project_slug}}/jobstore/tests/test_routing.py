"""The jobs live in a database of their own; nothing of them is in the default one."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import Client
from django.test.signals import setting_changed
from pytest_django.plugin import DjangoDbBlocker

from jobstore.health import answers
from jobstore.housekeeping import prune
from jobstore.models import DjangoJob, DjangoJobExecution, SchedulerInstance, SchedulerLease
from jobstore.tests import callables
from jobstore.tests.conftest import StartScheduler, eventually
from jobstore.tests.processes import SchedulerCommand, database_url
from jobstore.tests.routers import ALIAS

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", ALIAS])

Run = DjangoJobExecution
JOBS = "/admin/jobstore/djangojob/"


@pytest.fixture(scope="module", autouse=True)
def _jobs_database(
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[None]:
    """Move the job store's tables to a second database as long as these tests run."""
    default = connections["default"].settings_dict
    name = default["NAME"]
    if connections["default"].vendor == "sqlite":
        name = tmp_path_factory.mktemp("jobs") / "jobs.sqlite3"
    test = default["TEST"] | {"NAME": f"{name}_jobs" if isinstance(name, str) else name}
    with django_db_blocker.unblock():
        call_command("migrate", "jobstore", "zero", verbosity=0)
        connections.databases[ALIAS] = default | {"TEST": test}
        route(["jobstore.tests.routers.JobsElsewhere"])
        call_command("migrate", verbosity=0)
        connections[ALIAS].creation.create_test_db(verbosity=0, autoclobber=True)
        yield
        connections[ALIAS].creation.destroy_test_db(default["NAME"], verbosity=0)
        route([])
        connections[ALIAS].close()
        del connections[ALIAS], connections.databases[ALIAS]
        # With a router, a migration counts as done where it had nothing to do.
        call_command("migrate", "jobstore", "zero", fake=True, verbosity=0)
        call_command("migrate", verbosity=0)


def route(routers: list[str]) -> None:
    """Put routers in place, as `override_settings` would."""
    from django.conf import settings

    settings.DATABASE_ROUTERS = routers
    setting_changed.send(sender=None, setting="DATABASE_ROUTERS", value=routers, enter=True)


def tables(alias: str) -> set[str]:
    names = connections[alias].introspection.table_names()
    return {name for name in names if name.startswith("jobstore_")}


@pytest.fixture(autouse=True)
def _nothing_in_default(transactional_db: None) -> Iterator[None]:
    """Whatever a test does, the default database is left out of it."""
    yield
    assert tables("default") == set()


def test_the_tables_are_in_the_database_of_the_jobs_alone() -> None:
    assert len(tables(ALIAS)) == 6
    assert tables("default") == set()
    assert "auth_user" not in connections[ALIAS].introspection.table_names()


def test_jobs_run_and_leave_their_history_there(start_scheduler: StartScheduler) -> None:
    scheduler = start_scheduler()
    scheduler.add_job(callables.note, "interval", seconds=1, id="tick")
    scheduler.add_job(callables.fail, id="bad", misfire_grace_time=None)
    eventually(lambda: Run.objects.using(ALIAS).filter(status=Run.SUCCESS).count() >= 2)
    eventually(lambda: Run.objects.using(ALIAS).filter(status=Run.ERROR).exists())
    assert SchedulerLease.objects.using(ALIAS).get().epoch == 1
    assert answers.scheduler(ALIAS)[0] == answers.OK
    scheduler.pause_job("tick")
    scheduler.remove_job("tick")
    assert not scheduler.get_jobs()


def test_the_admin_asks_for_runs_and_shows_them(
    start_scheduler: StartScheduler, admin_client: Client, admin_user: Any
) -> None:
    start_scheduler().add_job(callables.note, "interval", hours=1, id="job")
    eventually(lambda: SchedulerLease.objects.using(ALIAS).filter(epoch=1).exists())
    form = {"action": "run_selected_jobs", "_selected_action": ["job"]}
    answer = admin_client.post(JOBS, form, follow=True)
    [message] = [str(one) for one in answer.context["messages"]]
    assert message.startswith("Job job ran in")
    run = Run.objects.using(ALIAS).get()
    assert (run.status, run.requested_by) == (Run.SUCCESS, admin_user.get_username())
    assert LogEntry.objects.using("default").get().object_id == "job"
    history = f"/admin/jobstore/djangojobexecution/{run.pk}/change/"
    for page in (JOBS, f"{JOBS}job/change/", "/admin/jobstore/schedulerinstance/", history):
        assert admin_client.get(page).status_code == 200


@pytest.mark.parametrize(
    ("action", "states"),
    [
        ("pause_selected_jobs", {"next_run_time": None}),
        ("retire_selected_jobs", {"next_run_time": None}),
    ],
)
def test_the_admin_pauses_resumes_and_retires(
    start_scheduler: StartScheduler, admin_client: Client, action: str, states: dict[str, Any]
) -> None:
    start_scheduler().add_job(callables.note, "interval", hours=1, id="job")
    form = {"_selected_action": ["job"], "post": "yes"}
    admin_client.post(JOBS, form | {"action": action})
    assert DjangoJob.all_objects.filter(**states).using(ALIAS).exists()
    admin_client.post(JOBS, form | {"action": "resume_selected_jobs"})
    resumed = DjangoJob.objects.using(ALIAS).filter(next_run_time__isnull=False).exists()
    assert resumed == (action == "pause_selected_jobs")


def test_history_is_pruned_there(start_scheduler: StartScheduler) -> None:
    start_scheduler().add_job(callables.note, id="job", misfire_grace_time=None)
    eventually(lambda: Run.objects.using(ALIAS).filter(status=Run.SUCCESS).exists())
    assert prune(days=0, keep_per_job=0).runs == 1
    call_command("prune_job_history", verbosity=0)
    assert not Run.objects.using(ALIAS).exists()


def test_probes_of_the_web_ask_there(client: Client) -> None:
    answer = client.get("/health/scheduler")
    assert answer.status_code == 503
    assert "No scheduler is active" in answer.json()["reason"]
    assert client.get("/health/ready").status_code == 200


def test_checks_look_there() -> None:
    call_command("check", databases=["default", ALIAS], fail_level="WARNING")


@pytest.mark.slow
def test_the_command_runs_declared_jobs_there(tmp_path: Path) -> None:
    command = SchedulerCommand(
        tmp_path / "log",
        DJANGO_SETTINGS_MODULE="jobstore.tests.routed_settings",
        JOBS_DATABASE_URL=jobs_url(),
    )
    try:
        eventually(command.is_active, 20)
        ran = Run.objects.using(ALIAS).filter(job="tick", status=Run.SUCCESS)
        eventually(ran.exists, 20)
        DjangoJob.objects.using(ALIAS).get(pk="nap").request_run("test")
        nap = Run.objects.using(ALIAS).filter(job="nap", status=Run.SUCCESS)
        eventually(nap.exists, 20)
        assert command.end() == 0
    finally:
        command.kill()
    [process] = SchedulerInstance.objects.using(ALIAS).all()
    assert process.role == SchedulerInstance.Role.STOPPED


def test_the_command_names_migrations_that_are_missing_there() -> None:
    call_command("migrate", "jobstore", "zero", database=ALIAS, verbosity=0)
    try:
        with pytest.raises(CommandError, match=r"jobstore\.0001_initial"):
            call_command("runapscheduler")
    finally:
        call_command("migrate", database=ALIAS, verbosity=0)


def jobs_url() -> str:
    """Return the address of the jobs' database for another process."""
    name = str(connections[ALIAS].settings_dict["NAME"])
    default = str(connections["default"].settings_dict["NAME"])
    return re.sub(f"{re.escape(default)}$", name.replace("\\", r"\\"), database_url())
