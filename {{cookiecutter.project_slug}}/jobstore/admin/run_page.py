"""The page of one run: it follows the run to its end, and shows then how that was."""

from typing import Any, cast

from django.contrib import admin
from django.db import router
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy

from jobstore.admin.display import LONG_TEXTS, NOTHING
from jobstore.admin.live import EVERY, LivePage, shown_progress, since
from jobstore.admin.overview import usual_durations
from jobstore.models import DjangoJobExecution, database_now


class RunPage(LivePage):
    """The page of one run, which is refreshed until the run is over."""

    live_template = "admin/jobstore/djangojobexecution/live.html"

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> DjangoJobExecution | None:
        """Return a run with its long texts, and how long it has run if it is running."""
        run = super().get_object(request, object_id, from_field)  # type: ignore[misc]
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
        context |= {"every": 0 if is_over else EVERY}
        return super().render_change_form(request, context, *args, **options)

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
