"""How long pages of the admin take with a long history."""

import json
import statistics
import time
from typing import Any
from urllib.parse import urlencode

from contenders import PROGRAMS, Contender

NAME = "admin"
TITLE = "Pages of the admin with a long history of 1,000 jobs"
CONTENDERS = ("ours", "django-apscheduler")
PARAMETERS = ("rows", "page")
# Rows of history.
SIZES = {"smoke": (2000,), "small": (1_000_000,), "full": (100_000, 1_000_000)}

JOBS = 1000
DAY = 24 * 3600.0
TRIES = 5
# 100 rows each; the last page that both lead to is the hundredth.
DEEP = 90
HISTORY, SEARCH = "history, first page", "history, search for a part of an id"
APPS = {"ours": "jobstore", "django-apscheduler": "django_apscheduler"}
BY_JOB = {"ours": "job", "django-apscheduler": "job__id"}
NOTES = {
    ("ours", SEARCH): "django-apscheduler has no search",
    ("ours", HISTORY): "its history leads to the newest 10,000 runs alone; any other is found by filters",
}


def run(bench: Any) -> list[dict[str, Any]]:
    """Let each contender show each page with each length of the history."""
    rows = []
    for count in SIZES[bench.size]:
        for contender in bench.contenders(CONTENDERS):
            with bench.step(f"{contender.title}: pages with {count} rows"):
                rows += one(bench, contender, count)
    return rows


def one(bench: Any, contender: Contender, count: int) -> list[dict[str, Any]]:
    """Measure one contender's pages."""
    bench.empty(contender)
    if contender.name == "ours":
        # Pages name their files by digests that are made here.
        contender.run("manage.py", "collectstatic", "--no-input", "-v0")
    else:
        contender.run("-m", "django", "migrate", "-v0", BENCH_ADMIN="1")
    filled(contender, count, newest_days=0)
    given = {"pages": pages(contender.name, count), "tries": TRIES}
    found = json.loads(
        contender.run(str(PROGRAMS / "admin_pages.py"), json.dumps(given), BENCH_ADMIN="1").splitlines()[-1]
    )
    return [
        {
            "contender": contender.name,
            "rows": count,
            "page": name,
            "p50_ms": round(statistics.median(page["seconds"]) * 1000, 1),
            "max_ms": round(max(page["seconds"]) * 1000, 1),
            "statements": page["statements"],
            "size_kb": round(page["bytes"] / 1000),
            "note": NOTES.get((contender.name, name)),
        }
        for name, page in found.items()
    ]


def filled(contender: Contender, count: int, newest_days: float) -> None:
    """Store jobs that are due in a day, and a history of 30 days that ends so many days ago."""
    group = {"count": JOBS, "spread": 3600.0, "every": DAY, "seconds": 0.0, "later": DAY}
    options = {"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
    scenario = {"at": round(time.time()), "threads": 10, "groups": [group], "options": options}
    contender.run(str(PROGRAMS / "many.py"), json.dumps(scenario))
    history = {"rows": count, "jobs": JOBS, "days": 30, "newest_days": newest_days}
    contender.run(str(PROGRAMS / "fill_history.py"), json.dumps(history))


def pages(name: str, count: int) -> dict[str, str]:
    """Return the addresses of the pages by their names."""
    runs, jobs = (f"/admin/{APPS[name]}/{model}/" for model in ("djangojobexecution", "djangojob"))
    deep = min(DEEP, count // 100)
    search = {SEARCH: f"{runs}?{urlencode({'q': 'job-777'})}"} if name == "ours" else {}
    return {
        HISTORY: runs,
        "history, only errors": f"{runs}?{urlencode({'status__exact': 'Error!'})}",
        f"history, page {deep}": f"{runs}?p={deep}",
        "history of one job": f"{runs}?{urlencode({BY_JOB[name]: 'job-777'})}",
        "jobs, 100 of 1,000": jobs,
        "one job": f"{jobs}job-777/change/",
        **search,
    }
