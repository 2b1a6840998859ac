"""How long a long history takes to be filtered: by each filter, and by any three together."""

import datetime as dt
import itertools
from typing import Any
from urllib.parse import urlencode

import measure
from scenarios.pages import CONTENDERS as PAGE_CONTENDERS
from scenarios.pages import PAGES, histories, ms
from website import Website

NAME = "filters"
TITLE = "The history, filtered by any three filters together"
CONTENDERS = PAGE_CONTENDERS
PARAMETERS = ("rows", "filters")
# Rows of history, over thirty days.
SIZES = {"smoke": (2000,), "small": (1_000_000,), "full": (1_000_000, 10_000_000)}
# Times that each combination is asked for, after a first time that counts as well.
TRIES = {"smoke": 1, "small": 3, "full": 3}
# Combinations that a smoke test asks for.
SMOKE = 3
SLOWEST = 3


def run(bench: Any) -> list[dict[str, Any]]:
    """Let each contender filter by what it has filters for."""
    if bench.database.kind == "mariadb":
        return [{"contender": "ours", "note": "its history is made on PostgreSQL and SQLite alone"}]
    rows = []
    for contender, count in histories(bench, CONTENDERS, SIZES[bench.size]):
        values = given(contender.name)
        with bench.step(f"{contender.title}: filters"), Website(contender) as site:
            address = PAGES[contender.name]["runs, first page"]
            for number, words in ((1, "one"), (3, "any three")):
                combinations = list(itertools.combinations(values, number))
                if bench.size == "smoke":
                    combinations = combinations[:SMOKE]
                found = asked(site, address, values, combinations, TRIES[bench.size])
                rows.append({"contender": contender.name, "rows": count, "filters": words} | found)
    return rows


def given(name: str) -> dict[str, dict[str, str]]:
    """Return a contender's filters by their names, each with values that leave few or many rows."""
    now = dt.datetime.now(dt.UTC)
    since, until = ((now - dt.timedelta(days=days)).strftime("%Y-%m-%dT%H:%M") for days in (20, 10))
    zoned_since, zoned_until = (f"{when}:00+00:00" for when in (since, until))
    if name == "ours":
        values = {
            "job": "job-7",
            "text": "no such text",
            "status": "Error!",
            "delay_over": "10",
            "duration_over": "3",
            "asked_by": "ann",
            "exception": "Value",
            "scheduled_from": since,
            "scheduled_to": until,
            "started_from": since,
            "started_to": until,
        }
        return {name: {name: value} for name, value in values.items()}
    if name == "django-apscheduler":
        return {
            "job": {"job__id": "job-7"},
            "run_time": {"run_time__gte": zoned_since, "run_time__lt": zoned_until},
            "status": {"status__exact": "Error!"},
        }
    return {
        "status": {"status__exact": "FAILURE"},
        "date_done": {"date_done__gte": zoned_since, "date_done__lt": zoned_until},
        "periodic_task_name": {"periodic_task_name": "job-7"},
        "task_name": {"task_name": "load.work"},
        "text": {"q": "no such text"},
    }


def asked(
    site: Website,
    address: str,
    values: dict[str, dict[str, str]],
    combinations: list[tuple[str, ...]],
    tries: int,
) -> dict[str, Any]:
    """Return what a table shows of pages with these filters."""
    took: dict[str, list[float]] = {}
    bounded = 0
    for names in combinations:
        query = urlencode({key: value for name in names for key, value in values[name].items()})
        answers = [site.get(f"{address}?{query}") for _ in range(tries)]
        took[" + ".join(names)] = [answer.seconds for answer in answers]
        bounded += "runs were searched" in answers[-1].text
    every = [seconds for own in took.values() for seconds in own]
    slowest = sorted(took, key=lambda names: max(took[names]), reverse=True)[:SLOWEST]
    return {
        "combinations": len(combinations),
        "p50_ms": ms(measure.percentile(every, 0.5)),
        "p95_ms": ms(measure.percentile(every, 0.95)),
        "max_ms": ms(max(every)),
        # Those that say that they looked at the newest 100,000 of the runs alone.
        "bounded": bounded if address.startswith("/admin/jobstore/") else None,
        "slowest": [(names, round(max(took[names]) * 1000)) for names in slowest],
    }
