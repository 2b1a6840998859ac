"""The page of one run: it follows the run to its end, and shows then how that was."""

from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db import router, transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from jobstore import api
from jobstore.admin import attempts
from jobstore.admin.base import ReadOnlyAdmin
from jobstore.admin.display import LONG_TEXTS, NOTHING
from jobstore.admin.live import EVERY, LivePage, shown_progress, since
from jobstore.admin.overview import usual_durations
from jobstore.models import DjangoJobExecution, database_now
from jobstore.sentences import shown

Run = DjangoJobExecution


class RunPage(LivePage, ReadOnlyAdmin):
    """The page of one run, which is refreshed until the run is over."""

    live_template = "admin/jobstore/djangojobexecution/live.html"

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> DjangoJobExecution | None:
        """Return a run with its long texts, and how long it has run if it is running."""
        run = super().get_object(request, object_id, from_field)
        if run is None:
            return None
        run.refresh_from_db(fields=LONG_TEXTS)  # all in one statement
        return cast(DjangoJobExecution, add_elapsed([run])[0])

    def heading_of(self, row: DjangoJobExecution) -> str:
        """Return the run's number and its job."""
        return f"{row.pk}: {row.job_id}"

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **options: Any
    ) -> HttpResponse:
        """Add how often the browser asks again."""
        run = options["obj"]
        is_over = run.status not in DjangoJobExecution.UNFINISHED
        may_cancel = not is_over and run.cancel_requested_at is None
        if may_cancel and self._may_cancel(request, run):
            context["cancel_url"] = self._address_of("jobstore_run_cancel", run)
        context |= {"every": 0 if is_over else EVERY}
        return super().render_change_form(request, context, *args, **options)

    def get_urls(self) -> list[URLPattern]:
        """Add the address that the button posts to."""
        view = self.admin_site.admin_view(self.cancel_view)
        cancel = path("<path:object_id>/cancel-run/", view, name="jobstore_run_cancel")
        return [cancel, *super().get_urls()]

    def cancel_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Cancel one run, and say what becomes of it."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        run = self.get_object(request, unquote(object_id))
        if run is None:
            raise Http404
        if not self.has_view_permission(request, run) or not self._may_cancel(request, run):
            raise PermissionDenied
        try:
            with transaction.atomic(using=router.db_for_write(Run)), api.through("admin"):
                run = api.cancel(run, by=request.user)
                self.log_change(request, run, "Cancelled.")
        except api.OperationError as error:
            self.message_user(request, shown(error), messages.ERROR)
        else:
            is_over = run.status == Run.CANCELLED
            text = _("The run is cancelled.") if is_over else attempts.shown_cancel(run)
            self.message_user(request, text, messages.SUCCESS)
        return redirect(self._address_of("jobstore_djangojobexecution_change", run))

    def _may_cancel(self, request: HttpRequest, run: DjangoJobExecution) -> bool:
        may_cancel = api.may(request.user, "cancel")
        return may_cancel and api.may(request.user, "cancel", attempts.job_of(run))

    def _address_of(self, name: str, run: DjangoJobExecution) -> str:
        return reverse(f"admin:{name}", args=(run.pk,), current_app=self.admin_site.name)

    @admin.display(description=gettext_lazy("progress"))
    def progress(self, run: Any) -> str:
        """Show how far the run has come, as it told by `jobstore.runs.progress`."""
        return shown_progress(run, getattr(run, "now", run.run_time)) or NOTHING


def add_elapsed(runs: list[Any]) -> list[Any]:
    """Set on runs that are running: `now`, and `elapsed` and `usual`, so far and as a rule."""
    running = [(run, begin) for run in runs if (begin := since(run)) is not None]
    if running:
        now = database_now(router.db_for_read(DjangoJobExecution))
        usual = usual_durations({run.job_id for run, _begin in running})
        for run, begin in running:
            run.now, run.elapsed, run.usual = now, now - begin, usual.get(run.job_id)
    return runs
