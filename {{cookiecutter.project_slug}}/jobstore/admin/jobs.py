"""The page of jobs: when each runs, how its last runs went, and its actions."""

import re
from typing import Any, cast

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db import router
from django.db.models import F, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, pgettext_lazy

from jobstore import api
from jobstore.admin import declarations
from jobstore.admin.display import NOTHING, badge, link, moment, page_of, seconds, with_reason
from jobstore.admin.filters import JobFilters
from jobstore.admin.job_page import JobPage
from jobstore.admin.lists import FilteredList
from jobstore.admin.overview import add_averages, with_latest
from jobstore.admin.problems import add_problems, mark
from jobstore.admin.visible import visible
from jobstore.admin.words import in_words
from jobstore.models import DeclarationProblem, DjangoJob, DjangoJobExecution, database_now

VIEW_RUNS = "jobstore.view_djangojobexecution"


class JobList(FilteredList):
    """A page of jobs with their averages, and the problems of declarations."""

    form_class = JobFilters
    problems: list[DeclarationProblem]

    def get_results(self, request: HttpRequest) -> None:
        """Add the averages once it is known which jobs are shown."""
        super().get_results(request)
        self.result_list = add_averages(self.result_list)
        for job in self.result_list:
            job.opens_runs = request.user.has_perm(VIEW_RUNS)
        self.problems = add_problems(self.result_list, visible(request))
        if any(job.running for job in self.result_list):
            now = database_now(router.db_for_read(DjangoJob))
            for job in self.result_list:
                job.now = now

    def narrowed(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the jobs that match: those in service, unless another state is asked for."""
        return queryset.filter(self.filters.range())


@admin.register(DjangoJob)
class DjangoJobAdmin(JobPage):
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
    search_fields = ("id", "name", "func")
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
        (gettext_lazy("What runs"), {"fields": ("func", "shown_arguments", "executor")}),
        (
            gettext_lazy("How it runs"),
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
        """Return the jobs that the user may see."""
        return self.all_rows(request).filter(visible(request).q("pk"))

    def all_rows(self, request: HttpRequest) -> QuerySet[DjangoJob]:
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
        found.opens_runs = request.user.has_perm(VIEW_RUNS)
        add_problems([found])
        found.now = database_now(router.db_for_read(DjangoJob))
        return cast(DjangoJob, found)

    def has_view_permission(self, request: HttpRequest, obj: DjangoJob | None = None) -> bool:
        """Tell whether the user may look at jobs, or at this one."""
        may_view = super().has_view_permission(request, obj)
        return may_view and (obj is None or api.may(request.user, "view", obj))

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[ChangeList]:
        """Return the list class that adds averages."""
        return JobList

    def has_delete_permission(self, request: HttpRequest, obj: DjangoJob | None = None) -> bool:
        """Allow nobody to delete rows: the history needs their names. Jobs are retired instead."""
        return False

    # --- Columns --------------------------------------------------------------------------------

    @admin.display(description=gettext_lazy("function"))
    def function(self, job: DjangoJob) -> str:
        """Show the function, with places at which a long name may be broken."""
        parts = re.split(r"(?<=[.:_])", job.func)
        return format_html_join(format_html("<wbr>{}", ""), "{}", ((part,) for part in parts))

    @admin.display(description=pgettext_lazy("when a job", "runs"))
    def trigger_in_words(self, job: DjangoJob) -> str:
        """Show when the job runs, in words, and whether somebody changed it."""
        return format_html("{}{}", in_words(job.trigger), declarations.edited_mark(job))

    @admin.display(description=gettext_lazy("next run"), ordering="next_run_time")
    def next_run(self, job: DjangoJob) -> str:
        """Show when the job runs next, or why it does not."""
        return format_html("{}{}", self._when(job), mark(job))

    def _when(self, job: DjangoJob) -> str:
        if job.retired_at:
            return format_html("{} {}", badge("retired"), moment(job.retired_at))
        if job.quarantined_at:
            return with_reason("quarantined", job.quarantine_reason)
        if job.next_run_time is not None:
            return moment(job.next_run_time)
        return with_reason("paused", job.pause_reason, is_problem=False)

    @admin.display(description=gettext_lazy("arguments"))
    def shown_arguments(self, job: DjangoJob) -> str:
        """Show what the function is called with; values of secret names are masked."""
        return api.shown_arguments(job) or NOTHING

    @admin.display(description=gettext_lazy("last run"))
    def last(self, job: Any) -> str:
        """Show how the newest run went, and when it was due."""
        if job.last_status is None:
            return NOTHING
        address = ""
        if job.opens_runs:
            address = page_of(self.admin_site, DjangoJobExecution, job.last_run)
        return format_html(
            "{} {}", badge(job.last_status), link(address, moment(job.last_run_time))
        )

    @admin.display(description=gettext_lazy("avg. duration"))
    def average_run_time(self, job: Any) -> str:
        """Show the average duration of recent successful runs."""
        return seconds(job.average)

    @admin.display(description=gettext_lazy("running"))
    def running_now(self, job: Any) -> str:
        """Show how many runs are running, in all processes, and for how long the first has been."""
        if not job.running or job.running_since is None:
            return str(job.running)
        text = _("%(number)d, for %(elapsed)s")
        return text % {"number": job.running, "elapsed": seconds(job.now - job.running_since)}

    @admin.display(description=gettext_lazy("misfire grace"))
    def misfire_grace(self, job: DjangoJob) -> str:
        """Show by how much a run may be late."""
        if job.misfire_grace_time is None:
            return _("unlimited")
        return _("%(seconds)s s") % {"seconds": job.misfire_grace_time}

    @admin.display(description=gettext_lazy("declared in code"))
    def declared_in_code(self, job: DjangoJob) -> str:
        """Show whether the code declares the job, and where it differs from the code."""
        return declarations.compared(job)
