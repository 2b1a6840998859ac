"""Rotation of the secret key: which key has signed the jobs, and how they are signed again.

When a scheduler becomes active, it signs all jobs of a fallback key with the current key, so that
the fallback can be removed. A process that does not know the keys of most jobs does not become
active: it would quarantine all of them.
"""

import collections
import dataclasses
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import models, transaction
from django.db.models import Count, Value
from django.db.models.functions import Coalesce, Substr

from jobstore.models import DjangoJob, database_now
from jobstore.storage import serializer, signing

# Jobs that are signed anew in one transaction.
BATCH_JOBS = 200
# With fewer jobs in service, it means nothing that the keys of most are unknown.
MIN_JOBS = 3
# Jobs of the old format, and quarantined jobs, that are looked at before competing.
SAMPLED_JOBS = 50
# The beginning of the old format: base64 of the beginning of every pickle.
FORMER = "gA"

GIVEN_UP = "It is signed by a key that is lost; somebody gave it up with `sign_jobs_anew`."


@dataclasses.dataclass(frozen=True)
class KeyUse:
    """How many jobs each kind of key has signed, by the marks in their states.

    Retired jobs count, too, unless their key is unknown: nobody needs that one.
    """

    current: int = 0
    fallback: int = 0
    former: int = 0
    unknown: int = 0

    @property
    def waiting(self) -> int:
        """The number of jobs that are to be signed again."""
        return self.fallback + self.former


@dataclasses.dataclass
class Renewal:
    """How many jobs were signed again, and the ids of those that could not be."""

    signed: int = 0
    unreadable: list[str] = dataclasses.field(default_factory=list)


def key_use(using: str) -> KeyUse:
    """Return how many jobs the current key, a fallback or another key has signed. Two queries."""
    marks = _marks(_with_mark(using))
    running = _marks(_with_mark(using).filter(retired_at=None, quarantined_at=None))
    known = [key.mark for key in signing.known_keys()]
    return KeyUse(
        current=marks[known[0]],
        fallback=sum(marks[mark] for mark in set(known[1:]) - {known[0]}),
        former=sum(number for mark, number in marks.items() if mark.startswith(FORMER)),
        unknown=sum(
            number
            for mark, number in running.items()
            if mark not in known and not mark.startswith(FORMER)
        ),
    )


def advice(use: KeyUse) -> list[str]:
    """Return what people should know about the keys, in sentences; nothing if all is well."""
    said = []
    if use.waiting:
        said.append(
            f"{use.waiting} jobs are still signed by a former key: leave it in "
            "DJANGO_SECRET_KEY_FALLBACKS. The next scheduler that becomes active signs them anew; "
            "`manage.py sign_jobs_anew` does so while none is active."
        )
    if use.unknown:
        said.append(
            f"{use.unknown} jobs are signed by a key that is not known here and cannot run. Put "
            "the former DJANGO_SECRET_KEY into DJANGO_SECRET_KEY_FALLBACKS."
        )
    if settings.SECRET_KEY_FALLBACKS and not said:
        days = settings.SESSION_COOKIE_AGE / 86400
        said.append(
            "No job needs DJANGO_SECRET_KEY_FALLBACKS any more. Sessions and links to reset "
            "passwords are signed by these keys too: whoever logged in before the change has to "
            f"log in again if you take them out before {days:g} days have passed."
        )
    return said


def problem(using: str) -> str:
    """Return why this process must not be active: it knows the keys of too few jobs.

    Empty if it may. Quarantined jobs do not count, since they do not run anyway.
    """
    in_service = _with_mark(using).filter(retired_at=None, quarantined_at=None)
    marks = _marks(in_service)
    known = {key.mark for key in signing.known_keys()}
    total = marks.total()
    foreign = {mark: number for mark, number in marks.items() if mark not in known}
    if total < MIN_JOBS or 2 * sum(foreign.values()) <= total:
        return ""
    rows = list(in_service.exclude(mark__in=[mark.encode() for mark in known])[:SAMPLED_JOBS])
    unknown = [row for row in rows if signing.signed_by(row) == signing.SignedBy.UNKNOWN]
    if 2 * len(unknown) * sum(foreign.values()) <= total * len(rows):
        return ""  # they have the old format, and are signed again at the start
    return (
        f"{sum(foreign.values())} of {total} stored jobs are signed by a key that this process "
        "does not know; it would take them out of service. Put the former DJANGO_SECRET_KEY into "
        "DJANGO_SECRET_KEY_FALLBACKS; if it is lost, run "
        "`manage.py sign_jobs_anew --give-up-unreadable`."
    )


def sign_anew(using: str, fence: Callable[[], object]) -> Renewal:
    """Sign with the current key all jobs of a fallback key or of the old format, in batches.

    This includes retired and quarantined jobs: when they are needed again, their key may be gone.
    Jobs that cannot be verified stay as they are.

    :param fence: called in each transaction; raises if this process may not do this, or no longer.
    """
    renewal, after = Renewal(), ""
    current = signing.known_keys()[0].mark.encode()
    while True:
        others = _with_mark(using).exclude(mark=current).filter(pk__gt=after).order_by("pk")
        ids = list(others.values_list("pk", flat=True)[:BATCH_JOBS])
        if not ids:
            return renewal
        with transaction.atomic(using=using):
            fence()
            rows = DjangoJob.all_objects.using(using).filter(pk__in=ids).select_for_update()
            _sign_batch(list(rows), renewal, using)
        after = ids[-1]


def give_up_unreadable(using: str, fence: Callable[[], object]) -> int:
    """Quarantine the jobs in service whose key is unknown; return how many there were.

    :param fence: as above.
    """
    known = [key.mark.encode() for key in signing.known_keys()]
    with transaction.atomic(using=using):
        fence()
        rows = _with_mark(using).filter(retired_at=None, quarantined_at=None)
        others = rows.exclude(mark__in=known)
        lost = [row.pk for row in others if signing.signed_by(row) == signing.SignedBy.UNKNOWN]
        given_up = DjangoJob.objects.using(using).filter(pk__in=lost, quarantined_at=None)
        now = database_now(using)
        return int(given_up.update(quarantined_at=now, quarantine_reason=GIVEN_UP))


def _sign_batch(rows: list[DjangoJob], renewal: Renewal, using: str) -> None:
    renewed, shown_anew = [], []
    for row in rows:
        try:
            pickled = signing.verified(row)
        except signing.BadSignature:
            try:
                values = serializer.columns_of_former(row)
            except serializer.UnreadableState:
                renewal.unreadable.append(row.pk)
                continue
            for name, value in values.items():
                setattr(row, name, value)
            shown_anew.append(row)
        else:
            shown = {name: getattr(row, name) for name in signing.SHOWN}
            row.job_state = signing.sign(row.pk, pickled, shown)
            renewed.append(row)
    jobs = DjangoJob.all_objects.using(using)
    if renewed:
        jobs.bulk_update(renewed, ["job_state"])
    if shown_anew:
        jobs.bulk_update(shown_anew, ["job_state", *signing.SHOWN])
    renewal.signed += len(renewed) + len(shown_anew)


def _with_mark(using: str) -> Any:
    """Return all jobs with the marks of their keys, with which their states begin."""
    begin = Substr("job_state", 1, signing.MARK_LENGTH, output_field=models.BinaryField())
    # SQLite finds no beginning in what is empty.
    mark = Coalesce(begin, Value(b"", output_field=models.BinaryField()))
    return DjangoJob.all_objects.using(using).annotate(mark=mark)


def _marks(jobs: Any) -> collections.Counter[str]:
    counted = jobs.order_by().values("mark").annotate(number=Count("pk"))
    return collections.Counter(
        {
            bytes(mark).decode("ascii", "replace"): number
            for mark, number in counted.values_list("mark", "number")
        }
    )
