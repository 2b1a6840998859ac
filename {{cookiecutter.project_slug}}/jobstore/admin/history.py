"""The history: every run of every job, quick to look through with ten million of them."""

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from jobstore import api
from jobstore.admin import search
from jobstore.admin.base import ReadOnlyAdmin
from jobstore.admin.bulk import RunActions
from jobstore.admin.display import (
    LONG_TEXTS,
    NOTHING,
    badge,
    link,
    local,
    moment,
    moment_of,
    page_of,
    rough_length,
    seconds,
)
from jobstore.admin.filters import RunFilters
from jobstore.admin.lists import BoundedList, bounds
from jobstore.admin.live import since
from jobstore.admin.run_page import RunPage, add_elapsed
from jobstore.admin.visible import visible
from jobstore.models import DjangoJob, DjangoJobExecution
from jobstore.texts import requester


class RunList(BoundedList):
    """A page of the runs that match the filters."""

    form_class = RunFilters
    filters: RunFilters
    until = "scheduled_to"

    def find(self, request: HttpRequest) -> search.Found:
        """Return the runs that match."""
        return search.find(
            self.filters,
            limit=search.MAX_LISTED_RUNS,
            oldest_first="run_time" in self.queryset.query.order_by,
            visible=visible(request),
        )

    def completed(self, rows: list[Any]) -> list[Any]:
        """Add how long those have run that are running."""
        return add_elapsed(rows)


@admin.register(DjangoJobExecution)
class DjangoJobExecutionAdmin(RunPage, RunActions, ReadOnlyAdmin):
    """Runs, the newest first. Nothing here reads a job's pickled state."""

    list_display = (
        "scheduled",
        "job_link",
        "outcome",
        "started",
        "start_delay",
        "took",
        "process",
        "asked_by",
    )
    # For any other order the database would have to sort every row.
    sortable_by = ("scheduled",)
    fieldsets = (
        (
            None,
            {"fields": ("job_link", "outcome", "progress", "asked_by", "attempt", "own_arguments")},
        ),
        (
            gettext_lazy("Times"),
            {
                "fields": (
                    "scheduled",
                    "counted",
                    "claimed",
                    "began",
                    "ended",
                    "start_delay",
                    "took",
                )
            },
        ),
        (gettext_lazy("Process"), {"fields": ("process", "epoch")}),
        (gettext_lazy("Result"), {"fields": ("result_text", "note_text")}),
        (
            gettext_lazy("What went wrong"),
            {"fields": ("exception_type", "exception_text", "traceback_text")},
        ),
    )

    scheduled = moment_of("run_time", gettext_lazy("scheduled time"), sortable=True)
    claimed = moment_of("claimed_at", gettext_lazy("claimed"))
    began = moment_of("started_at", gettext_lazy("started"))
    ended = moment_of("finished", gettext_lazy("finished"))

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[ChangeList]:
        """Return the list class that finds its rows within limits."""
        return RunList

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the list, and say where the search ended."""
        context = bounds(request) | {"all_matching": self.all_matching(request)}
        return super().changelist_view(request, context | (extra_context or {}))

    def get_queryset(self, request: HttpRequest) -> QuerySet[DjangoJobExecution]:
        """Return the runs of jobs that the user may see."""
        return self.all_rows(request).filter(visible(request).q())

    def all_rows(self, request: HttpRequest) -> QuerySet[DjangoJobExecution]:
        """Leave out the long texts, which only the page of one run shows."""
        # Joined, so that a process whose row was deleted is None and raises nothing.
        runs = DjangoJobExecution.objects.select_related("instance")
        return runs.defer(*LONG_TEXTS).order_by(*self.get_ordering(request))

    def has_view_permission(
        self, request: HttpRequest, obj: DjangoJobExecution | None = None
    ) -> bool:
        """Tell whether the user may look at runs, or at this one, whose job may be hidden."""
        may_view = super().has_view_permission(request, obj)
        return may_view and (obj is None or api.sees(request.user, obj.job_id))

    def has_delete_permission(
        self, request: HttpRequest, obj: DjangoJobExecution | None = None
    ) -> bool:
        """Protect runs that are not finished: they count for `max_instances` until they are."""
        unfinished = obj is not None and obj.status in DjangoJobExecution.UNFINISHED
        is_seen = obj is None or api.sees(request.user, obj.job_id)
        return not unfinished and is_seen and super().has_delete_permission(request, obj)

    @admin.display(description=gettext_lazy("job"))
    def job_link(self, run: DjangoJobExecution) -> str:
        """Show the job's id, which leads to the job."""
        return link(page_of(self.admin_site, DjangoJob, run.job_id), run.job_id)

    @admin.display(description=gettext_lazy("status"))
    def outcome(self, run: DjangoJobExecution) -> str:
        """Show the status, the type of an exception, and how many times the row counts."""
        often = ngettext("%(number)d time", "%(number)d times", run.times)
        often = often % {"number": run.times} if run.times > 1 else ""
        more = " ".join(filter(None, (run.exception_type, often)))
        return format_html("{} {}", badge(run.status), more)

    @admin.display(description=gettext_lazy("times counted here"))
    def counted(self, run: DjangoJobExecution) -> str:
        """Show how many scheduled times the row counts, and the last of them."""
        if run.last_run_time is None:
            return NOTHING
        text = _("%(number)d, the last one at %(time)s")
        return text % {"number": run.times, "time": moment(run.last_run_time)}

    @admin.display(description=gettext_lazy("started"))
    def started(self, run: DjangoJobExecution) -> str:
        """Show when the run started, with the date if it is not the scheduled one."""
        if run.started_at is None:
            return NOTHING
        same_day = local(run.started_at).date() == local(run.run_time).date()
        return local(run.started_at).strftime("%H:%M:%S") if same_day else moment(run.started_at)

    @admin.display(description=gettext_lazy("start delay"))
    def start_delay(self, run: DjangoJobExecution) -> str:
        """Show how long after its scheduled time the run started."""
        begin = since(run)
        return seconds(run.start_delay if begin is None else begin - run.run_time)

    @admin.display(description=gettext_lazy("requested by"))
    def asked_by(self, run: DjangoJobExecution) -> str:
        """Show who or what requested the run; empty for a scheduled run."""
        return requester(run.requested_by) or NOTHING

    @admin.display(description=gettext_lazy("duration"))
    def took(self, run: Any) -> str:
        """Show how long the job itself took, or how long it has been running."""
        if getattr(run, "elapsed", None) is None:
            return seconds(run.duration)
        if run.usual is None:
            return _("%(elapsed)s so far") % {"elapsed": rough_length(run.elapsed.total_seconds())}
        return _("%(elapsed)s so far, usually %(usual)s") % {
            "elapsed": rough_length(run.elapsed.total_seconds()),
            "usual": rough_length(run.usual) if run.usual >= 10 else seconds(run.usual),
        }

    @admin.display(description=gettext_lazy("process"))
    def process(self, run: DjangoJobExecution) -> str:
        """Show where it ran; the process's row may have been deleted."""
        return str(run.instance or run.instance_id or NOTHING)

    @admin.display(description=gettext_lazy("arguments of its own"))
    def own_arguments(self, run: DjangoJobExecution) -> str:
        """Show the run's own arguments, if it has any; secrets are masked."""
        return api.shown_arguments(run) or NOTHING

    @admin.display(description=gettext_lazy("returned"))
    def result_text(self, run: DjangoJobExecution) -> str:
        """Show what the job returned, if it is kept."""
        return _as_it_is(run.result)

    @admin.display(description=gettext_lazy("left behind"))
    def note_text(self, run: DjangoJobExecution) -> str:
        """Show what the job left behind in its worker, and what became of it."""
        return _as_it_is(run.note)

    @admin.display(description=gettext_lazy("text"))
    def exception_text(self, run: DjangoJobExecution) -> str:
        """Show the exception's text as it is."""
        return _as_it_is(run.exception)

    @admin.display(description=gettext_lazy("traceback"))
    def traceback_text(self, run: DjangoJobExecution) -> str:
        """Show the traceback as it is."""
        return _as_it_is(run.traceback)


def _as_it_is(text: str | None) -> str:
    return format_html('<pre class="jobstore-text">{}</pre>', text) if text else NOTHING
