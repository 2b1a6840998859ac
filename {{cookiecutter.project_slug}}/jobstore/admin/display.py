"""How states, times and durations are shown, the same on every page."""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.admin import AdminSite
from django.contrib.admin.utils import quote
from django.db.models import Model
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.formats import number_format
from django.utils.html import escape, format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from jobstore.models import DjangoJobExecution, SchedulerInstance
from jobstore.util import get_local_dt_format

NOTHING = "-"

# Columns of a run that may be long, and that a list does not show.
LONG_TEXTS = ("result", "exception", "traceback", "note", "arguments", "arguments_state")

Run, Role = DjangoJobExecution, SchedulerInstance.Role

# The meaning of a word, by which it is coloured; other words are shown plainly.
MEANINGS: dict[str, str] = {
    Run.SUCCESS: "good",
    Run.RUNNING: "busy",
    Run.REQUESTED: "busy",
    Run.MISSED: "warning",
    Run.MAX_INSTANCES: "warning",
    Run.CANCELLED: "warning",
    Run.ERROR: "bad",
    Run.LOST: "bad",
    Role.ACTIVE: "good",
    Role.STARTING: "busy",
    Role.DRAINING: "busy",
    Role.STANDBY: "busy",
    Role.SURPLUS: "warning",
    Role.UNFIT: "bad",
    Role.LOST: "bad",
    gettext_noop("paused"): "warning",
    gettext_noop("quarantined"): "bad",
    gettext_noop("no sign of life"): "bad",
    gettext_noop("not as declared"): "bad",
    gettext_noop("questionable"): "warning",
    gettext_noop("stored otherwise"): "warning",
    gettext_noop("edited"): "busy",
}
# Further words that are shown as badges, or that filters offer.
OTHERS = (gettext_noop("scheduled"), gettext_noop("retired"))


def badge(word: str) -> SafeString:
    """Return a state in the reader's language, coloured by what it means.

    :param word: as it is stored, or as it stands in the code.
    """
    return format_html(
        '<span class="jobstore-badge jobstore-{}">{}</span>', MEANINGS.get(word, "plain"), _(word)
    )


def with_reason(word: str, reason: object, *, is_problem: bool = True) -> SafeString:
    """Return a badge, with the reason if there is one."""
    if not reason:
        return badge(word)
    quiet = "" if is_problem else " jobstore-questionable"
    text = '{} <span class="jobstore-reason{}" title="{}">{}</span>'
    return format_html(text, badge(word), quiet, reason, reason)


def moment(when: dt.datetime | None) -> str:
    """Return a time in the site's time zone, to the second."""
    return NOTHING if when is None else get_local_dt_format(when)


def local(when: dt.datetime) -> dt.datetime:
    """Return a time in the site's time zone."""
    return timezone.localtime(when) if timezone.is_aware(when) else when


def seconds(length: Decimal | float | dt.timedelta | None) -> str:
    """Return a length of time in seconds."""
    if length is None:
        return NOTHING
    value = length.total_seconds() if isinstance(length, dt.timedelta) else float(length)
    if 0 < value < 0.001:
        return _("< %(seconds)s s") % {"seconds": number_format("0.001")}
    if abs(value) < 100:
        text = number_format(f"{value:.3f}")
    else:
        text = number_format(f"{value:.0f}", force_grouping=True)
    return _("%(seconds)s s") % {"seconds": text}


def rough_length(length: float) -> str:
    """Return a length of time in its two largest units: 45 s, 3 min 5 s, 2 h 4 min, 3 d 1 h."""
    whole = int(length)
    if whole < 60:
        return _("%(s)d s") % {"s": whole}
    if whole < 3600:
        amounts, text, short = divmod(whole, 60), _("%(a)d min %(b)d s"), _("%(a)d min")
    elif whole < 86_400:
        amounts, text = (whole // 3600, whole % 3600 // 60), _("%(a)d h %(b)d min")
        short = _("%(a)d h")
    else:
        amounts, text = (whole // 86_400, whole % 86_400 // 3600), _("%(a)d d %(b)d h")
        short = _("%(a)d d")
    return (text if amounts[1] else short) % {"a": amounts[0], "b": amounts[1]}


def moment_of(field: str, description: Any, *, sortable: bool = False) -> Callable[..., str]:
    """Return a method for an admin class: a column that shows a time of the row."""

    def show(_admin: Any, row: Model) -> str:
        return moment(getattr(row, field))

    return admin.display(show, description=description, ordering=field if sortable else None)


def page_of(site: AdminSite, row: type[Model] | Model, pk: Any = None) -> str:
    """Return the address of a row's page on this site; empty if the site has no such page."""
    key = row.pk if isinstance(row, Model) else pk
    return _address(site, f"jobstore_{row._meta.model_name}_change", quote(key))


def history_of(site: AdminSite, job_id: str) -> str:
    """Return the address of the list of a job's runs; empty if the site has no such page."""
    page = _address(site, "jobstore_djangojobexecution_changelist")
    return page and f"{page}?{urlencode({'job': job_id})}"


def audit_of(site: AdminSite, job_id: str) -> str:
    """Return the address of the list of a job's audit; empty if the site has no such page."""
    page = _address(site, "jobstore_auditentry_changelist")
    return page and f"{page}?{urlencode({'job': job_id})}"


def _address(site: AdminSite, name: str, *args: str) -> str:
    try:
        return reverse(f"admin:{name}", args=args, current_app=site.name)
    except NoReverseMatch:  # a project may show only some of the pages
        return ""


def link(address: str, text: object) -> SafeString:
    """Return a link, or the text alone if there is nowhere to go."""
    return format_html('<a href="{}">{}</a>', address, text) if address else escape(text)
