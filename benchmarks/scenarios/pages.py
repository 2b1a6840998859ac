"""What the pages that people look at cost, as gunicorn answers them: the overview, its refreshing, a list.

The overview is that of this template alone; what the peers have is a list of runs, and of jobs.
"""

import gzip
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import measure
from contenders import PROGRAMS, Contender
from website import Answer, Website

NAME = "pages"
TITLE = "Pages as gunicorn answers them, with a history of 1,000 jobs"
CONTENDERS = ("ours", "django-apscheduler", "celery-admin")
PARAMETERS = ("rows", "page")
# Rows of history, over thirty days.
SIZES = {"smoke": (2000,), "small": (1_000_000,), "full": (1_000_000, 10_000_000)}
# Rows up to which peers are measured too: beyond, filling their tables takes longer than all else.
PEERS_ROWS = 1_000_000
JOBS, SMOKE_JOBS, DAYS = 1000, 60, 30
# Times that a page is asked for, and that a browser refreshes the overview.
TRIES = {"smoke": 2, "small": 60, "full": 100}

OVERVIEW = "/admin/jobstore/overview/"
PAGES = {
    "ours": {
        "overview": OVERVIEW,
        "runs, first page": "/admin/jobstore/djangojobexecution/",
        "jobs, first page": "/admin/jobstore/djangojob/",
        "one job": "/admin/jobstore/djangojob/job-7/change/",
    },
    "django-apscheduler": {
        "runs, first page": "/admin/django_apscheduler/djangojobexecution/",
        "jobs, first page": "/admin/django_apscheduler/djangojob/",
        "one job": "/admin/django_apscheduler/djangojob/job-7/change/",
    },
    "celery-admin": {
        "runs, first page": "/admin/django_celery_results/taskresult/",
        "jobs, first page": "/admin/django_celery_beat/periodictask/",
    },
}
FRAGMENT = re.compile(r'id="([\w-]+)"[^>]* data-refresh="(\d+)" data-version="(\w+)"')
# As refresh.js asks: every so many seconds, for so many fragments at the most.
TICK, MOST = 2, 10
# The header that names what had no place in an answer.
LEFT = "Jobstore-Left"
# The longest word of the HTTP header in which a browser says what it shows.
SHOWN = "If-None-Match"


def run(bench: Any) -> list[dict[str, Any]]:
    """Let each contender show its pages with each length of the history."""
    if bench.database.kind == "mariadb":
        return [{"contender": "ours", "note": "its history is made on PostgreSQL and SQLite alone"}]
    rows = []
    for contender, count in histories(bench, CONTENDERS, SIZES[bench.size]):
        with bench.step(f"{contender.title}: its pages"), Website(contender) as site:
            found = [one(bench, site, name, path) for name, path in PAGES[contender.name].items()]
            if contender.name == "ours":
                found += refreshes(bench, site)
        rows += [{"contender": contender.name, "rows": count} | row for row in found]
    return rows


def histories(bench: Any, contenders: Sequence[str], sizes: Sequence[int]) -> Iterator[tuple[Contender, int]]:
    """Yield each contender with each length of the history, filled; peers up to PEERS_ROWS alone."""
    for count in sizes:
        for contender in bench.contenders(contenders if count <= PEERS_ROWS else contenders[:1]):
            with bench.step(f"{contender.title}: a history of {count} rows"):
                filled(bench, contender, count)
            yield contender, count


def filled(bench: Any, contender: Contender, count: int) -> None:
    """Give the contender jobs and a history that ends now."""
    bench.empty(contender)
    jobs = SMOKE_JOBS if bench.size == "smoke" else JOBS
    if contender.name == "ours":
        # Pages name their files by digests that are made here.
        contender.run("manage.py", "collectstatic", "--no-input", "-v0")
        given = {"rows": count, "jobs": jobs, "days": DAYS}
        contender.run(str(PROGRAMS / "fill_pages.py"), json.dumps(given))
        return
    contender.run("-m", "django", "migrate", "-v0", BENCH_ADMIN="1")
    group = {"count": jobs, "spread": 3600.0, "every": 86400.0, "seconds": 0.0, "later": 86400.0}
    options = {"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
    scenario = {"at": round(time.time()), "threads": 10, "groups": [group], "options": options}
    if contender.name == "django-apscheduler":
        contender.run(str(PROGRAMS / "many.py"), json.dumps(scenario))
    else:
        contender.store(scenario)
    history = {"rows": count, "jobs": jobs, "days": DAYS, "newest_days": 0}
    contender.run(str(PROGRAMS / "fill_history.py"), json.dumps(history))


def one(bench: Any, site: Website, name: str, path: str) -> dict[str, Any]:
    """Return what one page costs, the first time left out."""
    site.get(path)
    return {"page": name} | cost(bench, site, (lambda: site.get(path) for _ in range(TRIES[bench.size])))


def refreshes(bench: Any, site: Website) -> Iterator[dict[str, Any]]:
    """Return what an open overview costs at each look, and what it would if all had changed."""
    rounds = TRIES[bench.size]
    browser = Browser(site)
    row = {"page": "overview, a look every 2 s"}
    yield row | cost(bench, site, (browser.look for _ in range(rounds)))
    # The worst: all of them changed, at most looks and when the charts and rows of jobs are due as well.
    # What has no place in an answer is asked for first at the next look.
    browser = Browser(site)
    browser.forget()
    many = browser.due(5 * TICK)
    asked = [browser.due(TICK), many, many[::-1]]
    row = {"page": "overview, a look at which all has changed"}
    looks = (browser.ask(asked[number % len(asked)]) for number in range(rounds))
    yield row | cost(bench, site, looks)


class Browser:
    """What refresh.js asks of an overview that stays open."""

    def __init__(self, site: Website) -> None:
        self._site = site
        self._shown: dict[str, str] = {}
        self._every: dict[str, int] = {}
        self._asked: dict[str, int] = {}
        self._began, self._now = time.time(), 0
        self._take(site.get(OVERVIEW).text)

    def look(self) -> Answer:
        """Ask for what is due, two seconds after the last look."""
        self._now += TICK
        measure.sleep_until(self._began + self._now)
        due = self.due(self._now)
        answer = self.ask(due)()
        self._take(answer.text)
        left = answer.headers.get(LEFT, "").split()
        self._asked |= dict.fromkeys((name for name in due if name not in left), self._now)
        return answer

    def due(self, now: int) -> list[str]:
        """Return the fragments that are due, the longest waiting first."""
        late = {name: now - self._asked.get(name, 0) - every for name, every in self._every.items()}
        return sorted((name for name in late if late[name] >= 0), key=lambda name: -late[name])[:MOST]

    def ask(self, names: list[str]) -> Callable[[], Answer]:
        """Return what asks for some fragments."""
        shown = " ".join(f"{name}={self._shown[name]}" for name in names)
        return lambda: self._site.get(OVERVIEW, **{"Jobstore-Refresh": "1", SHOWN: f'"{shown}"'})

    def forget(self) -> None:
        """Show something else than the server has, everywhere."""
        self._shown = dict.fromkeys(self._shown, "0")

    def _take(self, text: str) -> None:
        for name, every, version in FRAGMENT.findall(text):
            self._shown[name], self._every[name] = version, int(every)


def cost(bench: Any, site: Website, looks: Iterator[Callable[[], Answer]]) -> dict[str, Any]:
    """Return what each of these requests takes; `size_kb` is not compressed, as nothing is sent so."""
    before, web = bench.database.counters(), site.cpu_seconds()
    answers = [look() for look in looks]
    cpu, done = site.cpu_seconds() - web, bench.database.counters().since(before)
    number = len(answers)
    delays = [answer.seconds for answer in answers]
    sizes = [len(answer.body) for answer in answers]

    def each(total: float | None, digits: int = 1) -> float | None:
        return None if total is None else round(total / number, digits)

    return {
        "p50_ms": ms(measure.percentile(delays, 0.5)),
        "p95_ms": ms(measure.percentile(delays, 0.95)),
        "max_ms": ms(max(delays)),
        "statements": each(done.statements),
        "web_cpu_ms": each(cpu * 1000),
        "database_cpu_ms": each(None if done.cpu_seconds is None else done.cpu_seconds * 1000),
        "size_kb": round(sum(sizes) / number / 1000, 1),
        "max_size_kb": round(max(sizes) / 1000, 1),
        "gzip_kb": round(max(len(gzip.compress(answer.body)) for answer in answers) / 1000, 1),
    }


def ms(seconds: float | None) -> float | None:
    """Return milliseconds with a digit behind the point."""
    return None if seconds is None else round(seconds * 1000, 1)
