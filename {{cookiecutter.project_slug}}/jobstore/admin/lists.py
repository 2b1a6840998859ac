"""What the lists share: filters in a form above them, in place of Django's column of links."""

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
        # Nobody selects one to view it: the page is the list.
        self.title = str(capfirst(self.opts.verbose_name_plural))

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        """Leave to Django what is no filter of the form's: it refuses that."""
        rest: dict[str, Any] = super().get_filters_params(params)
        names = self.form_class.names()
        return {name: values for name, values in rest.items() if name not in names}

    def get_queryset(self, request: HttpRequest, *args: Any, **options: Any) -> QuerySet[Any]:
        """Return the rows that match; none if a filter makes no sense."""
        rows: QuerySet[Any] = super().get_queryset(request, *args, **options)
        return self.narrowed(rows) if self.filters.is_valid() else rows.none()

    def narrowed(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows that match filters which make sense."""
        raise NotImplementedError
