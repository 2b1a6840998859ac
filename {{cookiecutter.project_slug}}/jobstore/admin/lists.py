"""The part that all lists share: a form of filters above the list, not Django's column of links."""

from typing import Any

from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.text import capfirst

from jobstore.admin.filters import FilterForm


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
