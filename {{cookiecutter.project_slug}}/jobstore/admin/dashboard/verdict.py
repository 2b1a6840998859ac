"""What is wrong with the schedulers and the jobs, in sentences, the worst first."""

import dataclasses
import datetime as dt
import json
from collections.abc import Sequence
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from jobstore import conf
from jobstore.admin.dashboard.queries import MAX_NEXT, Schedulers, Totals
from jobstore.health.status import FIRST_CLAIM_SECONDS
from jobstore.models import DjangoJob


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that somebody should look at: "bad" or "warning", a sentence, and what to do."""

    level: str
    text: str
    advice: str = ""
    # The list that shows more: "jobs", or a state of jobs.
    page: str = ""


def findings(
    seen: Schedulers,
    totals: Totals,
    upcoming: Sequence[DjangoJob],
    now: dt.datetime,
) -> list[Finding]:
    """Return the findings; empty if all is well."""
    found = [*_of_schedulers(seen, now), *_late(seen, upcoming, now)]
    if totals.quarantined:
        text = ngettext(
            "%(number)d job is in quarantine and does not run until somebody looks at it.",
            "%(number)d jobs are in quarantine and do not run until somebody looks at them.",
            totals.quarantined,
        )
        found.append(Finding("bad", text % {"number": totals.quarantined}, page="quarantined"))
    if totals.problems:
        text = ngettext(
            "%(number)d declaration in the code is wrong or questionable.",
            "%(number)d declarations in the code are wrong or questionable.",
            totals.problems,
        )
        found.append(Finding("warning", text % {"number": totals.problems}, page="jobs"))
    return sorted(found, key=lambda one: one.level != "bad")


def silence(process: Any, now: dt.datetime) -> float | None:
    """Return for how many seconds a process has been silent; None if that is not unusual."""
    age = float((now - process.heartbeat_at).total_seconds())
    return age if age > conf.get("SCHEDULER_DEAD_SECONDS") else None


def _of_schedulers(seen: Schedulers, now: dt.datetime) -> list[Finding]:
    if not seen.holder:
        text = _("No scheduler is active: no job runs.")
        return [Finding("bad", text, "python manage.py runapscheduler")]
    holder = next((row for row in seen.rows if str(row) == seen.holder), None)
    age = silence(holder, now) if holder is not None else None
    if age is None:
        return []
    text = _("%(process)s holds the lease and has given no sign of life for %(seconds)d s.")
    return [Finding("bad", text % {"process": seen.holder, "seconds": age})]


def _late(
    seen: Schedulers,
    upcoming: Sequence[DjangoJob],
    now: dt.datetime,
) -> list[Finding]:
    if not seen.holder:
        return []  # that is why
    if seen.acquired_at and (now - seen.acquired_at).total_seconds() < FIRST_CLAIM_SECONDS:
        return []
    patience = dt.timedelta(seconds=conf.get("SCHEDULER_HUNG_SECONDS"))
    late = [job for job in upcoming if job.next_run_time and job.next_run_time < now - patience]
    if not late:
        return []
    number = f"{len(late)}{'+' if len(late) == MAX_NEXT else ''}"
    busy = _saturated(seen)
    if all(job.executor in busy for job in late):
        text = _("Jobs wait for a free worker: %(number)s are late (executors: %(executors)s).")
        return [Finding("warning", text % {"number": number, "executors": ", ".join(sorted(busy))})]
    text = _(
        "Jobs are due and do not start: %(number)s, the first one %(job)s since %(seconds)d s."
    )
    age = (now - late[0].next_run_time).total_seconds()  # type: ignore[operator]
    return [
        Finding(
            "bad",
            text
            % {
                "number": number,
                "job": late[0].pk,
                "seconds": age // 10 * 10,
            },
        )
    ]


def _saturated(seen: Schedulers) -> set[str]:
    """Return the executors for which jobs wait, as the holder wrote with its heartbeat."""
    holder = next((row for row in seen.rows if str(row) == seen.holder), None)
    try:
        return {str(alias) for alias in json.loads(getattr(holder, "saturated", "") or "[]")}
    except (ValueError, TypeError):
        return set()
