"""Every page speaks the reader's language: each word is translated, Django's own, or data.

The pages are rendered in German with a catalogue that puts marks around each message of ours, not
around what is put into it. All words outside of marks must be Django's German, or test data.
"""

import datetime as dt
import gettext
import html.parser
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django
import pytest
from apscheduler.triggers.calendarinterval import CalendarIntervalTrigger
from apscheduler.triggers.combining import AndTrigger, OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger
from django.test import Client
from django.utils.translation import override
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from pytest_django.fixtures import Settings

from config.urls import SITE_NAME
from jobstore import api, registry
from jobstore.admin import schedule_rows, words
from jobstore.admin.words import in_words
from jobstore.models import DeclarationProblem, DjangoJob, SchedulerInstance, database_now
from jobstore.schedules.wording import describe
from jobstore.sentences import shown
from jobstore.tests import callables, catalogues
from jobstore.tests.admin.test_admin import (
    JOBS,
    RUNS,
    SCHEDULERS,
    Run,
    act,
    hold_lease,
    job_page,
    ran,
    store,
)
from jobstore.tests.admin.test_schedule_editor import filled
from jobstore.tests.api import offers
from jobstore.tests.schedules.test_words import crons

pytestmark = pytest.mark.django_db

BEGIN, END = "⟦", "⟧"
PLACEHOLDER = re.compile(r"(%\(\w+\)[-+.\d]*[a-z]|%%)")
MARKED = re.compile(f"{BEGIN}[^{BEGIN}{END}]*{END}")
# Attributes that people read or hear.
READ = ("title", "placeholder", "aria-label", "alt", "label")
ASKS = "jobstore.tests.api.offers.greet"
# Names of zones are the same in every language.
ZONES = re.compile(r'<select[^>]* name="timezone".*?</select>', re.DOTALL)
# What is data: ids, names of functions and users, notations, versions, and texts that are stored.
DATA = (
    r"jobstore[.:][\w.:]+|Remember a greeting|\b(?:Times|Loudly):",
    r"\b(?:jobstore|tests|api|offers|callables|greet|note)\b",
    r"\b(?:cron|interval|date)\[[^\]]*\]|\b\w+='[^']*'",
    r"\b(?:zeta|eta|kappa|omega)-\d|\bsomewhere:\d+|\bsupplier\b|\bboom\b",
    r"\bValueError\b|\bTraceback\b|\bAPScheduler [\d.]+|\bUTC\b|\badmin(?:@example\.com)?\b",
    r"\bpython manage\.py [\w -]+|\bName\w* of an offer\b|[0-9a-f]{8}-[0-9a-f-]{27}",
    # Names of the code, and what crontab and JSON call things.
    r"\b(?:max_instances|misfire_grace_time|on_lost|default|true|false|None|name=|times=|loudly=)",
    r"\b(?:mon|tue|wed|thu|fri|sat|sun|jan|dec|last|2nd)\b",
    # Units.
    r"\bs\b",
)


class Texts(html.parser.HTMLParser):
    """Collects what a page says."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._silent += tag in ("script", "style")
        is_button = tag == "input" and given.get("type") in ("submit", "button")
        read = [*READ, *(["value"] if is_button else [])]
        self.found += [given[name] or "" for name in read if name in given]
        said = ("data-label", "data-pause", "data-resume", "data-live", "data-paused")
        self.found += [given[name] or "" for name in said if name in given]

    def handle_endtag(self, tag: str) -> None:
        self._silent -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.found.append(data)


def djangos() -> set[str]:
    """Return the words of Django's own catalogues."""
    found: set[str] = set()
    for path in Path(django.__path__[0]).rglob("locale/de/LC_MESSAGES/django.mo"):
        with path.open("rb") as file:
            for text in gettext.GNUTranslations(file)._catalog.values():  # type: ignore[attr-defined]
                found |= set(re.findall(r"[^\W\d_]+", text.lower()))
    return found


DJANGOS = djangos()


def only_english() -> set[str]:
    """Return Django's own messages that it has not translated, without what is put into them."""
    german: set[str] = set()
    english: set[str] = set()
    for path in Path(django.__path__[0]).rglob("locale/de/LC_MESSAGES/django.mo"):
        with path.open("rb") as file:
            german |= {str(key) for key in gettext.GNUTranslations(file)._catalog}  # type: ignore[attr-defined]
        source = path.parents[2] / "en" / "LC_MESSAGES" / "django.po"
        english |= {entry.message.id for entry in catalogues.entries(source)}
    return {PLACEHOLDER.sub("", text).strip() for text in english - german}


ONLY_ENGLISH = only_english()


def marked(text: str) -> str:
    """Return a message with marks around all but what is put into it."""
    parts = PLACEHOLDER.split(text)
    return "".join(
        part if PLACEHOLDER.fullmatch(part) or not part else f"{BEGIN}{part}{END}" for part in parts
    )


def unmarked(text: str) -> str:
    """Return a text without what is marked. Marks may hold others, and elements."""
    before = ""
    while before != text:
        before, text = text, MARKED.sub(" ", text)
    return text


def unsaid(text: str) -> str:
    """Return what of a text is neither marked nor data nor Django's."""
    text = unmarked(text)
    for one in DATA:
        text = re.sub(one, " ", text)
    words = re.findall(r"[^\W\d_]+", text.replace(SITE_NAME, " "))
    return " ".join(word for word in words if word.lower() not in DJANGOS)


def english_on(page: str) -> list[str]:
    texts = Texts()
    texts.feed(ZONES.sub("", unmarked(page)))
    return [text for text in texts.found if unsaid(text) and text.strip() not in ONLY_ENGLISH]


@pytest.fixture(autouse=True)
def _marked(tmp_path: Path, settings: Settings) -> Iterator[None]:
    """Put marks around each message of ours."""
    messages = {}
    for message in catalogues.messages():
        if message.context.startswith("format"):
            continue
        forms = [message.id, message.plural] if message.plural else [message.id]
        messages[message] = [marked(text) for text in forms]
    folder = tmp_path / "de" / "LC_MESSAGES"
    folder.mkdir(parents=True)
    plural_forms = "nplurals=2; plural=(n != 1);"
    (folder / "django.mo").write_bytes(catalogues.compiled(messages, plural_forms))
    settings.LOCALE_PATHS = [tmp_path]
    settings.LANGUAGE_CODE = "de"
    settings.TIME_ZONE = "UTC"
    # Words and fields are kept by language, whatever catalogue they were made with.
    words._in_words.cache_clear()
    schedule_rows._kept.clear()
    yield
    words._in_words.cache_clear()
    schedule_rows._kept.clear()


@pytest.fixture
def _offered(nothing_declared: None) -> None:
    registry.schedulable(name="Name of an offer")(offers.greet)


@pytest.fixture
def shop(_offered: None) -> Run:
    """Jobs and runs in each of their states; return a run that failed."""
    store("zeta-1", offers.greet, args=["supplier"], trigger=CronTrigger(hour=3, timezone="UTC"))
    store("zeta-2", paused=True)
    DjangoJob.objects.filter(pk="zeta-2").update(pause_reason="supplier")
    store("eta-1")
    now = database_now("default")
    DjangoJob.objects.filter(pk="eta-1").update(quarantined_at=now, quarantine_reason="boom")
    store("kappa-1")
    api.retire("kappa-1")
    api.reschedule("zeta-2", "interval", minutes=7, by="supplier")
    DjangoJob.objects.filter(pk="zeta-2").update(declaration="digest")
    DeclarationProblem.objects.create(subject="zeta-1", text="boom", noticed_at=now)
    hold_lease()
    for number, status in enumerate(Run.STATUSES):
        started = now - dt.timedelta(seconds=60 * number)
        long = dt.timedelta(seconds=number)
        finished = {} if status in Run.UNFINISHED else {"duration": number, "finished": started}
        ran("zeta-1", status, ago=60 * number + 5, started_at=started + long, **finished)
    return ran("zeta-1", Run.ERROR, exception_type="ValueError", exception="boom", times=3)


PAGES = {
    "the overview": "/admin/jobstore/",
    "the overview's own page": "/admin/jobstore/overview/",
    "jobs": JOBS,
    "jobs that are quarantined": f"{JOBS}?state=quarantined&next_before=2030-01-01",
    "jobs of a filter that is wrong": f"{JOBS}?state=omega-1&next_before=omega-1",
    "a job": job_page("zeta-1"),
    "a paused job": job_page("zeta-2"),
    "a quarantined job": job_page("eta-1"),
    "a retired job": job_page("kappa-1"),
    "a schedule": f"{JOBS}zeta-1/schedule/",
    "options": f"{JOBS}zeta-1/options/",
    "a clone": f"{JOBS}zeta-1/clone/",
    "the choice of a function": f"{JOBS}add/",
    "a new job": f"{JOBS}add/?function={ASKS}",
    "runs": RUNS,
    "runs that are filtered": f"{RUNS}?status=Error!&delay_over=0.5&job=zeta-1",
    "all that match": f"{RUNS}all/run-again/",
    "all requests": f"{RUNS}all/cancel/",
    "schedulers": SCHEDULERS,
    "the audit": "/admin/jobstore/auditentry/",
}


@pytest.mark.usefixtures("shop")
@pytest.mark.parametrize("address", PAGES.values(), ids=PAGES)
def test_a_page_is_in_the_readers_language(admin_client: Client, address: str) -> None:
    answer = admin_client.get(address, follow=True)
    assert answer.status_code == 200
    text = answer.content.decode()
    assert BEGIN in text
    assert english_on(text) == []


@pytest.mark.usefixtures("shop")
def test_the_pages_of_a_run_and_of_a_scheduler_are_in_the_readers_language(
    admin_client: Client,
) -> None:
    [instance] = SchedulerInstance.objects.all()
    runs = [f"{RUNS}{key}/change/" for key in Run.objects.values_list("pk", flat=True)]
    for address in [*runs, f"{SCHEDULERS}{instance.pk}/change/"]:
        assert english_on(admin_client.get(address).content.decode()) == [], address


@pytest.mark.usefixtures("shop")
def test_a_preview_and_mistakes_are_in_the_readers_language(admin_client: Client) -> None:
    address = f"{JOBS}zeta-1/schedule/"
    for wrong in (
        {"kind": "crontab", "crontab": "0 3 * * 1-5"},
        {"kind": "crontab", "crontab": "99 x"},
        {"kind": "crontab", "crontab": "99 3 * * *"},
        {"kind": "crontab", "crontab": "? 3 * * *"},
        {"kind": "interval", "every": "", "unit": "hours"},
        {"kind": "interval", "every": "0.01", "unit": "seconds"},
        {"kind": "date", "run_at": "2001-01-01T00:00"},
        {"kind": "date", "run_at": ""},
        {"kind": "cron", "hour": "", "day": "30", "month": "2"},
    ):
        form = filled(admin_client, address) | wrong | {"preview": "1"}
        text = admin_client.post(address, form).content.decode()
        assert english_on(text) == [], wrong


@pytest.mark.usefixtures("shop")
def test_confirmations_and_messages_are_in_the_readers_language(admin_client: Client) -> None:
    form = {"action": "retire_selected_jobs", "_selected_action": ["zeta-1", "zeta-2"]}
    assert english_on(admin_client.post(JOBS, form).content.decode()) == []
    assert english_on(admin_client.get(f"{JOBS}zeta-2/reset/").content.decode()) == []
    jobs = ("zeta-1", "zeta-2", "eta-1", "kappa-1")
    verbs = ("pause", "resume", "retire")
    for action in verbs:
        told = act(admin_client, f"{action}_selected_jobs", *jobs, reason="supplier", post="yes")
        assert told
        assert [text for text in told if unsaid(text)] == []


def test_what_an_operation_refuses_is_english_for_code_and_translated_for_people() -> None:
    with pytest.raises(api.NoSuchJob) as error:
        api.pause("omega-1")
    assert str(error.value) == "There is no job 'omega-1'."
    assert json.loads(json.dumps(error.value.args)) == ["There is no job 'omega-1'."]
    assert shown(error.value) == "⟦There is no job ⟧'omega-1'⟦.⟧"
    with override("en"):
        assert shown(error.value) == "There is no job 'omega-1'."


@pytest.mark.parametrize(
    ("trigger", "fields"),
    [
        ("interval", {"hours": 0}),
        ("interval", {"hours": "5"}),
        ("interval", {"hours": float("inf")}),
        ("interval", {"weeks": 10**9}),
        ("interval", {"hours": 1, "jitter": -1}),
        ("interval", {"hours": 1, "jitter": 10**9}),
        ("interval", {"hours": 1, "start_date": "soon"}),
        ("interval", {"hours": 1, "start_date": "1066-10-14"}),
        ("interval", {"hour": 1}),
        ("cron", {}),
        ("cron", {"hour": " "}),
        ("cron", {"hour": [1, 2]}),
        ("cron", {"hour": 1.5}),
        ("calendarinterval", {"days": -1}),
        ("calendarinterval", {"days": "1"}),
        ("calendarinterval", {"hour": 3}),
        ("@daily", {}),
        ("kron", {}),
        ("and", {}),
        (None, {}),
        (5, {}),
        (dt.timedelta(hours=1), {}),
        (dt.date(2030, 1, 1), {}),
        (CronTrigger(hour=3), {"jitter": 5}),
    ],
    ids=str,
)
def test_what_is_wrong_with_a_schedule_is_said_in_the_readers_language(
    trigger: object, fields: dict[str, Any]
) -> None:
    with pytest.raises(api.InvalidSchedule) as error:
        api.preview(trigger, **fields)
    assert BEGIN not in str(error.value)
    assert BEGIN in shown(error.value)


@hypothesis_settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(crons())
def test_the_words_of_a_schedule_are_all_translated(trigger: CronTrigger) -> None:
    assert unsaid(in_words(describe(trigger))) == ""


def test_the_words_of_other_schedules_are_all_translated() -> None:
    every, day = (
        IntervalTrigger(hours=3, seconds=0.5),
        CalendarIntervalTrigger(weeks=1, timezone="UTC"),
    )
    for trigger in (every, day, OrTrigger([every, day]), AndTrigger([every, day])):
        assert unsaid(in_words(describe(trigger))) == "", describe(trigger)


# --- German itself -------------------------------------------------------------------------------


@pytest.fixture
def german(settings: Settings) -> Iterator[None]:
    """The catalogue itself, without marks."""
    settings.LOCALE_PATHS = []
    words._in_words.cache_clear()
    with override("de"):
        yield


@pytest.mark.usefixtures("german")
@pytest.mark.parametrize(
    ("trigger", "german_words"),
    [
        (CronTrigger(hour=3, timezone="UTC"), "jeden Tag um 03:00"),
        (CronTrigger(day_of_week="mon-fri", hour=6, timezone="UTC"), "Mo-Fr um 06:00"),
        (CronTrigger(day="1,15", timezone="UTC"), "am 1. und 15. um 00:00"),
        (CronTrigger(day="last mon", timezone="UTC"), "am letzten Mo um 00:00"),
        (CronTrigger(minute="*/5", timezone="UTC"), "alle 5 Minuten"),
        (IntervalTrigger(days=1, timezone="UTC"), "jeden Tag"),
        (IntervalTrigger(seconds=1.5, timezone="UTC"), "alle 1,5 Sekunden"),
    ],
)
def test_german_says_when_a_job_runs(trigger: object, german_words: str) -> None:
    assert in_words(describe(trigger)) == german_words


def test_a_page_follows_the_language_of_the_browser(
    admin_client: Client, settings: Settings
) -> None:
    settings.LOCALE_PATHS, settings.LANGUAGE_CODE = [], "en-us"
    store("zeta-1", callables.note)
    for language, word in (("de-AT,de;q=0.9", "Argumente und Optionen ändern"), ("fr", "Change")):
        text = admin_client.get(job_page("zeta-1"), headers={"accept-language": language})
        assert word in text.content.decode()
