"""The history: every run of every job, quick to look through with a million rows."""

import functools
from typing import Any

from django.contrib import admin, messages
from django.core.paginator import Paginator
from django.db import router, transaction
from django.db.models import F, QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html

from jobstore import api
from jobstore.admin.base import ReadOnlyAdmin
from jobstore.admin.display import (
    LONG_TEXTS,
    NOTHING,
    badge,
    link,
    local,
    moment,
    moment_of,
    page_of,
    seconds,
)
from jobstore.models import DjangoJob, DjangoJobExecution

# Runs that a list leads to: counting, and leafing through, more of them helps nobody.
MAX_LISTED_RUNS = 10_000
# Jobs that are offered as a filter; any other is found by searching.
MAX_OFFERED_JOBS = 50
# Requests that can be cancelled together.
MAX_CANCELLED_TOGETHER = 1_000


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts no further than MAX_LISTED_RUNS, since databases count by reading every row."""

    @functools.cached_property
    def count(self) -> int:
        """The number of rows, or MAX_LISTED_RUNS if there are more."""
        rows: Any = self.object_list
        return int(rows.order_by()[:MAX_LISTED_RUNS].count())


class JobFilter(admin.SimpleListFilter):
    """Offers the ids of jobs, those in service first; Django's own would load their state."""

    title = "job"
    parameter_name = "job"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the ids, whichever is selected among them."""
        jobs = DjangoJob.all_objects.order_by(F("retired_at").desc(nulls_first=True), "pk")
        ids = list(jobs.values_list("pk", flat=True)[:MAX_OFFERED_JOBS])
        selected = self.value()
        if selected and selected not in ids:
            ids.insert(0, selected)
        return [(job_id, job_id) for job_id in ids]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[DjangoJobExecution]
    ) -> QuerySet[DjangoJobExecution]:
        """Leave the runs of the selected job."""
        selected = self.value()
        return queryset.filter(job=selected) if selected else queryset


@admin.register(DjangoJobExecution)
class DjangoJobExecutionAdmin(ReadOnlyAdmin):
    """Runs, the newest first. Nothing here touches a job's row, let alone its pickled state."""

    list_display = (
        "scheduled",
        "job_link",
        "outcome",
        "started",
        "start_delay",
        "run_time_in_seconds",
        "process",
        "requested_by",
    )
    list_filter = ("status", "run_time", JobFilter)
    actions = ("cancel_selected_requests",)
    search_fields = ("job__id", "exception_type", "exception")
    search_help_text = "Job id, or text of an exception"
    # Any other order would have the database sort every row.
    sortable_by = ("scheduled",)
    paginator = BoundedPaginator
    fieldsets = (
        (None, {"fields": ("job_link", "outcome", "requested_by", "attempt", "own_arguments")}),
        (
            "Times",
            {
                "fields": (
                    "scheduled",
                    "counted",
                    "claimed",
                    "began",
                    "ended",
                    "start_delay",
                    "run_time_in_seconds",
                )
            },
        ),
        ("Process", {"fields": ("process", "epoch")}),
        ("Result", {"fields": ("result_text", "note_text")}),
        ("What went wrong", {"fields": ("exception_type", "exception_text", "traceback_text")}),
    )

    scheduled = moment_of("run_time", "scheduled time", sortable=True)
    claimed = moment_of("claimed_at", "claimed")
    began = moment_of("started_at", "started")
    ended = moment_of("finished", "finished")

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """Tell whether the user may take requests back."""
        return api.may(request.user, "cancel")

    @admin.action(description="Cancel the selected requests", permissions=["cancel"])
    def cancel_selected_requests(
        self, request: HttpRequest, queryset: QuerySet[DjangoJobExecution]
    ) -> None:
        """Take back runs that were asked for and that no scheduler has started yet."""
        cancelled = too_late = 0
        for run in queryset.order_by()[:MAX_CANCELLED_TOGETHER]:
            try:
                with (
                    transaction.atomic(using=router.db_for_write(DjangoJobExecution)),
                    api.through("admin"),
                ):
                    api.cancel(run, by=request.user)
                    self.log_change(request, run, "Cancelled before it started.")
                cancelled += 1
            except api.NotAllowed as error:
                self.message_user(request, str(error), messages.ERROR)
            except api.OperationError:
                too_late += 1
        if cancelled:
            self.message_user(request, f"Cancelled: {cancelled}.", messages.SUCCESS)
        if too_late:
            text = f"Not cancelled, since they have started or ended already: {too_late}."
            self.message_user(request, text, messages.WARNING)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the list, and say where it was cut."""
        return super().changelist_view(request, {"listed": MAX_LISTED_RUNS} | (extra_context or {}))

    def get_queryset(self, request: HttpRequest) -> QuerySet[DjangoJobExecution]:
        """Leave the long texts in the database until somebody looks at one run."""
        # Joined, since a process that is forgotten is then None and raises nothing.
        runs = DjangoJobExecution.objects.select_related("instance")
        return runs.defer(*LONG_TEXTS).order_by(*self.get_ordering(request))

    def has_delete_permission(
        self, request: HttpRequest, obj: DjangoJobExecution | None = None
    ) -> bool:
        """Keep runs that are not finished: they hold the job's place until they are."""
        unfinished = obj is not None and obj.status in DjangoJobExecution.UNFINISHED
        return not unfinished and super().has_delete_permission(request, obj)

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Any], *args: Any, **options: Any
    ) -> HttpResponse | None:
        """Refuse actions on all pages at once: a million rows would be loaded first."""
        if request.POST.get("select_across") not in (None, "", "0"):
            text = "Select runs page by page; `manage.py prune_job_history` deletes many at once."
            self.message_user(request, text, messages.ERROR)
            return None
        return super().response_action(request, queryset, *args, **options)

    @admin.display(description="job")
    def job_link(self, run: DjangoJobExecution) -> str:
        """Show the job's id, which leads to the job."""
        return link(page_of(self.admin_site, DjangoJob, run.job_id), run.job_id)

    @admin.display(description="status")
    def outcome(self, run: DjangoJobExecution) -> str:
        """Show the status, what went wrong in one word, and for how many times the row stands."""
        often = f"{run.times} times" if run.times > 1 else ""
        return format_html("{} {}{}", badge(run.status), run.exception_type, often)

    @admin.display(description="times counted here")
    def counted(self, run: DjangoJobExecution) -> str:
        """Show how many scheduled times the row stands for, and up to which."""
        if run.last_run_time is None:
            return NOTHING
        return f"{run.times}, the last one at {moment(run.last_run_time)}"

    @admin.display(description="started")
    def started(self, run: DjangoJobExecution) -> str:
        """Show when the run started; the date too if it is another than the scheduled one."""
        if run.started_at is None:
            return NOTHING
        same_day = local(run.started_at).date() == local(run.run_time).date()
        return local(run.started_at).strftime("%H:%M:%S") if same_day else moment(run.started_at)

    @admin.display(description="start delay")
    def start_delay(self, run: DjangoJobExecution) -> str:
        """Show how long after its scheduled time the run started."""
        return seconds(run.start_delay)

    @admin.display(description="run time")
    def run_time_in_seconds(self, run: DjangoJobExecution) -> str:
        """Show how long the job itself took."""
        return seconds(run.duration)

    @admin.display(description="process")
    def process(self, run: DjangoJobExecution) -> str:
        """Show where it ran; the process itself may have been forgotten."""
        return str(run.instance or run.instance_id or NOTHING)

    @admin.display(description="arguments of its own")
    def own_arguments(self, run: DjangoJobExecution) -> str:
        """Show what the run was called with in place of its job's arguments; secrets are masked."""
        return api.shown_arguments(run) or NOTHING

    @admin.display(description="returned")
    def result_text(self, run: DjangoJobExecution) -> str:
        """Show what the job returned, if it did and that is kept."""
        return _as_it_is(run.result)

    @admin.display(description="left behind")
    def note_text(self, run: DjangoJobExecution) -> str:
        """Show what the job left behind in its worker, and what became of that."""
        return _as_it_is(run.note)

    @admin.display(description="text")
    def exception_text(self, run: DjangoJobExecution) -> str:
        """Show the exception's text as it is."""
        return _as_it_is(run.exception)

    @admin.display(description="traceback")
    def traceback_text(self, run: DjangoJobExecution) -> str:
        """Show the traceback as it is."""
        return _as_it_is(run.traceback)


def _as_it_is(text: str | None) -> str:
    return format_html('<pre class="jobstore-text">{}</pre>', text) if text else NOTHING
