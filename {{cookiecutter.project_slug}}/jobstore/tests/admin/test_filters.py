"""Filters find what they say, alone and together, or say why they find nothing."""

import datetime as dt
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlencode

import pytest
from django.http import QueryDict
from django.test import Client
from pytest_django.fixtures import Settings

from jobstore.admin import search
from jobstore.admin.filters import RunFilters
from jobstore.models import DjangoJob, database_now
from jobstore.tests.admin.test_admin import JOBS, RUNS, Run, listed, page, ran, store

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("english_and_utc")]

NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


def run_filters(**given: str | list[str]) -> RunFilters:
    """Return the form as an address with these parameters fills it in."""
    filters = RunFilters.of(QueryDict(urlencode(given, doseq=True)))
    assert filters.is_valid(), filters.errors
    return filters


def found(**given: str | list[str]) -> list[int]:
    return search.find(run_filters(**given), limit=1000).ids


def run_at(minutes: float, job_id: str = "job", status: str = Run.SUCCESS, **fields: Any) -> Run:
    """Write a run that was scheduled so many minutes after noon."""
    when = NOON + dt.timedelta(minutes=minutes)
    return Run.objects.create(job_id=job_id, status=status, run_time=when, **fields)


def told(client: Client, address: str, **query: str) -> str:
    """Return what a list says that shows nothing, since a filter makes no sense."""
    answer = client.get(address, query)
    assert answer.status_code == 200
    assert list(answer.context["cl"].result_list) == []
    [mistake] = answer.context["cl"].filters.mistakes
    assert str(mistake).replace("'", "&#x27;") in answer.content.decode().replace("&lt;", "<")
    return str(mistake)


# --- Each filter of runs --------------------------------------------------------------------------


def started(run: Run, delay: float, **fields: Any) -> Run:
    run.started_at = run.run_time + dt.timedelta(seconds=delay)
    for name, value in fields.items():
        setattr(run, name, value)
    run.save()
    return run


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({"job": "b"}, ["b"]),
        ({"job": "B"}, []),
        ({"status": Run.ERROR}, ["b"]),
        ({"status": [Run.ERROR, Run.MISSED]}, ["b", "c"]),
        ({"scheduled_from": "2026-03-01T12:10"}, ["b", "c", "d"]),
        ({"scheduled_to": "2026-03-01T12:10"}, ["a"]),
        ({"scheduled_from": "2026-03-01T12:10", "scheduled_to": "2026-03-01T12:20:00"}, ["b"]),
        ({"started_from": "2026-03-01T12:10:05"}, ["b", "d"]),
        ({"started_to": "2026-03-01T12:10:05"}, ["a"]),
        ({"delay_over": "4.5"}, ["b", "d"]),
        ({"delay_over": "5"}, ["d"]),
        ({"duration_over": "2"}, ["b"]),
        ({"duration_over": "2.5"}, []),
        ({"duration_over": "1.25"}, ["b"]),
        ({"asked_by": "ann"}, ["a"]),
        ({"exception": "timeout"}, ["b"]),
        ({"text": "disk"}, ["b"]),
        ({"text": "12 mails"}, ["a"]),
        ({"text": "5%"}, ["d"]),
        ({"text": "_"}, []),
    ],
)
def test_each_filter_finds_what_it_names(query: dict[str, Any], wanted: list[str]) -> None:
    started(run_at(0, "a"), 1, duration=1, requested_by="anna", result="sent 12 mails")
    error = {"exception_type": "ReadTimeout", "exception": "the disk is full"}
    started(run_at(10, "b", Run.ERROR), 5, duration="2.5", **error)
    run_at(20, "c", Run.MISSED)
    started(run_at(30, "d", Run.LOST), 10, result="5% done")
    ids = found(**query)
    assert sorted(Run.objects.get(pk=key).job_id for key in ids) == wanted


@pytest.mark.parametrize("known", ["started_at", "claimed_at"])
def test_a_run_that_is_running_counts_as_long_as_it_has_run(known: str) -> None:
    began = database_now("default") - dt.timedelta(seconds=100)
    values: dict[str, Any] = {known: began}
    run = ran(status=Run.RUNNING, **values)
    assert found(duration_over="90") == [run.pk]
    assert found(duration_over="200") == []
    assert found(started_from=(began - dt.timedelta(seconds=1)).isoformat()) == [run.pk]
    assert found(started_from=(began + dt.timedelta(seconds=1)).isoformat()) == []


def test_a_run_that_is_running_is_as_late_as_it_was_claimed() -> None:
    run = run_at(0, status=Run.RUNNING)
    Run.objects.filter(pk=run.pk).update(claimed_at=run.run_time + dt.timedelta(seconds=5))
    assert found(delay_over="4.5") == [run.pk]
    assert found(delay_over="5") == []


def test_times_are_in_the_zone_of_the_page(settings: Settings) -> None:
    settings.TIME_ZONE = "Asia/Tokyo"
    run = run_at(0)
    assert found(scheduled_from="2026-03-01T21:00", scheduled_to="2026-03-01T21:00:01") == [run.pk]
    assert found(scheduled_from="2026-03-01T12:00:00Z", scheduled_to="2026-03-02") == [run.pk]
    assert found(scheduled_from="2026-03-01T21:00:01") == []


def test_of_an_hour_that_comes_twice_both_are_found(settings: Settings) -> None:
    settings.TIME_ZONE = "Europe/Berlin"
    for hour in (0, 1):  # 02:30 in summer time, and again in winter time
        when = dt.datetime(2026, 10, 25, hour, 30, tzinfo=dt.UTC)
        Run.objects.create(job_id="job", status=Run.SUCCESS, run_time=when)
    assert len(found(scheduled_from="2026-10-25T02:30", scheduled_to="2026-10-25T02:31")) == 2


def test_a_time_with_an_offset_is_shown_and_sent_again_in_the_zone_of_the_page(
    settings: Settings,
) -> None:
    settings.TIME_ZONE = "Asia/Tokyo"
    filters = run_filters(scheduled_from="2026-03-01T12:00:00Z")
    assert 'value="2026-03-01T21:00:00"' in str(filters["scheduled_from"])


def test_addresses_of_former_lists_still_work(admin_client: Client) -> None:
    wanted = run_at(0, "one", Run.ERROR, exception="broken")
    run_at(0, "two", Run.ERROR)
    run_at(90, "one", Run.ERROR)
    query = {
        "job__id__exact": "one",
        "status__exact": Run.ERROR,
        "run_time__gte": "2026-03-01 00:00:00+00:00",
        "run_time__lt": "2026-03-01 13:00:00+00:00",
        "q": "broken",
    }
    assert listed(admin_client, RUNS, **query) == {str(wanted.pk)}


# --- All of them together, against a filter that anybody can read ---------------------------------


def text_of(run: Run) -> str:
    parts = (run.job_id, run.exception_type, run.exception or "", run.result or "")
    return "\n".join(parts).lower()


def time_of(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


NAIVE: dict[str, Callable[[Run, Any], bool]] = {
    "job": lambda run, job: run.job_id == job,
    "status": lambda run, statuses: run.status in statuses,
    "scheduled_from": lambda run, when: run.run_time >= time_of(when),
    "scheduled_to": lambda run, when: run.run_time < time_of(when),
    "started_from": lambda run, when: bool(run.started_at and run.started_at >= time_of(when)),
    "started_to": lambda run, when: bool(run.started_at and run.started_at < time_of(when)),
    "delay_over": lambda run, length: (
        run.start_delay is not None and run.start_delay > dt.timedelta(seconds=float(length))
    ),
    "duration_over": lambda run, length: (
        run.duration is not None and run.duration > Decimal(length)
    ),
    "asked_by": lambda run, name: name in run.requested_by,
    "exception": lambda run, name: name.lower() in run.exception_type.lower(),
    "text": lambda run, text: text.lower() in text_of(run),
}


def some_run(chance: random.Random, minute: int) -> Run:
    run = Run(
        job_id=chance.choice(["report", "Report", "sync"]),
        status=chance.choice([Run.SUCCESS, Run.SUCCESS, Run.ERROR, Run.MISSED, Run.LOST]),
        run_time=NOON + dt.timedelta(minutes=minute),
        requested_by=chance.choice(["", "", "anna", "bob"]),
        exception_type=chance.choice(["", "ValueError", "KeyError"]),
        exception=chance.choice([None, "the disk is full", "100% of it"]),
        result=chance.choice([None, "sent 3 mails", ""]),
    )
    if chance.random() < 0.8:
        run.started_at = run.run_time + dt.timedelta(microseconds=chance.randrange(0, 4_000_000, 7))
        run.duration = Decimal(chance.randrange(0, 5_000_000, 13)).scaleb(-6)
    return run


def some_query(chance: random.Random) -> dict[str, Any]:
    def when() -> str:
        moment = NOON + dt.timedelta(seconds=chance.randrange(-60, 3700))
        return moment.strftime("%Y-%m-%dT%H:%M:%S")

    offered: dict[str, Callable[[], Any]] = {
        "job": lambda: chance.choice(["report", "Report", "sync", "nothing"]),
        "status": lambda: chance.sample(Run.STATUSES, chance.randrange(1, 5)),
        **dict.fromkeys(("scheduled_from", "scheduled_to", "started_from", "started_to"), when),
        "delay_over": lambda: f"{chance.randrange(0, 4000) / 1000}",
        "duration_over": lambda: f"{chance.randrange(0, 5000) / 1000}",
        "asked_by": lambda: chance.choice(["anna", "b", "nobody"]),
        "exception": lambda: chance.choice(["Error", "key", "x"]),
        "text": lambda: chance.choice(["disk", "%", "MAILS", "_", "report"]),
    }
    names = chance.sample(list(offered), chance.randrange(0, 5))
    query = {name: offered[name]() for name in names}
    for period in ("scheduled", "started"):
        ends = (f"{period}_from", f"{period}_to")
        if all(end in query for end in ends):
            query |= dict(zip(ends, sorted(query[end] for end in ends), strict=True))
    return query


@pytest.mark.parametrize("seed", range(4))
def test_filters_together_find_what_a_plain_loop_finds(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)  # noqa: S311 - to be repeated
    Run.objects.bulk_create(some_run(chance, minute) for minute in range(60))
    runs = list(Run.objects.order_by("-run_time"))
    hits = 0
    for _ in range(150):
        query = some_query(chance)
        # Now and then all of a status by its index, which must not differ.
        monkeypatch.setattr(search, "RARE_RUNS", chance.choice([0, 5_000]))
        monkeypatch.setattr(search, "SEARCHED_RUNS", chance.choice([1_000, 59]))
        result = search.find(run_filters(**query), limit=1000)
        since = result.since or NOON
        wanted = [
            run.pk
            for run in runs
            if run.run_time >= since and all(NAIVE[name](run, query[name]) for name in query)
        ]
        assert result.ids == wanted, query
        hits += bool(wanted)
    assert hits > 50


# --- What makes no sense --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"scheduled_from": "abc"}, "Scheduled from: abc is no time"),
        ({"run_time__gte": "abc"}, "Scheduled from: abc is no time"),
        ({"started_to": "2026-02-30T10:00"}, "is no time"),
        ({"scheduled_to": "0001-01-01T00:00:00+23:59"}, "is no time"),
        ({"scheduled_to": "9999-12-31T23:59:59-23:59"}, "is no time"),
        (
            {"scheduled_from": "2026-03-02", "scheduled_to": "2026-03-01"},
            "Scheduled before: It is before the begin",
        ),
        ({"started_from": "2026-03-02", "started_to": "2026-03-01"}, "It is before the begin"),
        ({"delay_over": "soon"}, "Write a number of seconds."),
        ({"delay_over": "-1"}, "0 or more"),
        ({"duration_over": "nan"}, "Write a number"),
        ({"duration_over": "1e300"}, "smaller number"),
        ({"status": "Exploded"}, "no such status"),
        ({"text": "\x00"}, "Null characters"),
        ({"text": "x" * 201}, "at most 200"),
        ({"job": "x" * 256}, "at most 255"),
    ],
)
def test_a_filter_that_makes_no_sense_is_told_and_shows_nothing(
    admin_client: Client, query: dict[str, str], words: str
) -> None:
    ran()
    assert words in told(admin_client, RUNS, **query)


@pytest.mark.parametrize("query", [{"state": "nonsense"}, {"next_before": "soon"}])
def test_a_filter_of_jobs_that_makes_no_sense_is_told_and_shows_nothing(
    admin_client: Client, query: dict[str, str]
) -> None:
    store()
    assert told(admin_client, JOBS, **query)


def test_halves_of_characters_are_no_text(admin_client: Client) -> None:
    ran()
    address = f"{RUNS}?{urlencode({'text': chr(0xD800)}, errors='surrogatepass')}"
    assert admin_client.get(address).status_code == 200


# --- Bounds ---------------------------------------------------------------------------------------


def test_a_search_that_ends_early_says_so_and_goes_on(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "SEARCHED_RUNS", 3)
    monkeypatch.setattr(search, "RARE_RUNS", 0)
    runs = [run_at(-minute, exception="disk") for minute in range(8)]
    seen: list[str] = []
    query = "?text=disk"
    for _ in range(3):
        answer = admin_client.get(RUNS + query)
        seen += [str(run.pk) for run in answer.context["cl"].result_list]
        if answer.context["cl"].found.since is None:
            break
        assert "The newest 3 runs were searched" in answer.content.decode()
        query = answer.context["cl"].older
    assert list(dict.fromkeys(seen)) == [str(run.pk) for run in runs]
    assert "were searched" not in answer.content.decode()


def test_a_rare_status_is_found_wherever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "SEARCHED_RUNS", 3)
    old = run_at(-100, status=Run.LOST, duration=9)
    for minute in range(8):
        run_at(-minute, duration=9)
    result = search.find(run_filters(status=Run.LOST, duration_over="1"), limit=10)
    assert (result.ids, result.since) == ([old.pk], None)


def test_a_job_and_a_span_of_time_are_searched_to_their_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search, "SEARCHED_RUNS", 3)
    for minute in range(8):
        run_at(-minute, "busy")
    old = run_at(-100, "calm", exception="disk")
    assert found(job="calm", text="disk") == [old.pk]
    assert found(scheduled_to="2026-03-01T11:00", text="disk") == [old.pk]
    assert found(text="disk") == []


# --- The form and the address ---------------------------------------------------------------------


def test_each_filter_in_use_can_be_removed_alone(admin_client: Client) -> None:
    query = {"status": [Run.ERROR, Run.LOST], "text": "disk", "p": "2", "o": "-1"}
    answer = admin_client.get(RUNS, query)
    chips = {
        chip.text: parse_qsl(chip.without[1:]) for chip in answer.context["cl"].filters.chips()
    }
    assert chips == {
        "Text: disk": [("status", Run.ERROR), ("status", Run.LOST), ("o", "-1")],
        f"Status: {Run.ERROR}": [("status", Run.LOST), ("text", "disk"), ("o", "-1")],
        f"Status: {Run.LOST}": [("status", Run.ERROR), ("text", "disk"), ("o", "-1")],
    }


def test_an_address_is_freed_of_filters_that_are_left_empty(admin_client: Client) -> None:
    ran(status=Run.ERROR)
    answer = admin_client.get(RUNS, {"job": "", "text": "", "status": Run.ERROR, "delay_over": ""})
    assert answer["Location"] == f"{RUNS}?status=Error%21"


def test_pages_keep_the_filters(admin_client: Client) -> None:
    Run.objects.bulk_create(
        Run(job_id="job", status=Run.ERROR, run_time=NOON + dt.timedelta(seconds=number))
        for number in range(150)
    )
    run_at(99)
    text = page(admin_client, RUNS, status=Run.ERROR)
    assert '?p=2&amp;status=Error%21"' in text
    assert len(listed(admin_client, RUNS, status=Run.ERROR, p="2")) == 50


def test_a_text_in_a_filter_cannot_break_out_of_the_page(admin_client: Client) -> None:
    text = page(admin_client, RUNS, text='"><script>alert(1)</script>', job="<b>")
    assert "<script>alert" not in text
    assert "<b>" not in text.split("jobstore-chips")[1].split("</ul>")[0]


# --- Jobs -----------------------------------------------------------------------------------------


def test_jobs_are_filtered_by_their_next_run(admin_client: Client) -> None:
    for number, name in enumerate(("soon", "later", "broken")):
        store(name)
        when = NOON + dt.timedelta(hours=number % 2)
        DjangoJob.objects.filter(pk=name).update(next_run_time=when)
    store("paused", paused=True)
    DjangoJob.objects.filter(pk="broken").update(quarantined_at=NOON)
    assert listed(admin_client, next_before="2026-03-01T12:30") == {"soon"}
    assert listed(admin_client, next_before="2026-03-01T13:30") == {"soon", "later"}
    assert listed(admin_client, next_before="2026-03-01T13:30", q="soo") == {"soon"}
    assert listed(admin_client, state="paused") == {"paused"}
