"""Schedules are shown so that nobody misreads them: weekdays by name, and foreign zones."""

import datetime as dt
import logging
from typing import Any

import pytest
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.calendarinterval import CalendarIntervalTrigger
from apscheduler.triggers.combining import AndTrigger, OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils.translation import override
from pytest_django.fixtures import Settings

from jobstore import registry
from jobstore.admin.words import in_words
from jobstore.checks import fresh_start
from jobstore.jobstores import DjangoJobStore
from jobstore.models import DeclarationProblem, DjangoJob, database_now
from jobstore.registry import crontab, scheduled
from jobstore.schedules.next_times import first_run_time
from jobstore.schedules.wording import describe, weekday_question
from jobstore.tests import callables
from jobstore.util import as_aware

ZONE = "UTC"  # the project's


def cron(zone: str = ZONE, **options: Any) -> CronTrigger:
    return CronTrigger(timezone=zone, **options)


@pytest.fixture(autouse=True)
def _zone(settings: Settings) -> None:
    settings.TIME_ZONE = ZONE


@pytest.mark.parametrize(
    ("trigger", "shown"),
    [
        (cron(day_of_week=0), "cron[day_of_week='mon']"),
        (cron(day_of_week="6", hour=2), "cron[day_of_week='sun', hour='2']"),
        (cron(day_of_week="0-4"), "cron[day_of_week='mon-fri']"),
        (cron(day_of_week="*/2"), "cron[day_of_week='mon,wed,fri,sun']"),
        (cron(day_of_week="1/3"), "cron[day_of_week='tue,fri']"),
        (cron(day_of_week="0-6"), "cron[day_of_week='*']"),
        (cron(day_of_week="mon-fri,6"), "cron[day_of_week='mon-fri,sun']"),
        (cron(day_of_week="mon,wed"), "cron[day_of_week='mon,wed']"),
        (cron(day="last", hour=3), "cron[day='last', hour='3']"),
        (cron("Asia/Tokyo", hour=3), "cron[hour='3'] Asia/Tokyo"),
        (
            CronTrigger.from_crontab("0 2 * * 0", ZONE),
            "cron[month='*', day='*', day_of_week='mon',",
        ),
        (
            OrTrigger([cron("Asia/Tokyo", day_of_week=6), cron(day="1")]),
            "or[cron[day_of_week='sun'] Asia/Tokyo, cron[day='1']]",
        ),
        (AndTrigger([cron(day_of_week="0")]), "and[cron[day_of_week='mon']]"),
        (
            CalendarIntervalTrigger(months=1, days=2, hour=3, timezone="Asia/Tokyo"),
            "calendarinterval[months=1, days=2, time='03:00:00'] Asia/Tokyo",
        ),
        (IntervalTrigger(hours=1, timezone="Asia/Tokyo"), "interval[1:00:00]"),
        (DateTrigger("2031-01-01", timezone="Asia/Tokyo"), "date[2031-01-01 00:00:00 JST]"),
    ],
)
def test_a_trigger_shows_names_of_weekdays_and_foreign_zones(
    trigger: BaseTrigger, shown: str
) -> None:
    assert describe(trigger).startswith(shown)


@pytest.mark.parametrize(
    ("trigger", "words"),
    [
        (cron(day_of_week=6, hour=2), "sun at 02:00"),
        (cron("Asia/Tokyo", hour=2, minute=30), "every day at 02:30 (Asia/Tokyo)"),
        (
            crontab("0 0 13 * 5", ZONE),
            "on day 13 at 00:00, or fri at 00:00",
        ),
        (
            AndTrigger([cron(day_of_week="fri", hour=1), cron("Asia/Tokyo", day="13")]),
            "fri at 01:00, and also on day 13 at 00:00 (Asia/Tokyo)",
        ),
        (
            OrTrigger([OrTrigger([cron(hour=1), cron(hour=2)]), IntervalTrigger(hours=3)]),
            "every day at 01:00, or every day at 02:00, or every 3 hours",
        ),
        (CalendarIntervalTrigger(days=1, hour=3, timezone=ZONE), "every day at 03:00"),
        (
            CalendarIntervalTrigger(months=2, hour=3, second=7, timezone="Asia/Tokyo"),
            "every 2 months at 03:00:07 (Asia/Tokyo)",
        ),
        (
            CalendarIntervalTrigger(years=1, weeks=2, timezone=ZONE),
            "every 1 year 2 weeks at 00:00",
        ),
    ],
)
def test_a_trigger_is_said_in_words(trigger: BaseTrigger, words: str) -> None:
    assert in_words(describe(trigger)) == words


def test_words_that_are_kept_are_those_of_the_reader() -> None:
    told = {}
    for language in ("de", "en", "de"):
        with override(language):
            told[language] = in_words("interval[1 day, 0:00:00]")
    assert told == {"en": "every day", "de": "jeden Tag"}


@pytest.mark.parametrize(
    "text", ["", "or[", "or[x, y]", "cron", "own[1]", "interval[soon] UTC", "]["]
)
def test_a_text_that_is_not_understood_is_shown_as_it_is(text: str) -> None:
    assert in_words(text) == text


@pytest.mark.parametrize(
    ("trigger", "meant"),
    [
        (cron(day_of_week="0"), "mon"),
        (cron(day_of_week=6), "sun"),
        (cron(day_of_week="1-5"), "tue-sat"),
        (cron(day_of_week="*/2"), "mon,wed,fri,sun"),
        (cron(day_of_week="mon,2"), "wed"),
        (CronTrigger.from_crontab("0 2 * * 0"), "mon"),
        (OrTrigger([cron(hour=1), AndTrigger([cron(day_of_week=3)])]), "thu"),
    ],
)
def test_weekdays_as_numbers_are_questioned(trigger: BaseTrigger, meant: str) -> None:
    assert f" means {meant}, " in weekday_question(trigger)


@pytest.mark.parametrize(
    "trigger",
    [
        cron(day_of_week="mon-fri"),
        cron(day_of_week="*"),
        cron(day_of_week="0-6"),
        cron(hour=1),
        crontab("0 2 * * 0"),
        crontab("0 0 13 * 5"),
        crontab("0 0 * * 5#2"),
        IntervalTrigger(hours=1),
        DateTrigger(),
        OrTrigger([cron(hour=1)]),
    ],
)
def test_names_of_weekdays_are_not_questioned(trigger: BaseTrigger) -> None:
    assert weekday_question(trigger) == ""


# --- Where it is told ---------------------------------------------------------------------------


@pytest.fixture
def _declared(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.declarations()
    monkeypatch.setattr(registry, "_declared", {})
    scheduled("cron", id="job", day_of_week="0", hour=3)(callables.note)
    scheduled("cron", id="tokyo", hour=3, timezone="Asia/Tokyo")(callables.note)


@pytest.mark.django_db
@pytest.mark.usefixtures("_declared")
def test_check_tells_of_numbers_and_shows_names(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fresh_start, "SEEDS", ())  # where nothing declares these jobs
    call_command("runapscheduler", check=True)
    output = capsys.readouterr()
    assert "job  cron[day_of_week='mon', hour='3']  first run" in output.out
    assert "tokyo  cron[hour='3'] Asia/Tokyo  first run" in output.out
    assert "'job': day_of_week='0' means mon, since" in output.err


@pytest.mark.django_db
@pytest.mark.usefixtures("_declared")
def test_a_dry_run_shows_names(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("runapscheduler", dry_run=True)
    assert "add     job  cron[day_of_week='mon', hour='3']" in capsys.readouterr().out


@pytest.mark.django_db
@pytest.mark.usefixtures("_declared")
def test_a_start_logs_numbers_and_stores_the_question(
    caplog: pytest.LogCaptureFixture, admin_client: Client
) -> None:
    registry.sync(DjangoJobStore(), BackgroundScheduler(timezone=ZONE))
    warnings = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert [one for one in warnings if "means mon" in one]
    assert "means mon" in DeclarationProblem.objects.get(subject="job").text
    assert DjangoJob.objects.get(pk="job").trigger == "cron[day_of_week='mon', hour='3']"
    page = admin_client.get(reverse("admin:jobstore_djangojob_changelist")).content.decode()
    assert "mon at 03:00" in page and "every day at 03:00 (Asia/Tokyo)" in page


@pytest.mark.django_db(transaction=True)  # the elector writes from a thread of its own
def test_a_program_that_adds_a_job_is_told_of_numbers(caplog: pytest.LogCaptureFixture) -> None:
    scheduler = BackgroundScheduler(jobstores={"default": DjangoJobStore()}, timezone=ZONE)
    scheduler.start(paused=True)
    try:
        scheduler.add_job(callables.note, CronTrigger.from_crontab("0 2 * * 0"), id="job")
    finally:
        scheduler.shutdown()
    assert "Job 'job': day_of_week='0' means mon" in caplog.text


# --- The first time -----------------------------------------------------------------------------

DAILY = CalendarIntervalTrigger(days=1, hour=3, start_date="2020-01-01", timezone=ZONE)


@pytest.mark.parametrize("trigger", [DAILY, OrTrigger([DAILY]), OrTrigger([DAILY, DAILY])])
def test_a_calendar_interval_that_began_long_ago_is_next_due_from_now_on(
    trigger: BaseTrigger,
) -> None:
    at = dt.datetime(2031, 5, 5, 12, tzinfo=dt.UTC)
    assert first_run_time(trigger, at) == dt.datetime(2031, 5, 6, 3, tzinfo=dt.UTC)


def test_a_moment_in_the_past_is_still_due() -> None:
    past = dt.datetime(2031, 1, 1, tzinfo=dt.UTC)
    assert first_run_time(DateTrigger(past), past + dt.timedelta(hours=1)) == past


@pytest.mark.django_db
@pytest.mark.usefixtures("_declared")
def test_a_calendar_interval_that_is_declared_or_resumed_makes_up_for_nothing() -> None:
    registry._declared.clear()
    scheduled(DAILY, id="job")(callables.note)
    registry.sync(DjangoJobStore(), BackgroundScheduler(timezone=ZONE))
    before = as_aware(database_now("default"))
    for _ in range(2):
        job = DjangoJob.objects.get()
        assert job.next_run_time is not None and as_aware(job.next_run_time) >= before
        assert job.pause() and job.resume()
