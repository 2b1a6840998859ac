"""How a stored job compares with what the code declares, for the pages of jobs."""

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from jobstore import api
from jobstore.admin.display import NOTHING, badge
from jobstore.admin.words import in_words
from jobstore.models import DjangoJob
from jobstore.storage import edits


def edited_mark(job: DjangoJob) -> SafeString | str:
    """Return a mark for a job that an operator has changed; nothing for others."""
    parts = ", ".join(edits.parts(job)) if job.declaration else ""
    if not parts:
        return ""
    title = f"Somebody changed what the code declares: {parts}"
    return format_html(' <span title="{}">{}</span>', title, badge("edited"))


def compared(job: DjangoJob) -> str:
    """Return whether the code declares a job, and each part that is stored otherwise."""
    if not job.declaration:
        return "no"
    differences = api.differs_from_code(job)
    if not differences:
        return "yes"
    rows = ((one.part, _said(one.part, one.stored), _why(one)) for one in differences)
    listed = format_html_join(
        "", "<li><strong>{}</strong>: {}{}</li>", ((part, said, why) for part, said, why in rows)
    )
    text = 'yes, but {} <ul class="jobstore-differences">{}</ul>'
    return format_html(text, badge("stored otherwise"), listed)


def _why(difference: api.Difference) -> SafeString:
    declared = _said(difference.part, difference.declared)
    what = "it was changed here" if difference.is_edited else "the scheduler has not taken it over"
    return format_html(", while the code says {} ({})", declared, what)


def _said(part: str, value: object) -> str:
    if value in (None, ""):
        return NOTHING
    return in_words(str(value)) if part == "schedule" else str(value)
