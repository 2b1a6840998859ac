"""Pages of one row that follow what happens: what a browser asks again, and how it is answered."""

import datetime as dt
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from jobstore.admin.dashboard.charts import elapsed_bar
from jobstore.admin.display import rough_length
from jobstore.admin.refresh import HEADER, Refresh, changed_fragments
from jobstore.history import progress
from jobstore.models import DjangoJobExecution

Run = DjangoJobExecution

# Seconds between two looks: as on the overview, and at what takes longer. 0 would be none.
EVERY, SELDOM = 2, 10


class Named:
    """The row of a page under a name that stays true: headings are not refreshed."""

    def __init__(self, row: Any, name: str) -> None:
        self._row, self._name = row, name

    def __str__(self) -> str:
        return self._name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._row, name)


class LivePage:
    """For an admin class whose page of one row has fragments in a template of their own."""

    live_template = ""

    def heading_of(self, row: Any) -> str:
        """Return the name of a row for headings, without anything that changes."""
        raise NotImplementedError

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **options: Any
    ) -> HttpResponse:
        """Return the page; of a request for fragments, only those that changed."""
        name = self.heading_of(options["obj"])
        context |= {"original": Named(options["obj"], name), "subtitle": name}
        answer: HttpResponse = super().render_change_form(  # type: ignore[misc]
            request, context, *args, **options
        )
        if Refresh.of(request) is None or not isinstance(answer, TemplateResponse):
            return answer
        # Not the page around them, which takes longer than they do.
        answer.template_name = self.live_template
        return changed_fragments(request, answer)

    def _get_obj_does_not_exist_redirect(
        self, request: HttpRequest, opts: Any, object_id: str
    ) -> HttpResponse:
        """Return Django's redirect; to a request for fragments, which come often, no message."""
        if HEADER in request.headers:
            return HttpResponse(status=404)
        redirect: HttpResponse = super()._get_obj_does_not_exist_redirect(  # type: ignore[misc]
            request, opts, object_id
        )
        return redirect


def since(run: DjangoJobExecution) -> dt.datetime | None:
    """Return when a run began that runs; None for any other.

    Its row says so only when it has ended, so the claim counts, which comes just before.
    """
    return (run.started_at or run.claimed_at) if run.status == Run.RUNNING else None


def how_far(run: DjangoJobExecution, now: dt.datetime) -> str:
    """Return how far a run has come or came, in words: what is left as well, while it runs."""
    told = progress.worded(run)
    begin = since(run)
    left = progress.left(run, now - begin) if told and begin is not None else None
    if not left:
        return told
    return _("%(progress)s, about %(length)s left") % {
        "progress": told,
        "length": rough_length(left),
    }


def shown_progress(run: DjangoJobExecution, now: dt.datetime) -> SafeString | str:
    """Return how far a run has come, as a bar and in words; nothing if it told nothing."""
    told = how_far(run, now)
    if not told or run.progress_share is None:
        return told
    return format_html("{}{}", elapsed_bar(run.progress_share), told)
