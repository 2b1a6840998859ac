"""The fields of a schedule as HTML, each with its label, errors and help.

They are the same for every job, and empty mostly. Django renders three templates for each of them,
which took a third of the answer to a preview. So what is without an error is kept in this process.
"""

from typing import Any

from django.conf import settings
from django.forms import BoundField
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from django.utils.translation import get_language

TEMPLATE = "admin/jobstore/djangojob/field.html"
MAX_KEPT = 500

_kept: dict[tuple[Any, ...], SafeString] = {}


def schedule_row(field: BoundField) -> SafeString:
    """Return a field of a schedule's form.

    :param field: of a form all of whose objects have the same fields, but for values and errors.
    """
    if field.errors:
        return _rendered(field)
    value = field.value()
    # None is not the text None.
    key = (field.name, type(value), str(value), get_language(), settings.TIME_ZONE)
    found = _kept.get(key)
    if found is None:
        if len(_kept) >= MAX_KEPT:
            _kept.clear()
        found = _kept[key] = _rendered(field)
    return found


def _rendered(field: BoundField) -> SafeString:
    return render_to_string(TEMPLATE, {"field": field})
