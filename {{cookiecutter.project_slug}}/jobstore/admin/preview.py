"""Previews an operation: it is carried out, looked at, and rolled back.

So the preview cannot differ from what is saved: both are the same operation with the same checks.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from django.db import router, transaction
from django.http import QueryDict
from django.utils.crypto import salted_hmac
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from jobstore import api
from jobstore.admin.display import NOTHING, moment
from jobstore.admin.upcoming import SHOWN_TIMES, Upcoming, upcoming
from jobstore.admin.words import in_words, named
from jobstore.api import audit
from jobstore.models import AuditEntry, DjangoJob, database_now
from jobstore.schedules.wording import (
    cron_fields,
    describe,
    interval_question,
    weekday_question,
)
from jobstore.sentences import shown
from jobstore.storage import masking
from jobstore.util import as_aware

LABELS = {
    "name": gettext_noop("name"),
    "executor": gettext_noop("executor"),
    "arguments": gettext_noop("arguments"),
    "trigger": gettext_noop("schedule"),
    "func": gettext_noop("function"),
    "next_run_time": gettext_noop("next run"),
    "misfire_grace_time": gettext_noop("may be late by"),
    "max_instances": gettext_noop("at the same time"),
    "coalesce": gettext_noop("make up by one run"),
    "on_lost": gettext_noop("if its process dies"),
    "pause_reason": gettext_noop("reason of the pause"),
    "quarantined": gettext_noop("in quarantine"),
    "retired": gettext_noop("retired"),
    "status": gettext_noop("status"),
    "again": gettext_noop("like run"),
}
# Parts that do not matter to a person before saving.
UNSAID = ("quarantined", "retired")


@dataclasses.dataclass(frozen=True)
class Changed:
    """A part of a job, before and after."""

    label: str
    before: str
    after: str


@dataclasses.dataclass(frozen=True)
class Preview:
    """The preview that people see before they save."""

    changes: list[Changed]
    words: str
    notation: str
    times: list[Upcoming]
    questions: list[str]
    is_paused: bool


def preview_of(operation: Callable[[], DjangoJob]) -> Preview:
    """Carry an operation out, look at its effect, and roll it back.

    It raises what the operation raises.
    """
    using = router.db_for_write(DjangoJob)
    with transaction.atomic(using=using), api.through("admin"), audit.collected() as entries:
        row = operation()
        trigger = api.definition(row).trigger
        is_paused = row.next_run_time is None
        times = api.next_run_times(trigger if is_paused else row, SHOWN_TIMES)
        found = Preview(
            changes=[change for entry in entries for change in changes_of(entry)],
            words=in_words(row.trigger),
            notation=describe(trigger),
            times=upcoming(times, database_now(using)),
            questions=questions_of(trigger),
            is_paused=is_paused,
        )
        transaction.set_rollback(True, using=using)
    return found


def questions_of(trigger: Any) -> list[str]:
    """Return a sentence for each questionable part of a schedule."""
    found = []
    if weekday_question(trigger) and hasattr(trigger, "fields"):
        days = cron_fields(trigger)["day_of_week"]
        text = _("Cron fields count weekdays from Monday as 0: what you wrote means %(days)s.")
        found.append(text % {"days": named(days)})
    if question := shown(interval_question(trigger)):
        found.append(f"{question[:1].upper()}{question[1:]}.")
    return found


def digest_of(form: QueryDict) -> str:
    """Return a digest of the filled-in values, so that only a previewed form can be saved."""
    left_out = ("csrfmiddlewaretoken", "previewed", "preview", "save")
    # A browser sends other ends of lines than a script does.
    filled = sorted(
        (name, [value.replace("\r\n", "\n") for value in form.getlist(name)])
        for name in form
        if name not in left_out
    )
    return salted_hmac("jobstore.preview", repr(filled), algorithm="sha256").hexdigest()[:24]


def changes_of(entry: AuditEntry) -> list[Changed]:
    """Return what an entry of the audit tells, as people read it; secrets are masked."""
    old, new = entry.before or {}, entry.after or {}
    names = [
        name for name in {**old, **new} if name not in UNSAID or old.get(name) or new.get(name)
    ]
    return [
        Changed(_(LABELS.get(name, name)), _shown(name, old), _shown(name, new))
        for name in names
        if _shown(name, old) != _shown(name, new)
    ]


def _shown(name: str, values: dict[str, Any]) -> str:
    if name not in values:
        return NOTHING
    value = values[name]
    if name == "trigger":
        return in_words(value)
    if name == "next_run_time":
        when = parse_datetime(value) if value else None
        return _("paused") if when is None else moment(as_aware(when))
    if name == "arguments":
        return masking.masked_text(value) or NOTHING
    if name == "misfire_grace_time":
        return _("any lateness") if value is None else _("%(seconds)s s") % {"seconds": value}
    if name == "on_lost":
        return str(dict(DjangoJob.OnLost.choices).get(value, value))
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    return str(value) if value not in ("", None) else NOTHING
