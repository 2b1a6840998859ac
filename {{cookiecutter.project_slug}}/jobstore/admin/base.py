"""The parts that all pages share: nobody edits rows by hand, and a banner says who is active."""

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.contrib.admin.views.main import ERROR_FLAG
from django.core.exceptions import FieldError, ValidationError
from django.db import DatabaseError, connections, router, transaction
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext as _

from jobstore.admin.display import moment
from jobstore.admin.filters import FilterForm
from jobstore.models import DjangoJob, SchedulerInstance, SchedulerLease, database_now

# The errors of Django or a database for a wrong filter or search.
CANNOT_ASK = (ValueError, TypeError, OverflowError, FieldError, ValidationError, DatabaseError)
# The lookups that the filters of a page put after a field's name.
LOOKUPS = ("", "exact", "isnull", "gte", "lt")


@dataclasses.dataclass(frozen=True)
class Active:
    """The scheduler that holds a valid lease."""

    process: str
    lease: SchedulerLease

    @property
    def until(self) -> str:
        """When the lease ends unless it is renewed."""
        return moment(self.lease.expires_at)


def look_for_active() -> Active | None:
    """Return the active scheduler, or None if nobody holds a valid lease."""
    using = router.db_for_read(DjangoJob)
    process = SchedulerInstance.objects.filter(pk=OuterRef("holder"))
    leases = SchedulerLease.objects.using(using).filter(name=SchedulerLease.DEFAULT)
    lease = leases.annotate(
        host=Subquery(process.values("host")[:1]), pid=Subquery(process.values("pid")[:1])
    ).first()
    if lease is None or lease.expires_at is None or lease.expires_at <= database_now(using):
        return None
    # A holder without a row is shown by its id.
    known = SchedulerInstance(host=lease.host, pid=lease.pid) if lease.host else lease.holder
    return Active(str(known), lease)


def _is_refused(request: HttpRequest, response: HttpResponse) -> bool:
    """Tell whether Django refuses an address, about which it gives no message.

    It redirects to the whole list with a mark. For an address with the mark it would say that the
    database is broken.
    """
    leads_to_mark = getattr(response, "url", "").endswith(f"?{ERROR_FLAG}=1")
    return leads_to_mark or ERROR_FLAG in request.GET


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Rows are written by the scheduler and by actions only."""

    # Each count beside a filter would read the whole history.
    show_facets = admin.ShowFacets.NEVER
    show_full_result_count = False

    class Media:
        css = {"all": ["jobstore/admin.css"]}

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds rows by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody edits rows by hand."""
        return False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the list below a banner that says who is active.

        Parts of an address that no database can answer are ignored, with a message.
        """
        if not self._are_keys(request.POST.getlist(helpers.ACTION_CHECKBOX_NAME)):
            text = _("There is no such row; nothing was done.")
            self.message_user(request, text, messages.ERROR)
            return HttpResponseRedirect(request.path)
        # A function: if an action was posted and no list is shown, the database is not asked.
        context = {"look_for_active": look_for_active} | (extra_context or {})
        if request.method == "GET" and (form := self.filters_of(request)) and form.has_blanks:
            return HttpResponseRedirect(request.path + form.without_blanks)
        if request.method != "GET" or not request.GET:
            return super().changelist_view(request, context)
        try:
            with self._harmless():
                response = super().changelist_view(request, context)
                if isinstance(response, TemplateResponse):
                    # Most errors occur when the rows are read, which is now.
                    response.render()
                if not _is_refused(request, response):
                    return response
        except CANNOT_ASK:
            pass
        text = _("This filter is not valid; the list is shown without it.")
        self.message_user(request, text, messages.WARNING)
        return HttpResponseRedirect(request.path)

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Any], *args: Any, **options: Any
    ) -> HttpResponse | None:
        """Say so if none of the selected rows is in the list any more."""
        selected = request.POST.getlist(helpers.ACTION_CHECKBOX_NAME)
        is_across = request.POST.get("select_across") not in (None, "", "0")
        if selected and not is_across and not queryset.filter(pk__in=selected).exists():
            self.message_user(
                request,
                _("None of the selected rows is in this list any more; nothing was done."),
                messages.WARNING,
            )
            return HttpResponseRedirect(request.get_full_path())
        return super().response_action(request, queryset, *args, **options)

    def filters_of(self, request: HttpRequest) -> FilterForm | None:
        """Return the filters of the list, as the address sets them, if it has a form of them."""
        form = getattr(self.get_changelist(request), "form_class", None)
        return None if form is None else form.of(request.GET)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """Allow only lookups of the page itself; others could reveal values it does not show."""
        name, _, kind = lookup.partition("__")
        offered = {
            one if isinstance(one, str) else getattr(one, "parameter_name", None)
            for one in self.list_filter
        }
        return name in offered and kind in LOOKUPS

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Any:
        """Return a row, or None for a text that no database accepts as a key."""
        if not self._are_keys([object_id]):
            return None
        return self.all_rows(request).filter(pk=object_id).first()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the rows that the user may see in lists."""
        return self.all_rows(request)

    def all_rows(self, request: HttpRequest) -> QuerySet[Any]:
        """Return all rows. Whoever asks for one of them is asked for the right to see that one."""
        rows: QuerySet[Any] = super().get_queryset(request)
        return rows

    def _are_keys(self, values: Iterable[str]) -> bool:
        """Tell whether all could be keys of a row."""
        field = self.model._meta.pk
        try:
            for value in values:
                if "\x00" in value:
                    return False
                field.run_validators(field.to_python(value))
        except (ValidationError, ValueError, OverflowError):
            return False
        return True

    @contextlib.contextmanager
    def _harmless(self) -> Iterator[None]:
        """Let a statement fail without harm to a transaction around the whole request."""
        using = router.db_for_read(self.model)
        if connections[using].in_atomic_block:
            with transaction.atomic(using=using):
                yield
        else:
            yield
