"""The page of one job: what it is, when it runs next, how its runs went, and what may be done."""

import datetime as dt
from typing import Any

from django.contrib.admin import AdminSite
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _

from jobstore import api
from jobstore.admin.actions import JobActions
from jobstore.admin.audit import VIEW_AUDIT, latest_entries
from jobstore.admin.declarations import differences
from jobstore.admin.display import (
    LONG_TEXTS,
    NOTHING,
    badge,
    history_of,
    moment,
    page_of,
    rough_length,
    seconds,
)
from jobstore.admin.editor import JobEditor
from jobstore.admin.live import EVERY, SELDOM, LivePage, shown_progress, since
from jobstore.admin.preview import questions_of
from jobstore.admin.refresh import Refresh
from jobstore.admin.run_chart import chart
from jobstore.admin.upcoming import SHOWN_TIMES, upcoming
from jobstore.admin.words import in_words
from jobstore.models import DjangoJob, DjangoJobExecution
from jobstore.texts import requester

# Runs that the page of one job shows, and those that are refreshed together.
SHOWN_RUNS, RUNS_TOGETHER = 20, 5

# The fragment of the page whose times take the reading of the job's state.
SCHEDULE = "jobstore-schedule"

# The right that each action needs.
VERBS = {
    "run_selected_jobs": "run",
    "pause_selected_jobs": "pause",
    "resume_selected_jobs": "pause",
    "retire_selected_jobs": "retire",
}


class JobPage(LivePage, JobEditor, JobActions):
    """The page of one job, and the address that its buttons post to."""

    live_template = "admin/jobstore/djangojob/refreshed.html"

    def get_urls(self) -> list[URLPattern]:
        """Add the address that the buttons post to."""
        act = path(
            "<path:object_id>/act/",
            self.admin_site.admin_view(self.act_view),
            name="jobstore_djangojob_act",
        )
        return [act, *super().get_urls()]

    def act_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Run a button's action on one job."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        name = request.POST.get("action", "")
        if name not in self.buttons(request) or not self.has_view_permission(request):
            raise PermissionDenied
        key = unquote(object_id)
        if not self._are_keys([key]):
            raise Http404
        jobs = self.all_rows(request).filter(pk=key)
        job = jobs.first()
        if job is not None and not self.has_view_permission(request, job):
            raise PermissionDenied
        response: HttpResponse | None = getattr(self, name)(request, jobs)
        return response or redirect(page_of(self.admin_site, DjangoJob, key))

    def buttons(self, request: HttpRequest, job: DjangoJob | None = None) -> dict[str, str]:
        """Return the actions that the user may use, and that fit the job, if one is given."""
        is_quarantined = job is not None and job.quarantined_at is not None
        makes_sense = {
            "run_selected_jobs": not is_quarantined,
            "pause_selected_jobs": job is None
            or (job.next_run_time is not None and not is_quarantined),
            "resume_selected_jobs": job is None
            or job.next_run_time is None
            or job.quarantined_at is not None,
            "retire_selected_jobs": True,
        }
        resume = _("Try again") if is_quarantined else _("Resume")
        names = (_("Run now"), _("Pause"), resume, _("Retire"))
        labels = dict(zip(self.actions, names, strict=True))
        allowed = self.get_actions(request)
        in_service = job is None or job.retired_at is None
        return {
            name: label
            for name, label in labels.items()
            if in_service
            and makes_sense[name]
            and name in allowed
            and (job is None or api.may(request.user, VERBS[name], job))
        }

    def heading_of(self, row: DjangoJob) -> str:
        """Return the job's id."""
        return str(row.pk)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **options: Any
    ) -> HttpResponse:
        """Add the buttons, the next runs, what differs from the code, and the latest runs."""
        job, site, refresh = options["obj"], self.admin_site, Refresh.of(request)
        is_over = job.retired_at is not None
        context |= {"every": 0 if is_over else EVERY, "schedule_every": 0 if is_over else SELDOM}
        if request.user.has_perm("jobstore.view_djangojobexecution"):
            runs = _latest_runs(job)
            context |= {
                "runs": _grouped([_shown(site, run, job.now) for run in runs]),
                "chart": chart(runs),
                "history_url": history_of(site, job.pk),
            }
        if refresh is None or refresh.wants(SCHEDULE):
            context |= _schedule_of(job)
        if refresh is not None:
            return super().render_change_form(request, context, *args, **options)
        context["buttons"] = self.buttons(request, job)
        differs = bool(job.declaration and (job.quarantined_at or context.get("differences")))
        context["links"] = self.editing_links(request, job, is_resettable=differs)
        context["act_url"] = reverse(
            "admin:jobstore_djangojob_act", args=(quote(job.pk),), current_app=site.name
        )
        if request.user.has_perm(VIEW_AUDIT):
            context |= latest_entries(site, request, job.pk)
        return super().render_change_form(request, context, *args, **options)


def _schedule_of(job: Any) -> dict[str, Any]:
    """Return the parts of the page about when a job runs, as far as it can be restored."""
    found: dict[str, Any] = {"words": in_words(job.trigger)}
    if job.retired_at is not None:
        return found
    try:
        trigger = api.definition(job).trigger
        times = [] if job.quarantined_at else api.next_run_times(job, SHOWN_TIMES)
    except Exception:  # the trigger may be code of the project, and the page must still show
        return found
    zone = None if hasattr(trigger, "interval") else getattr(trigger, "timezone", None)
    return found | {
        "zone": zone,
        "times": upcoming(times, job.now),
        "questions": questions_of(trigger),
        "differences": differences(job),
    }


def _latest_runs(job: DjangoJob) -> list[DjangoJobExecution]:
    runs = DjangoJobExecution.objects.filter(job=job).order_by("-run_time")
    return list(runs.select_related("instance").defer(*LONG_TEXTS)[:SHOWN_RUNS])


def _grouped(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return runs in groups, each a fragment: what changes all the time is a small part."""
    return [
        {
            "id": f"jobstore-runs-{first}",
            "is_first": not first,
            "runs": runs[first : first + RUNS_TOGETHER],
        }
        for first in range(0, SHOWN_RUNS, RUNS_TOGETHER)
    ]


def _shown(site: AdminSite, run: DjangoJobExecution, now: dt.datetime) -> dict[str, Any]:
    return {
        "url": page_of(site, run),
        "scheduled": moment(run.run_time),
        "status": badge(run.status),
        "exception": run.exception_type,
        "delay": seconds(run.start_delay),
        "duration": _length(run, now),
        "progress": shown_progress(run, now) if since(run) is not None else "",
        "process": run.instance or NOTHING,
        "requested_by": requester(run.requested_by),
    }


def _length(run: DjangoJobExecution, now: dt.datetime) -> str:
    begin = since(run)
    if begin is None:
        return seconds(run.duration)
    return _("%(elapsed)s so far") % {"elapsed": rough_length((now - begin).total_seconds())}
