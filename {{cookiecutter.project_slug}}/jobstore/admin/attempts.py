"""The attempts at a run: a row of the history each, shown as one run."""

import re
from typing import Any

from django.contrib.admin import AdminSite
from django.db import router
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from jobstore.admin.display import NOTHING, badge, link, moment, page_of
from jobstore.models import DjangoJob, DjangoJobExecution
from jobstore.texts import requester

Run = DjangoJobExecution

# Attempts that a page lists; each is found by the time that the one before names.
SHOWN_ATTEMPTS = 20
AUTOMATIC = re.compile(r"(retry|loss) of run (\d+)")


def attempts_of(run: DjangoJobExecution) -> list[DjangoJobExecution]:
    """Return the attempts at a run, the first one first, as far as the history has them.

    One small statement each, by keys alone: no index knows which rows belong together.
    """
    columns = ("job_id", "status", "run_time", "attempt", "attempt_of", "retry_time")
    runs = Run.objects.using(router.db_for_read(Run)).order_by().only(*columns)
    one: Any = runs.filter(pk=run.attempt_of).first() if run.attempt_of else run
    found = [one or run]  # without the first ones, if they were deleted
    while (time := found[-1].retry_time) is not None and len(found) < SHOWN_ATTEMPTS:
        following = runs.filter(job=run.job_id, run_time=time).first()
        if following is None:
            break
        found.append(following)
    if run.pk not in {one.pk for one in found}:
        found.append(run)
    return found


def job_of(run: Any) -> DjangoJob | None:
    """Return the job of a run, if it is there; read once."""
    if not hasattr(run, "known_job"):
        run.known_job = DjangoJob.all_objects.defer("job_state").filter(pk=run.job_id).first()
    job: DjangoJob | None = run.known_job
    return job


def shown_attempts(site: AdminSite, run: DjangoJobExecution) -> SafeString | str:
    """Return which attempt a run is, and the others as a list of links, if there are others."""
    job = job_of(run)
    retries = job.retries if job is not None else 0
    number = {"number": run.attempt, "most": max(retries + 1, run.attempt)}
    if run.attempt == 1 and run.retry_time is None:
        return _("%(number)d of %(most)d") % number if retries else NOTHING
    text = _("%(number)d of %(most)d") % number
    if run.attempt_of:
        number["run"] = run.attempt_of
        text = _("%(number)d of %(most)d, of run %(run)d") % number
    rows = format_html_join(
        "",
        "<li{}>{} {} {}</li>",
        (
            (
                SafeString(' aria-current="true"') if one.pk == run.pk else "",
                _("attempt %(number)d") % {"number": one.attempt},
                link("" if one.pk == run.pk else page_of(site, one), moment(one.run_time)),
                badge(one.status),
            )
            for one in attempts_of(run)
        ),
    )
    return format_html('{}<ol class="jobstore-attempts">{}</ol>', text, rows)


def mark(run: DjangoJobExecution) -> str:
    """Return what a list says of a run that is not the only attempt; nothing of others."""
    parts = []
    if run.attempt > 1:
        parts.append(_("attempt %(number)d") % {"number": run.attempt})
    if run.retry_time is not None:
        parts.append(_("tried again"))
    if run.status == Run.RUNNING and run.cancel_requested_at is not None:
        parts.append(_("asked to stop"))
    return ", ".join(parts)


def asked_by(run: DjangoJobExecution) -> str:
    """Return who or what asked for a run; empty for a scheduled one."""
    if found := AUTOMATIC.fullmatch(run.requested_by):
        number = {"run": found[2]}
        is_retry = found[1] == "retry"
        return (_("retry of run %(run)s") if is_retry else _("loss of run %(run)s")) % number
    return requester(run.requested_by)


def shown_cancel(run: DjangoJobExecution) -> str:
    """Return who asked a run to stop and when, and what that means while it runs."""
    if run.cancel_requested_at is None:
        return NOTHING
    text = _("Asked to stop by %(name)s at %(time)s.") % {
        "name": run.cancel_requested_by,
        "time": moment(run.cancel_requested_at),
    }
    if run.status != Run.RUNNING:
        return text
    return f"{text} " + _(
        "A worker process is ended within seconds. A thread cannot be interrupted: it ends when "
        "its function asks current_run().is_cancelled."
    )
