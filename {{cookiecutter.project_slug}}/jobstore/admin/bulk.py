"""The actions on many runs at once: on the selected ones, or on all that match.

The filters in the address say which runs match, within the limits of the list. They are changed in
batches, after a confirmation that says how many and which they are.
"""

import collections
import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.options import get_content_type_for_model
from django.core.exceptions import PermissionDenied
from django.db import router, transaction
from django.db.models import Count, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, gettext_noop, ngettext, ngettext_lazy

from jobstore import api
from jobstore.admin import export, search
from jobstore.admin.base import ReadOnlyAdmin
from jobstore.admin.filters import RunFilters
from jobstore.admin.visible import visible
from jobstore.api.bulk import (
    BATCH_RUNS,
    ENDED,
    FORBIDDEN,
    GONE,
    QUARANTINED,
    RETIRED,
    UNFINISHED,
    UNREADABLE,
)
from jobstore.batches import batched
from jobstore.models import DjangoJobExecution

Run = DjangoJobExecution

# Runs that are changed together at most; more are probably a mistake.
MAX_CHANGED_RUNS = 10_000
# Runs that are counted in one statement, by their ids.
COUNTED_RUNS = 1_000
# Jobs and filters that a confirmation names.
MAX_NAMED_JOBS = 10


@dataclasses.dataclass(frozen=True)
class Verb:
    """An action on many runs: its words, and how a batch of ids is treated."""

    label: Any
    # Of these two, `number` decides the plural, and `runs` is how it is written.
    question: Any
    confirmation: Any
    explanation: Any
    done: Any
    log: str
    right: str
    act: Callable[..., api.Outcome]
    statuses: tuple[str, ...]
    # Whether it cannot be undone.
    is_final: bool = False


VERBS = {
    "run-again": Verb(
        label=gettext_lazy("Run again"),
        question=ngettext_lazy("Run %(runs)s run again?", "Run %(runs)s runs again?", "number"),
        confirmation=ngettext_lazy(
            "Yes, run again: %(runs)s run", "Yes, run again: %(runs)s runs", "number"
        ),
        explanation=gettext_lazy(
            "Each of them is asked for once more, with the arguments that it had. The active "
            "scheduler runs them in turns with what is scheduled, as max_instances of their jobs "
            "allows."
        ),
        done=gettext_lazy("Asked for again: %(number)s."),
        log=gettext_noop("Asked for again as run %(key)s."),
        right="run",
        act=api.run_all_again,
        statuses=tuple(status for status in Run.STATUSES if status not in Run.UNFINISHED),
    ),
    "cancel": Verb(
        label=gettext_lazy("Cancel requests"),
        question=ngettext_lazy("Cancel %(runs)s run?", "Cancel %(runs)s runs?", "number"),
        confirmation=ngettext_lazy(
            "Yes, cancel requests: %(runs)s run", "Yes, cancel requests: %(runs)s runs", "number"
        ),
        explanation=gettext_lazy("They were asked for and have not begun; they will not run."),
        done=gettext_lazy("Cancelled: %(number)s."),
        log=gettext_noop("Cancelled before it started."),
        right="cancel",
        act=api.cancel_all,
        statuses=(Run.REQUESTED,),
        is_final=True,
    ),
}
EXPORT = "export"
# Why runs were left alone, before their number.
LEFT = {
    UNFINISHED: gettext_lazy("Left alone, since they have not ended yet:"),
    ENDED: gettext_lazy("Left alone, since they have begun or ended already:"),
    GONE: gettext_lazy("Left alone, since they are not in the history any more:"),
    RETIRED: gettext_lazy("Left alone, since they belong to jobs that are not in service:"),
    QUARANTINED: gettext_lazy("Left alone, since they belong to jobs in quarantine:"),
    UNREADABLE: gettext_lazy("Left alone, since they have arguments that cannot be read:"),
    FORBIDDEN: gettext_lazy("Left alone, since they belong to jobs that you may not do this with:"),
}


class RunActions(ReadOnlyAdmin):
    """The actions of the page of runs."""

    actions = ("run_selected_again", "cancel_selected_requests", "export_selected")

    def has_run_permission(self, request: HttpRequest) -> bool:
        """Tell whether the user may request runs."""
        return api.may(request.user, "run")

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        """Tell whether the user may cancel requested runs."""
        return api.may(request.user, "cancel")

    @admin.action(description=gettext_lazy("Run the selected runs again"), permissions=["run"])
    def run_selected_again(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Request another run of each, with the arguments that it had."""
        self._change(request, VERBS["run-again"], _keys(queryset))

    @admin.action(description=gettext_lazy("Cancel the selected requests"), permissions=["cancel"])
    def cancel_selected_requests(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Cancel requested runs that no scheduler has started yet."""
        self._change(request, VERBS["cancel"], _keys(queryset))

    @admin.action(description=gettext_lazy("Export the selected runs as CSV"), permissions=["view"])
    def export_selected(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponseBase:
        """Send the selected runs as a file."""
        return export.as_csv(_keys(queryset))

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Any], *args: Any, **options: Any
    ) -> HttpResponse | None:
        """Refuse Django's own way to act on all pages: it would load every row."""
        if request.POST.get("select_across") not in (None, "", "0"):
            text = _(
                "Use the links below the filters for all runs that match; `manage.py "
                "prune_job_history` deletes many at once."
            )
            self.message_user(request, text, messages.ERROR)
            return None
        return super().response_action(request, queryset, *args, **options)

    # --- All that match -------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        """Add the pages that act on all runs that match."""
        view = self.admin_site.admin_view(self.all_view)
        return [path("all/<slug:name>/", view, name="jobstore_run_all"), *super().get_urls()]

    def all_matching(self, request: HttpRequest) -> list[tuple[str, str]]:
        """Return what the user may do with all runs that match: addresses and labels."""
        names = [name for name, verb in VERBS.items() if api.may(request.user, verb.right)]
        labels = {name: f"{VERBS[name].label}…" for name in names} | {EXPORT: _("Export as CSV")}
        return [(self._address_of_all(name), label) for name, label in labels.items()]

    def _address_of_all(self, name: str) -> str:
        site = self.admin_site.name
        return reverse("admin:jobstore_run_all", args=(name,), current_app=site)

    def all_view(self, request: HttpRequest, name: str) -> HttpResponseBase:
        """Run an action on all runs that match the address, after a confirmation."""
        verb = VERBS.get(name)
        if verb is None and name != EXPORT:
            raise Http404
        if not self.has_view_permission(request):
            raise PermissionDenied
        if verb is not None and not api.may(request.user, verb.right):
            raise PermissionDenied
        filters = RunFilters.of(request.GET)
        back = self._list_address() + filters.own_query
        if not filters.is_valid():
            return HttpResponseRedirect(back)  # the list says what is wrong
        if verb is None:
            return self._export(request, filters, back)
        return self._change_all(request, verb, filters, back)

    def _list_address(self) -> str:
        name = "admin:jobstore_djangojobexecution_changelist"
        return reverse(name, current_app=self.admin_site.name)

    def _export(self, request: HttpRequest, filters: RunFilters, back: str) -> HttpResponseBase:
        found = search.find(filters, limit=export.MAX_EXPORTED_RUNS, visible=visible(request))
        if found.is_cut:
            return self._too_many(request, export.MAX_EXPORTED_RUNS, back)
        return export.as_csv(found.ids)

    def _change_all(
        self, request: HttpRequest, verb: Verb, filters: RunFilters, back: str
    ) -> HttpResponse:
        # Runs that were written after the question was asked are not included.
        newest = request.POST.get("newest", "")
        newest_id = int(newest) if newest.isascii() and newest.isdecimal() else None
        if newest_id is not None and not self._are_keys([newest]):
            raise Http404
        found = search.find(
            filters,
            limit=MAX_CHANGED_RUNS,
            newest_id=newest_id,
            statuses=verb.statuses,
            visible=visible(request),
        )
        if found.is_cut:
            return self._too_many(request, MAX_CHANGED_RUNS, back)
        if not found.ids:
            text = _("No run matches of which that can be done.")
            self.message_user(request, text, messages.WARNING)
            return HttpResponseRedirect(back)
        if request.method == "POST" and newest_id is not None:
            self._change(request, verb, found.ids)
            return HttpResponseRedirect(back)
        number = {"number": len(found.ids), "runs": _grouped(len(found.ids))}
        context = {
            **self.admin_site.each_context(request),
            "title": verb.question % number,
            "original": verb.label,
            "has_view_permission": True,
            "opts": self.opts,
            "media": self.media,
            "verb": verb,
            "confirmation": verb.confirmation % number,
            "chips": list(filters.chips()),
            "since": found.since,
            "searched": search.SEARCHED_RUNS,
            "newest": max(found.ids),
            "back": back,
            "counts": _counts(found.ids),
            "named": MAX_NAMED_JOBS,
        }
        request.current_app = self.admin_site.name
        template = "admin/jobstore/djangojobexecution/all_confirmation.html"
        return TemplateResponse(request, template, context)

    def _too_many(self, request: HttpRequest, most: int, back: str) -> HttpResponse:
        text = ngettext(
            "More than %(runs)s run matches; nothing was done. Narrow the filters, by a job or by "
            "the scheduled time, and go on in parts.",
            "More than %(runs)s runs match; nothing was done. Narrow the filters, by a job or by "
            "the scheduled time, and go on in parts.",
            most,
        )
        self.message_user(request, text % {"runs": _grouped(most)}, messages.ERROR)
        return HttpResponseRedirect(back)

    def _change(self, request: HttpRequest, verb: Verb, ids: list[int]) -> None:
        """Change runs in batches, each with entries in both logs, and show the outcome."""
        total = api.Outcome()
        for batch in batched(ids, BATCH_RUNS):
            with transaction.atomic(using=router.db_for_write(Run)), api.through("admin"):
                outcome = verb.act(batch, by=request.user)
                self._log(request, verb, outcome)
            total.add(outcome)
        if total.done:
            text = verb.done % {"number": _grouped(len(total.done))}
            self.message_user(request, text, messages.SUCCESS)
        for why, number in sorted(total.left.items()):
            text = f"{LEFT[why]} {_grouped(number)}."
            self.message_user(request, text, messages.WARNING)

    def _log(self, request: HttpRequest, verb: Verb, outcome: api.Outcome) -> None:
        content_type = get_content_type_for_model(Run)
        LogEntry.objects.bulk_create(
            LogEntry(
                user_id=request.user.pk or 0,
                content_type_id=content_type.pk,
                object_id=str(run_id),
                object_repr=f"run {run_id}",
                action_flag=CHANGE,
                change_message=verb.log % {"key": key},
            )
            for run_id, key in outcome.done.items()
        )


def _keys(queryset: QuerySet[Any]) -> list[int]:
    return list(queryset.values_list("pk", flat=True)[:MAX_CHANGED_RUNS])


def _grouped(number: int) -> str:
    return number_format(number, force_grouping=True)


def _counts(ids: Iterable[int]) -> dict[str, list[tuple[str, int]]]:
    """Return how many of these runs each status and each job has, the most frequent first."""
    statuses: collections.Counter[str] = collections.Counter()
    jobs: collections.Counter[str] = collections.Counter()
    for batch in batched(list(ids), COUNTED_RUNS):
        rows = Run.objects.filter(pk__in=batch).order_by().values_list("status", "job_id")
        for status, job_id, number in rows.annotate(number=Count("pk")):
            statuses[status] += number
            jobs[job_id] += number
    return {"status": statuses.most_common(), "job": jobs.most_common()}
