"""The content of the overview. Each part is read at most once, and only if a fragment needs it."""

import datetime as dt
import functools
import time
import urllib.parse
from typing import Any

from django.conf import settings
from django.contrib.admin import AdminSite
from django.contrib.admin.utils import quote as admin_quote
from django.db import router
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop, pgettext

from jobstore import api
from jobstore.admin.dashboard import charts, queries, strips, verdict
from jobstore.admin.dashboard.planned import planned_slots
from jobstore.admin.display import badge, link, local, moment, page_of, rough_length, seconds
from jobstore.admin.live import how_far
from jobstore.admin.refresh import Refresh
from jobstore.admin.visible import visible
from jobstore.admin.words import in_words
from jobstore.models import DjangoJob, DjangoJobExecution, SchedulerInstance
from jobstore.texts import requester
from jobstore.util import as_aware

Run = DjangoJobExecution

# Seconds between two looks at the history: the longer a look takes, the rarer it is.
QUICK, SLOW, SLOWEST = 2, 10, 30
PLACEHOLDER = "0-a-key-0"
# Characters that `reverse` leaves as they are.
SAFE = "!$&'()*+,;=/~:@"

# The statuses of each tile and its words, in the order of the tiles.
OUTCOMES = (
    (Run.SUCCESS, gettext_noop("executed")),
    (Run.ERROR, gettext_noop("failed")),
    ("late", gettext_noop("late")),
    (Run.MISSED, gettext_noop("missed")),
    (Run.MAX_INSTANCES, gettext_noop("skipped")),
    (Run.LOST, gettext_noop("lost")),
)


class Page:
    """What the template shows, for one request."""

    def __init__(self, site: AdminSite, request: HttpRequest) -> None:
        """Take the site, to whose pages it links, and the request."""
        self._site = site
        self._user = request.user
        self._request = request
        self._refresh = Refresh.of(request)
        self._addresses: dict[type[Any], str] = {}
        self._using = router.db_for_read(DjangoJob)
        number = request.GET.get("page", "1")
        self._number = (
            int(number) if number.isascii() and number.isdigit() and len(number) < 7 else 1
        )

    # --- Who is active --------------------------------------------------------------------------

    @functools.cached_property
    def _visible(self) -> api.Visible:
        return visible(self._request)

    @functools.cached_property
    def totals(self) -> queries.Totals:
        """How many jobs there are."""
        return queries.totals(self._using, self._visible)

    @property
    def now(self) -> dt.datetime:
        """The time by the database's clock."""
        return self.totals.now

    @functools.cached_property
    def _schedulers(self) -> queries.Schedulers:
        return queries.schedulers(self._using, self.now)

    @functools.cached_property
    def _upcoming(self) -> list[DjangoJob]:
        return queries.next_jobs(self._using, self._visible)

    @functools.cached_property
    def findings(self) -> list[dict[str, str]]:
        """The findings, each with the address of a page that shows more."""
        found = verdict.findings(self._schedulers, self.totals, self._upcoming, self.now)
        jobs = self._list("djangojob")
        pages = {"jobs": jobs, "quarantined": jobs and f"{jobs}?state=quarantined"}
        return [
            {
                "level": one.level,
                "text": one.text,
                "advice": one.advice,
                "address": pages.get(one.page, ""),
            }
            for one in found
        ]

    def active(self) -> str:
        """Return the process that holds the lease; empty if none does."""
        return self._schedulers.holder

    def schedulers(self) -> list[dict[str, Any]]:
        """Return the processes, the active one first."""
        seen = self._schedulers
        return [
            {
                "process": link(self._page(SchedulerInstance, row.pk), str(row)),
                "role": badge("no sign of life" if verdict.silence(row, self.now) else row.role),
                "problem": row.problem,
                "since": moment(seen.acquired_at if str(row) == seen.holder else row.started_at),
                "version": row.version,
                "heartbeat": self._ago(row.heartbeat_at),
            }
            for row in seen.rows
        ]

    # --- Now, and next --------------------------------------------------------------------------

    @functools.cached_property
    def running(self) -> dict[str, Any]:
        """The running runs, the longest first."""
        rows, number = queries.running(self._using, self._visible)
        return {
            "rows": [self._running(row) for row in rows],
            "more": number - len(rows),
            "number": number,
            "address": self._history(status=Run.RUNNING),
        }

    def _running(self, row: Any) -> dict[str, Any]:
        elapsed = max(0.0, (self.now - row.since).total_seconds())
        usual = _("not known") if row.usual is None else _precise(row.usual)
        return {
            "job": link(self._page(DjangoJob, row.job_id), row.job_id),
            "run": link(self._page(Run, row.pk), _clock(row.since)),
            "elapsed": rough_length(elapsed),
            "usual": usual,
            "bar": self._bar(row, elapsed),
            "progress": how_far(row, self.now),
            "is_over": bool(row.usual) and elapsed > 2 * row.usual and elapsed > 1,
            "requested_by": requester(row.requested_by),
        }

    @staticmethod
    def _bar(row: Any, elapsed: float) -> str:
        """Return how far a run has come if it told that, else how much of the usual it took."""
        if row.progress_share is not None:
            return charts.elapsed_bar(row.progress_share)
        return charts.elapsed_bar(elapsed / row.usual) if row.usual else ""

    def upcoming(self) -> list[dict[str, Any]]:
        """Return the jobs that run next."""
        return [
            {
                "job": link(self._page(DjangoJob, job.pk), job.pk),
                "at": _day_and_clock(job.next_run_time, self.now),
                "in": self._until(job.next_run_time),
                "schedule": in_words(job.trigger),
            }
            for job in self._upcoming
            if job.next_run_time is not None
        ]

    # --- The last day ---------------------------------------------------------------------------

    @functools.cached_property
    def _history_of_day(self) -> tuple[queries.History, int]:
        begin = time.perf_counter()
        found = queries.history(self._using, self.now, self._visible)
        taken = time.perf_counter() - begin
        return found, QUICK if taken < 0.05 else SLOW if taken < 0.3 else SLOWEST

    def counts_every(self) -> int:
        """Return how often the counts are looked at again, in seconds."""
        return self._history_of_day[1]

    def charts_every(self) -> int:
        """Return how often the charts are looked at again, in seconds."""
        return max(SLOW, self._history_of_day[1])

    def counts(self) -> list[dict[str, Any]]:
        """Return how many runs of the last day had each outcome."""
        history = self._history_of_day[0]
        names = {
            "executed": _("Executed"),
            "failed": _("Failed"),
            "late": _("Late"),
            "missed": _("Missed"),
            "skipped": _("Skipped"),
            "lost": _("Lost"),
        }
        since = history.since.replace(second=0, microsecond=0)
        found = []
        for status, kind in OUTCOMES:
            number = history.late if status == "late" else history.counts.get(status, 0)
            query: dict[str, Any] = {"scheduled_from": local(since).isoformat(timespec="minutes")}
            if status == "late":
                query["delay_over"] = f"{queries.LATE_SECONDS:g}"
            else:
                query["status"] = status
            found.append(
                {
                    "kind": kind,
                    "name": names[kind],
                    "number": number,
                    "address": self._history(**query),
                }
            )
        return found

    def zone(self) -> str:
        """Return the name of the time zone that times are shown in."""
        return timezone.get_current_timezone_name() if settings.USE_TZ else settings.TIME_ZONE

    def late_seconds(self) -> float:
        """Return the delay in seconds from which a start counts as late."""
        return queries.LATE_SECONDS

    @functools.cached_property
    def charts(self) -> dict[str, Any]:
        """The charts of the last hour."""
        minutes = self._history_of_day[0].minutes
        runs, runs_top = charts.runs_chart(minutes)
        delay, delay_top = charts.delay_chart(minutes)
        return {
            "runs": runs,
            "runs_top": runs_top,
            "delay": delay,
            "delay_top": delay_top,
            "times": charts.times(minutes),
        }

    def minutes(self) -> list[SafeString]:
        """Return the figures of the charts as rows of a table."""
        return charts.table(self._history_of_day[0].minutes)

    # --- Each job -------------------------------------------------------------------------------

    @property
    def _pages(self) -> int:
        return max(1, -(-self.totals.jobs // queries.JOBS_PER_PAGE))

    @property
    def _first(self) -> int:
        return (max(1, min(self._number, self._pages)) - 1) * queries.JOBS_PER_PAGE

    def paging(self) -> dict[str, Any]:
        """Return the range of shown jobs, and the numbers of the pages around."""
        number = self._first // queries.JOBS_PER_PAGE + 1
        shown = min(self.totals.jobs, self._first + queries.JOBS_PER_PAGE)
        return {
            "number": number,
            "pages": self._pages,
            "first": self._first + 1 if self.totals.jobs else 0,
            "last": shown,
            "jobs": self.totals.jobs,
            "paused": self.totals.paused,
            "previous": number - 1 if number > 1 else 0,
            "next": number + 1 if number < self._pages else 0,
            "address": self._list("djangojob"),
        }

    @functools.cached_property
    def _wanted(self) -> list[int]:
        positions = range(queries.JOBS_PER_PAGE)
        if self._refresh is None:
            return list(positions)
        return [one for one in positions if self._refresh.wants(f"ov-job-{one}")]

    @functools.cached_property
    def _jobs(self) -> dict[int, DjangoJob]:
        """The jobs at the requested places; places without a job are missing."""
        if not self._wanted:
            return {}
        first = self._first + self._wanted[0]
        end = self._first + self._wanted[-1] + 1
        jobs = queries.jobs_page(self._using, first, end, self._visible)
        placed = {self._wanted[0] + offset: job for offset, job in enumerate(jobs)}
        return {place: placed[place] for place in self._wanted if place in placed}

    @functools.cached_property
    def _slots(self) -> dict[str, dict[tuple[int, str], int]]:
        return queries.slots(self._using, [job.pk for job in self._jobs.values()], self.now)

    def places(self) -> list["Place"]:
        """Return the places of the table, those without a job as well."""
        return [Place(self, number) for number in self._wanted]

    def row(self, place: int) -> dict[str, Any]:
        """Return what is at a place of the table; empty if no job is there."""
        job = self._jobs.get(place)
        if job is None:
            return {}
        counts = self._slots.get(job.pk, {})
        planned, is_whole = planned_slots(job, as_aware(self.now))
        found = strips.totals(counts)
        state = api.state_of(job)
        return {
            "job": link(self._page(DjangoJob, job.pk), job.pk),
            "schedule": in_words(job.trigger),
            "strip": strips.strip(job.pk, counts, planned, as_aware(self.now), is_whole=is_whole),
            "executed": found.get(Run.SUCCESS, 0),
            "wrong": [
                {
                    "kind": kind,
                    "text": f"{found[status]} {_(kind)}",
                    "address": self._history(job=job.pk, status=status),
                }
                for status, kind in OUTCOMES[1:]
                if status in found
            ],
            "state": badge(state) if state != "scheduled" else "",
            "reason": job.quarantine_reason or job.pause_reason,
            "next": _day_and_clock(job.next_run_time, self.now) if state == "scheduled" else "",
        }

    # --- Addresses and times --------------------------------------------------------------------

    def address(self) -> str:
        """Return the address at which fragments are requested."""
        return self._list("overview")

    def _list(self, model: str, **query: Any) -> str:
        try:
            name = f"admin:jobstore_{model}_changelist"
            address = reverse(name, current_app=self._site.name)
        except NoReverseMatch:  # a project may show only some of the pages
            return ""
        return f"{address}?{urllib.parse.urlencode(query)}" if query else address

    def _page(self, model: type[Any], pk: Any) -> str:
        """Return the address of a row's page. The slow lookup is done once for each model."""
        if model not in self._addresses:
            address = page_of(self._site, model, PLACEHOLDER) if self._may_view(model) else ""
            self._addresses[model] = address
        key = urllib.parse.quote(str(admin_quote(pk)), safe=SAFE)
        return self._addresses[model].replace(PLACEHOLDER, key)

    def _history(self, **query: Any) -> str:
        return self._list("djangojobexecution", **query)

    def _may_view(self, model: type[Any]) -> bool:
        return self._user.has_perm(f"jobstore.view_{model._meta.model_name}")

    def _ago(self, when: dt.datetime) -> str:
        """Return how long ago something was, rounded, so that it does not change at each look."""
        age = (self.now - when).total_seconds()
        if age < 5:
            return _("just now")
        return _("%(length)s ago") % {"length": rough_length(age // 5 * 5)}

    def _until(self, when: dt.datetime | None) -> str:
        left = (when - self.now).total_seconds() if when is not None else 0.0
        if left < 0:
            return _("overdue") if left < -queries.LATE_SECONDS else _("now")
        if left < 60:
            return _("in < 1 min")
        return _("in %(length)s") % {"length": rough_length(left // 60 * 60)}


class Place:
    """One place of the table of jobs, which is read only if the answer has place for it."""

    def __init__(self, page: Page, number: int) -> None:
        """Take its number on the page, from 0 on."""
        self.id = f"ov-job-{number}"
        self._page, self._number = page, number

    @functools.cached_property
    def row(self) -> dict[str, Any]:
        """What is shown there; empty if no job is there."""
        return self._page.row(self._number)

    @property
    def is_empty(self) -> bool:
        """Whether no job is there."""
        return not self.row


def _precise(length: float) -> str:
    return seconds(length) if length < 10 else rough_length(length)


def _clock(when: dt.datetime) -> str:
    return local(when).strftime("%H:%M:%S")


def _day_and_clock(when: dt.datetime | None, now: dt.datetime) -> str:
    """Return a time, with its day if it is not today."""
    if when is None:
        return ""
    if local(when).date() == local(now).date():
        return _clock(when)
    pattern = pgettext("format of a day and a time of this year", "D j M, H:i")
    return date_format(local(when), pattern)
