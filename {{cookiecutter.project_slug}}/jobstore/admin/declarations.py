"""How a stored job compares with what the code declares, for the pages of jobs."""

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from jobstore import api
from jobstore.admin.display import NOTHING, badge
from jobstore.admin.words import in_words
from jobstore.models import DjangoJob
from jobstore.storage import edits

# Parts of a job; those with an underscore are called so in code, and stay as they are.
PARTS = (
    *(gettext_noop("schedule"), gettext_noop("arguments"), gettext_noop("name")),
    *(gettext_noop("executor"), gettext_noop("coalesce"), gettext_noop("func")),
)


def edited_mark(job: DjangoJob) -> SafeString | str:
    """Return a mark for a job that an operator has changed; empty for others."""
    parts = edits.parts(job) if job.declaration else []
    if not parts:
        return ""
    names = ", ".join(_(one) for one in parts)
    title = _("Somebody changed what the code declares: %(parts)s") % {"parts": names}
    return format_html(' <span title="{}">{}</span>', title, badge("edited"))


def differences(job: DjangoJob) -> list[api.Difference]:
    """Return what differs from the code, asked once for each job that was read."""
    found: list[api.Difference] | None = getattr(job, "differences", None)
    if found is None:
        found = api.differs_from_code(job)
        job.differences = found  # type: ignore[attr-defined]
    return found


def compared(job: DjangoJob) -> str:
    """Return whether the code declares a job, and the parts that differ from the code."""
    if not job.declaration:
        return _("no")
    found = differences(job)
    if not found:
        return _("yes")
    rows = ((_(one.part), _said(one.part, one.stored), _why(one)) for one in found)
    listed = format_html_join(
        "", "<li><strong>{}</strong>: {}{}</li>", ((part, said, why) for part, said, why in rows)
    )
    text = '{} {} <ul class="jobstore-differences">{}</ul>'
    return format_html(text, _("yes, but"), badge("stored otherwise"), listed)


def _why(difference: api.Difference) -> str:
    text = (
        _(", while the code says %(declared)s (it was changed here)")
        if difference.is_edited
        else _(", while the code says %(declared)s (the scheduler has not taken it over)")
    )
    return text % {"declared": _said(difference.part, difference.declared)}


def _said(part: str, value: object) -> str:
    if value in (None, ""):
        return NOTHING
    return in_words(str(value)) if part == "schedule" else str(value)
