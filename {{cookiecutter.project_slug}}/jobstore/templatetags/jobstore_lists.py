"""Template tags and filters of the lists."""

import datetime as dt
from collections.abc import Iterable, Iterator
from typing import Any

from django import template
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from django.utils.text import capfirst
from django.utils.translation import gettext

from jobstore.admin.display import moment

register = template.Library()


@register.filter
def labelled(cells: Iterable[Any], headers: Iterable[dict[str, Any]]) -> Iterator[SafeString]:
    """Yield the cells of a row, each with its column's header, which narrow screens show beside it.

    :param cells: HTML of Django's, each an element `td` or `th`.
    """
    for cell, header in zip(cells, headers, strict=False):
        # Kept beside it: every row has the same headers, and there are thousands of cells.
        if LABEL not in header:
            header[LABEL] = _label(header)
        # Both parts are safe: a cell begins with its tag's name, and the label is escaped.
        yield mark_safe(f"{cell[:3]}{header[LABEL]}{cell[3:]}")  # noqa: S308


def _label(header: dict[str, Any]) -> str:
    text = capfirst(header["text"]) if header.get("class_attrib") != CHECKBOXES else ""
    return format_html(' data-label="{}"', text) if text else ""


LABEL = "jobstore_label"
CHECKBOXES = mark_safe(' class="action-checkbox-column"')


@register.filter
def grouped(number: int) -> str:
    """Return a number with separated thousands."""
    return number_format(number, force_grouping=True)


@register.filter
def translated(word: str) -> str:
    """Return a stored word, such as a status, as people read it."""
    return gettext(word) if word else ""


@register.filter
def jobstore_moment(when: dt.datetime | None) -> str:
    """Return a time as all pages show it."""
    return moment(when)


@register.simple_tag
def page_zone() -> str:
    """Return the zone of every time on the page, with its current offset from UTC."""
    name = timezone.get_current_timezone_name()
    now = timezone.now()
    if timezone.is_naive(now):
        return name
    offset = timezone.localtime(now).strftime("%z")
    return name if name == "UTC" else f"{name} (UTC{offset[:3]}:{offset[3:5]})"
