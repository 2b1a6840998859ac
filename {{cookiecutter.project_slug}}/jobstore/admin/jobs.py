"""The page of jobs: when each runs, how its last runs went, and buttons for what may be done."""

import re
from typing import Any, cast

from django.contrib import admin
from django.contrib.admin import AdminSite
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import quote, unquote
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import F, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join

from jobstore import api
from jobstore.admin.actions import JobActions
from jobstore.admin.base import ReadOnlyAdmin
from jobstore.admin.display import (
    LONG_TEXTS,
    NOTHING,
    badge,
    history_of,
    link,
    moment,
    page_of,
    seconds,
)
from jobstore.admin.overview import add_averages, with_latest
from jobstore.admin.problems import add_problems, mark
from jobstore.admin.words import in_words
from jobstore.models import DeclarationProblem, DjangoJob, DjangoJobExecution

# Runs that the page of one job shows.
SHOWN_RUNS = 20

# What each action needs the right to do.
VERBS = {
    "run_selected_jobs": "run",
    "pause_selected_jobs": "pause",
    "resume_selected_jobs": "pause",
    "retire_selected_jobs": "retire",
}


class StateFilter(admin.SimpleListFilter):
    """Jobs in service, unless another state is asked for."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the states."""
        return [(name, name) for name in api.STATES]

    def choices(self, changelist: ChangeList) -> Any:
        """Call what is shown without a choice by its name."""
        for position, choice in enumerate(super().choices(changelist)):
            yield choice if position else {**choice, "display": "all in service"}

    def queryset(self, request: HttpRequest, queryset: QuerySet[DjangoJob]) -> QuerySet[DjangoJob]:
        """Leave the jobs in the chosen state."""
        state = self.value()
        if state and state not in api.STATES:
            raise IncorrectLookupParameters(f"There is no state {state!r}.")
        return queryset.filter(api.STATES[state] if state else api.IN_SERVICE)


class JobList(ChangeList):
    """A page of jobs with their averages, and the problems of declarations."""

    problems: list[DeclarationProblem]

    def get_results(self, request: HttpRequest) -> None:
        """Add the averages once it is known which jobs are shown."""
        super().get_results(request)
        self.result_list = add_averages(self.result_list)
        self.problems = add_problems(self.result_list)


@admin.register(DjangoJob)
class DjangoJobAdmin(JobActions, ReadOnlyAdmin):
    """Jobs, the next to run first."""

    list_display = (
        "id",
        "next_run",
        "last",
        "trigger_in_words",
        "function",
        "average_run_time",
        "running_now",
    )
    list_filter = (StateFilter,)
    search_fields = ("id", "name", "func")
    search_help_text = "Id, name or function"
    ordering = (F("next_run_time").asc(nulls_last=True), "id")
    sortable_by = ("id", "next_run")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "id",
                    "name",
                    "trigger_in_words",
                    "trigger",
                    "next_run",
                    "last",
                    "average_run_time",
                    "running_now",
                )
            },
        ),
        ("What runs", {"fields": ("func", "shown_arguments", "executor")}),
        (
            "How it runs",
            {
                "fields": (
                    "max_instances",
                    "coalesce",
                    "misfire_grace",
                    "on_lost",
                    "declared_in_code",
                )
            },
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[DjangoJob]:
        """Include retired jobs, whose history can still be looked at."""
        jobs: QuerySet[DjangoJob] = DjangoJob.all_objects.all()
        return with_latest(jobs).order_by(*self.get_ordering(request))

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> DjangoJob | None:
        """Return a job with its average."""
        job = super().get_object(request, object_id, from_field)
        if job is None:
            return None
        [found] = add_averages([job])
        add_problems([found])
        return cast(DjangoJob, found)

    def has_view_permission(self, request: HttpRequest, obj: DjangoJob | None = None) -> bool:
        """Tell whether the user may look at jobs, or at this one."""
        may_view = super().has_view_permission(request, obj)
        return may_view and (obj is None or api.may(request.user, "view", obj))

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[ChangeList]:
        """Return the list that adds averages."""
        return JobList

    def has_delete_permission(self, request: HttpRequest, obj: DjangoJob | None = None) -> bool:
        """Rows stay, since history needs their names; jobs are retired instead."""
        return False

    # --- Columns --------------------------------------------------------------------------------

    @admin.display(description="function")
    def function(self, job: DjangoJob) -> str:
        """Show what runs, so that a long name may be broken where one may breathe."""
        parts = re.split(r"(?<=[.:_])", job.func)
        return format_html_join(format_html("<wbr>{}", ""), "{}", ((part,) for part in parts))

    @admin.display(description="runs")
    def trigger_in_words(self, job: DjangoJob) -> str:
        """Show when the job runs, in words."""
        return in_words(job.trigger)

    @admin.display(description="next run", ordering="next_run_time")
    def next_run(self, job: DjangoJob) -> str:
        """Show when the job runs next, or why it does not."""
        return format_html("{}{}", self._when(job), mark(job))

    def _when(self, job: DjangoJob) -> str:
        if job.retired_at:
            return format_html("{} {}", badge("retired"), moment(job.retired_at))
        if job.quarantined_at:
            return format_html(
                '{} <span class="jobstore-reason" title="{}">{}</span>',
                badge("quarantined"),
                job.quarantine_reason,
                job.quarantine_reason,
            )
        if job.next_run_time is not None:
            return moment(job.next_run_time)
        if not job.pause_reason:
            return badge("paused")
        return format_html(
            '{} <span class="jobstore-reason" title="{}">{}</span>',
            badge("paused"),
            job.pause_reason,
            job.pause_reason,
        )

    @admin.display(description="arguments")
    def shown_arguments(self, job: DjangoJob) -> str:
        """Show what the function is called with; values of secret names are masked."""
        return api.shown_arguments(job) or NOTHING

    @admin.display(description="last run")
    def last(self, job: Any) -> str:
        """Show how the newest run went, and when it was due."""
        if job.last_status is None:
            return NOTHING
        address = page_of(self.admin_site, DjangoJobExecution, job.last_run)
        return format_html(
            "{} {}", badge(job.last_status), link(address, moment(job.last_run_time))
        )

    @admin.display(description="avg. run time")
    def average_run_time(self, job: Any) -> str:
        """Show the average run time of recent successful runs."""
        return seconds(job.average)

    @admin.display(description="running")
    def running_now(self, job: Any) -> int:
        """Show how many runs are running, in every process."""
        return int(job.running)

    @admin.display(description="misfire grace")
    def misfire_grace(self, job: DjangoJob) -> str:
        """Show by how much a run may be late."""
        return "unlimited" if job.misfire_grace_time is None else f"{job.misfire_grace_time} s"

    @admin.display(description="declared in code", boolean=True)
    def declared_in_code(self, job: DjangoJob) -> bool:
        """Show whether deploys decide about the job."""
        return bool(job.declaration)

    # --- The page of one job --------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        """Add the address that the buttons post to."""
        act = path(
            "<path:object_id>/act/",
            self.admin_site.admin_view(self.act_view),
            name="jobstore_djangojob_act",
        )
        return [act, *super().get_urls()]

    def act_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Do with one job what its button says."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        name = request.POST.get("action", "")
        if name not in self.buttons(request) or not self.has_view_permission(request):
            raise PermissionDenied
        key = unquote(object_id)
        if not self._are_keys([key]):
            raise Http404
        jobs = self.get_queryset(request).filter(pk=key)
        response: HttpResponse | None = getattr(self, name)(request, jobs)
        return response or redirect(page_of(self.admin_site, DjangoJob, key))

    def buttons(self, request: HttpRequest, job: DjangoJob | None = None) -> dict[str, str]:
        """Return the actions that the user may do, and that make sense for the job, if given."""
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
        labels = dict(zip(self.actions, ("Run now", "Pause", "Resume", "Retire"), strict=True))
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

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **options: Any
    ) -> HttpResponse:
        """Add the buttons and the latest runs."""
        job = options["obj"]
        context["buttons"] = self.buttons(request, job)
        site = self.admin_site
        context["act_url"] = reverse(
            "admin:jobstore_djangojob_act", args=(quote(job.pk),), current_app=site.name
        )
        if request.user.has_perm("jobstore.view_djangojobexecution"):
            context |= {
                "runs": _latest_runs(site, job),
                "history_url": history_of(site, job.pk),
            }
        return super().render_change_form(request, context, *args, **options)


def _latest_runs(site: AdminSite, job: DjangoJob) -> list[dict[str, Any]]:
    runs = DjangoJobExecution.objects.filter(job=job).order_by("-run_time")
    return [
        {
            "url": page_of(site, run),
            "scheduled": moment(run.run_time),
            "status": badge(run.status),
            "exception": run.exception_type,
            "delay": seconds(run.start_delay),
            "run_time": seconds(run.duration),
            "process": run.instance or NOTHING,
            "requested_by": run.requested_by,
        }
        for run in runs.select_related("instance").defer(*LONG_TEXTS)[:SHOWN_RUNS]
    ]
