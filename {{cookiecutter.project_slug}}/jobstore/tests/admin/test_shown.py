"""What the pages say of a job and of a run is so, and says what to do about it."""

import datetime as dt
import re
from pathlib import Path

import pytest
from django.contrib import admin
from django.template import Context, Template
from django.test import Client
from pytest_django.fixtures import Settings

from config.urls import SITE_NAME
from jobstore import api, versions
from jobstore.models import DjangoJob, SchedulerInstance, database_now
from jobstore.tests.admin.test_admin import (
    JOBS,
    RUNS,
    SCHEDULERS,
    Run,
    hold_lease,
    job_page,
    page,
    ran,
    store,
)

pytestmark = pytest.mark.django_db

HOUR = dt.timedelta(hours=1)


def text_of(html: str) -> str:
    """Return what a page says, without its tags."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def quarantine(**fields: object) -> None:
    store()
    now = database_now("default")
    why = {"quarantined_at": now, "quarantine_reason": "module 'x' is gone"}
    DjangoJob.objects.update(**why, next_run_time=now - HOUR, **fields)


# --- A run that is running ------------------------------------------------------------------------


def running(seconds: float) -> Run:
    return ran(
        status=Run.RUNNING, started_at=database_now("default") - dt.timedelta(seconds=seconds)
    )


def test_a_running_run_shows_how_long_it_has_run_and_how_long_it_usually_takes(
    admin_client: Client,
) -> None:
    store()
    ran(ago=60, duration=2)
    ran(ago=50, duration=4)
    run = running(100)
    for address in (RUNS, f"{RUNS}{run.pk}/change/"):
        assert re.search(
            r"1 min 4\d s so far, usually 3\.000 s", text_of(page(admin_client, address))
        )


def test_lists_and_pages_of_jobs_show_how_long_a_run_has_run(admin_client: Client) -> None:
    store()
    running(100)
    assert re.search(r"1, for 10\d s", text_of(page(admin_client, JOBS)))
    text = text_of(page(admin_client, job_page()))
    assert re.search(r"1, for 10\d s", text)
    assert re.search(r"1 min 4\d s so far", text)


def test_a_run_of_a_job_that_nobody_knows_shows_how_long_it_has_run(admin_client: Client) -> None:
    ran("gone", Run.RUNNING, started_at=database_now("default") - 2 * HOUR)
    assert "2 h so far" in text_of(page(admin_client, RUNS))


# --- Quarantine -----------------------------------------------------------------------------------


def test_a_quarantined_job_says_how_it_is_repaired(admin_client: Client) -> None:
    quarantine()
    text = text_of(page(admin_client, job_page()))
    assert "This job does not run: it cannot be restored. module &#x27;x&#x27; is gone" in text
    assert "retry_quarantined_jobs" in text


def test_a_declared_job_in_quarantine_comes_back_with_the_next_start(admin_client: Client) -> None:
    quarantine(declaration="digest")
    assert "next start of the scheduler stores the job anew" in page(admin_client, job_page())


def test_a_quarantined_job_offers_what_makes_sense(admin_client: Client) -> None:
    quarantine()
    buttons = admin_client.get(job_page()).context["buttons"]
    assert list(buttons.values()) == ["Try again", "Retire"]


@pytest.mark.parametrize("address", [JOBS, f"{JOBS}job/change/"])
def test_a_quarantined_job_promises_no_next_run(
    admin_client: Client, settings: Settings, address: str
) -> None:
    settings.APSCHEDULER_DATETIME_FORMAT = "Y-m-d H:i:s"
    quarantine()
    promised = dt.datetime(2020, 1, 1, 10, tzinfo=dt.UTC)
    DjangoJob.objects.update(next_run_time=promised)
    assert "2020-01-01" not in page(admin_client, address)


def test_other_jobs_say_nothing_of_repairs(admin_client: Client) -> None:
    store()
    assert "jobstore-quarantine" not in page(admin_client, job_page())


# --- What the code declares -----------------------------------------------------------------------


def test_a_job_that_is_not_declared_says_so(admin_client: Client) -> None:
    store()
    assert 'readonly">no</div>' in page(admin_client, job_page())


def test_a_declared_job_shows_what_is_stored_otherwise(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    store()
    DjangoJob.objects.update(declaration="digest")
    differences = [
        api.Difference("schedule", "interval[0:00:10]", "interval[1:00:00]", is_edited=True),
        api.Difference("max_instances", 1, 2, is_edited=False),
    ]
    monkeypatch.setattr(api, "differs_from_code", lambda job: differences)
    text = text_of(page(admin_client, job_page()))
    assert (
        "schedule : every 10 seconds, while the code says every hour (it was changed here" in text
    )
    assert "max_instances : 1, while the code says 2 (the scheduler has not taken it over)" in text
    monkeypatch.setattr(api, "differs_from_code", lambda job: [])
    assert 'readonly">yes</div>' in page(admin_client, job_page())


def test_a_list_marks_declared_jobs_that_somebody_edited(admin_client: Client) -> None:
    store()
    assert ">edited</span>" not in page(admin_client, JOBS)
    api.reschedule("job", "interval", minutes=7)
    DjangoJob.objects.update(declaration="digest")
    text = page(admin_client, JOBS)
    assert ">edited</span>" in text
    assert "Somebody changed what the code declares: schedule" in text


# --- Zones, names and versions --------------------------------------------------------------------


def test_every_page_says_in_which_zone_its_times_are(
    admin_client: Client, settings: Settings
) -> None:
    settings.TIME_ZONE = "Asia/Tokyo"
    store()
    run, instance = ran(), hold_lease()
    pages = [JOBS, RUNS, SCHEDULERS, job_page(), f"{RUNS}{run.pk}/change/"]
    for address in [*pages, f"{SCHEDULERS}{instance.pk}/change/"]:
        text = text_of(page(admin_client, address))
        assert text.count("Times are in Asia/Tokyo (UTC+09:00).") == 1, address


def test_utc_is_said_to_be_utc(settings: Settings) -> None:
    settings.TIME_ZONE = "UTC"
    assert Template("{% load jobstore_lists %}{% page_zone %}").render(Context()) == "UTC"


def test_the_site_has_the_projects_name(admin_client: Client) -> None:
    assert admin.site.site_header == admin.site.site_title == SITE_NAME
    text = page(admin_client, JOBS)
    assert SITE_NAME in text
    assert "Django administration" not in text


def test_a_scheduler_shows_its_version_and_what_the_site_runs_on(admin_client: Client) -> None:
    instance = hold_lease()
    SchedulerInstance.objects.update(version="shop:2026.11")
    for address in (SCHEDULERS, f"{SCHEDULERS}{instance.pk}/change/"):
        text = page(admin_client, address)
        assert ">shop:2026.11</span>" in text
        assert f"This site runs on {versions.of_apscheduler()}" in text


def test_the_version_is_the_projects_then_gits_then_that_of_apscheduler(
    tmp_path: Path, settings: Settings
) -> None:
    settings.SCHEDULER_VERSION, settings.BASE_DIR = "", tmp_path
    assert versions.of_project() == versions.of_apscheduler()
    git = tmp_path / ".git"
    git.mkdir()
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    assert versions.of_project() == versions.of_apscheduler()  # nothing was committed yet
    (git / "packed-refs").write_text(f"# pack-refs\n{'a' * 40} refs/heads/main\n")
    assert versions.of_project() == f"commit {'a' * 12}"
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "refs" / "heads" / "main").write_text(f"{'b' * 40}\n")
    assert versions.of_project() == f"commit {'b' * 12}"
    settings.SCHEDULER_VERSION = "shop:2026.11"
    assert versions.of_project() == "shop:2026.11"


def test_a_further_working_copy_knows_its_commit(tmp_path: Path) -> None:
    data, copy = tmp_path / "data" / "worktrees" / "copy", tmp_path / "copy"
    data.mkdir(parents=True)
    copy.mkdir()
    (copy / ".git").write_text(f"gitdir: {data}\n")
    (data / "HEAD").write_text("ref: refs/heads/topic\n")
    (data / "commondir").write_text("../..\n")
    topic = tmp_path / "data" / "refs" / "heads" / "topic"
    topic.parent.mkdir(parents=True)
    topic.write_text(f"{'c' * 40}\n")
    assert versions.commit(copy) == f"commit {'c' * 12}"
    (data / "HEAD").write_text(f"{'d' * 40}\n")
    assert versions.commit(copy) == f"commit {'d' * 12}"


# --- Narrow screens -------------------------------------------------------------------------------


@pytest.mark.parametrize("address", [JOBS, RUNS, SCHEDULERS])
def test_each_cell_names_its_column(admin_client: Client, address: str) -> None:
    store()
    ran()
    hold_lease()
    text = page(admin_client, address)
    cells = re.findall(r"<t[dh][^>]*class=\"field-[^>]*>", text)
    assert len(cells) > 5
    assert [cell for cell in cells if 'data-label="' not in cell] == []
