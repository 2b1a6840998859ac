"""The audit: who did what to which job or run, when, in which way, and what that changed."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin import AdminSite
from django.contrib.admin.views.main import ChangeList
from django.db import router
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from jobstore import api
from jobstore.admin import search
from jobstore.admin.base import ReadOnlyAdmin
from jobstore.admin.display import audit_of, link, moment_of, page_of
from jobstore.admin.filters import FilterForm, MomentField, PlainText, between
from jobstore.admin.lists import BoundedList, bounds
from jobstore.admin.preview import changes_of
from jobstore.admin.visible import visible
from jobstore.models import AuditEntry, DjangoJob, DjangoJobExecution

VIEW_AUDIT = "jobstore.view_auditentry"

# Entries that the page of a job shows, and changes of an entry that a list shows before it folds
# the others away.
SHOWN_ENTRIES, SHOWN_CHANGES = 10, 3

# What entries call what was done.
VERBS = {
    "add": _("added"),
    "run": _("asked for a run"),
    "cancel": _("cancelled a run"),
    "pause": _("paused"),
    "resume": _("resumed"),
    "reschedule": _("rescheduled"),
    "change": _("changed"),
    "reset": _("reset to code"),
    "retire": _("retired"),
}
WAYS = {"admin": _("admin"), "command": _("command"), "code": _("code")}


class AuditFilters(FilterForm):
    """Filters of entries."""

    FIRST = ("job", "who", "done_from", "done_to", "verb")

    job = PlainText(
        label=_("Job"),
        max_length=255,
        strip=False,
        widget=forms.TextInput(attrs={"list": "jobstore-jobs", "placeholder": _("its whole id")}),
    )
    who = PlainText(
        label=_("Done by"), widget=forms.TextInput(attrs={"placeholder": _("a part of the name")})
    )
    done_from = MomentField(label=_("Done from"))
    done_to = MomentField(label=_("Done before"), is_end=True)
    verb = forms.MultipleChoiceField(
        label=_("What was done"),
        required=False,
        choices=list(VERBS.items()),
        widget=forms.CheckboxSelectMultiple,
        error_messages={"invalid_choice": _("Nothing is called that.")},
    )
    through = forms.MultipleChoiceField(
        label=_("In which way"),
        required=False,
        choices=list(WAYS.items()),
        widget=forms.CheckboxSelectMultiple,
        error_messages={"invalid_choice": _("There is no such way.")},
    )

    def range(self) -> Q:
        """Return what the index of a job's entries, or of all, answers."""
        found = Q(job_id=self.cleaned_data["job"]) if self.cleaned_data["job"] else Q()
        return found & between("at", self.cleaned_data, "done")

    def conditions(self) -> Q:
        """Return what has to be looked at in each entry."""
        given, found = self.cleaned_data, Q()
        if given["who"]:
            found &= Q(who__icontains=given["who"])
        if given["verb"]:
            found &= Q(verb__in=given["verb"])
        if given["through"]:
            found &= Q(through__in=given["through"])
        return found


class AuditList(BoundedList):
    """A page of the entries that match the filters."""

    form_class = AuditFilters
    filters: AuditFilters
    until = "done_to"

    def find(self, request: HttpRequest) -> search.Found:
        """Return the entries that match, of jobs that the user may see."""
        seen = visible(request)
        narrow, conditions = self.filters.range(), self.filters.conditions()
        if seen.few is not None:
            narrow &= seen.q()
        else:
            conditions &= seen.q()
        return search.find_entries(
            AuditEntry.objects.using(router.db_for_read(AuditEntry)),
            narrow,
            conditions,
            limit=search.MAX_LISTED_RUNS,
            oldest_first="at" in self.queryset.query.order_by,
        )


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    """Entries, the newest first. Nobody adds, changes or deletes one here."""

    list_display = ("when", "by", "did", "job_link", "run_link", "way", "changes")
    sortable_by = ("when",)
    fields = list_display
    actions = None

    when = moment_of("at", _("when"), sortable=True)

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[ChangeList]:
        """Return the list that finds its rows within bounds."""
        return AuditList

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the list, and say where it was cut."""
        return super().changelist_view(request, bounds(request) | (extra_context or {}))

    def get_queryset(self, request: HttpRequest) -> QuerySet[AuditEntry]:
        """Return the entries about jobs that the user may see."""
        return self.all_rows(request).filter(visible(request).q())

    def has_view_permission(self, request: HttpRequest, obj: AuditEntry | None = None) -> bool:
        """Tell whether the user may look at entries, or at this one, whose job may be hidden."""
        may_view = super().has_view_permission(request, obj)
        return may_view and (obj is None or api.sees(request.user, obj.job_id))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Housekeeping deletes entries that are older than the history."""
        return False

    @admin.display(description=_("done by"))
    def by(self, entry: AuditEntry) -> str:
        """Show who did it, as the operation was told."""
        return entry.who

    @admin.display(description=_("what"))
    def did(self, entry: AuditEntry) -> str:
        """Show what was done."""
        return str(VERBS.get(entry.verb, entry.verb))

    @admin.display(description=_("job"))
    def job_link(self, entry: AuditEntry) -> str:
        """Show the job's id, which leads to the job."""
        return link(page_of(self.admin_site, DjangoJob, entry.job_id), entry.job_id)

    @admin.display(description=_("run"))
    def run_link(self, entry: AuditEntry) -> str:
        """Show the run, which leads to it as long as it is kept."""
        return _run_of(self.admin_site, entry)

    @admin.display(description=_("through"))
    def way(self, entry: AuditEntry) -> str:
        """Show in which way it was done."""
        return _way(entry)

    @admin.display(description=_("before and after"))
    def changes(self, entry: AuditEntry) -> str:
        """Show what differs."""
        return _changes(entry)


def latest_entries(site: AdminSite, request: HttpRequest, job_id: str) -> dict[str, Any]:
    """Return what the page of a job shows of its audit. One statement."""
    entries = AuditEntry.objects.using(router.db_for_read(AuditEntry)).filter(job_id=job_id)
    may_view_runs = request.user.has_perm("jobstore.view_djangojobexecution")
    return {
        "audit": [
            {
                "entry": entry,
                "way": _way(entry),
                "did": VERBS.get(entry.verb, entry.verb),
                "run": _run_of(site, entry) if may_view_runs else entry.run_id or "",
                "changes": _changes(entry),
            }
            for entry in entries.order_by("-at", "-pk")[:SHOWN_ENTRIES]
        ],
        "audit_url": audit_of(site, job_id),
    }


def _way(entry: AuditEntry) -> str:
    return str(WAYS.get(entry.through, entry.through))


def _run_of(site: AdminSite, entry: AuditEntry) -> str:
    if entry.run_id is None:
        return ""
    return link(page_of(site, DjangoJobExecution, entry.run_id), entry.run_id)


def _changes(entry: AuditEntry) -> SafeString:
    found = changes_of(entry)
    context = {
        "first": found[:SHOWN_CHANGES],
        "others": found[SHOWN_CHANGES:],
        "is_new": not entry.before,
    }
    return render_to_string("admin/jobstore/audit_changes.html", context)
