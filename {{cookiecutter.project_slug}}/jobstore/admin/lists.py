"""The part that all lists share: a form of filters above the list, not Django's column of links."""

from typing import Any

from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.paginator import InvalidPage, Paginator
from django.db.models import F, QuerySet
from django.http import HttpRequest
from django.utils.formats import number_format
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from jobstore.admin import search
from jobstore.admin.display import local, moment
from jobstore.admin.filters import FilterForm, for_address
from jobstore.admin.visible import visible
from jobstore.models import DjangoJob

# Jobs that a filter offers; ids of others can be typed.
MAX_OFFERED_JOBS = 50


class FilteredList(ChangeList):
    """A list whose rows a form of filters chooses."""

    form_class: type[FilterForm]

    def __init__(self, request: HttpRequest, *args: Any, **options: Any) -> None:
        self.filters = self.form_class.of(request.GET)
        super().__init__(request, *args, **options)
        # Django's title would ask to select one; this page is the list itself.
        self.title = str(capfirst(self.opts.verbose_name_plural))

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        """Leave parameters that are no filters of the form to Django, which refuses them."""
        rest: dict[str, Any] = super().get_filters_params(params)
        names = self.form_class.names()
        return {name: values for name, values in rest.items() if name not in names}

    def get_queryset(self, request: HttpRequest, *args: Any, **options: Any) -> QuerySet[Any]:
        """Return the rows that match; none if a filter is wrong."""
        rows: QuerySet[Any] = super().get_queryset(request, *args, **options)
        return self.narrowed(rows) if self.filters.is_valid() else rows.none()

    def narrowed(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows that match valid filters."""
        raise NotImplementedError


class BoundedList(FilteredList):
    """A list that finds the keys of its rows first, within bounds, and then reads those of a page.

    Counting, and leafing through, more than search.MAX_LISTED rows helps nobody.
    """

    found: search.Found
    # The parameter of the address that leads to older rows.
    until: str

    def get_results(self, request: HttpRequest) -> None:
        """Find the keys of the rows that match, and read those of one page."""
        self.found = search.Found([])
        if self.filters.is_valid():
            self.found = self.find(request)
        self.paginator = Paginator(self.found.ids, self.list_per_page)
        self.result_count = self.paginator.count
        self.show_full_result_count = False
        self.full_result_count = None
        self.show_admin_actions = True
        self.can_show_all = self.result_count <= self.list_max_show_all
        self.multi_page = self.result_count > self.list_per_page
        keys = self.found.ids
        if self.multi_page and not (self.show_all and self.can_show_all):
            try:
                keys = self.paginator.page(self.page_num).object_list
            except InvalidPage:
                raise IncorrectLookupParameters from None
        shown = self.queryset.filter(pk__in=keys)
        self.result_list = self.completed(list(shown)) if keys else []

    def find(self, request: HttpRequest) -> search.Found:
        """Return the keys of the rows that match filters which make sense."""
        raise NotImplementedError

    def completed(self, rows: list[Any]) -> list[Any]:
        """Return the rows of a page with what is known of them beside their columns."""
        return rows

    def narrowed(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Leave all rows: `get_results` finds those that match, and actions name theirs."""
        return queryset

    @property
    def since(self) -> str:
        """Where the search ended."""
        return moment(self.found.since)

    @property
    def amount(self) -> str:
        """How many rows match, as far as they were counted."""
        number = number_format(self.result_count, force_grouping=True)
        return _("more than %(number)s") % {"number": number} if self.found.is_cut else number

    @property
    def older(self) -> str:
        """The query of an address that goes on where the search ended."""
        since = self.found.since
        return self.filters.with_(**{self.until: for_address(local(since))}) if since else ""


def bounds(request: HttpRequest) -> dict[str, Any]:
    """Return what a BoundedList's page says of its bounds, and the jobs that its filter offers."""
    return {
        "listed": search.MAX_LISTED_RUNS,
        "searched": search.SEARCHED_RUNS,
        "offered_jobs": lambda: _offered_jobs(request),
    }


def _offered_jobs(request: HttpRequest) -> list[str]:
    # Those in service first.
    jobs = DjangoJob.all_objects.order_by(F("retired_at").desc(nulls_first=True), "pk")
    seen = jobs.filter(visible(request).q("pk"))
    return list(seen.values_list("pk", flat=True)[:MAX_OFFERED_JOBS])
