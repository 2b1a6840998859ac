"""Which jobs somebody may view, asked once and then used for lists of any length.

JOB_ACCESS decides about one job after the other. A list cannot ask it for each of its rows, so it
is asked for each stored job, once, and the lists are narrowed by ids. A project with many jobs
names JOB_ACCESS_QUERYSET as well: that narrows a queryset, and no row is loaded.
"""

import dataclasses
import logging
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import router
from django.db.models import Exists, OuterRef, Q, QuerySet

from jobstore.api import access
from jobstore.models import DjangoJob

logger = logging.getLogger(__name__)

# Jobs up to which a list names those that are seen, so that the index of a job's runs finds them.
FEW = 1_000


@dataclasses.dataclass(frozen=True)
class Visible:
    """The jobs that somebody may view, as a condition on rows that name a job."""

    # Whether no job is hidden. Then rows of jobs that are gone are seen as well; nobody could be
    # asked about these, so whoever does not see all jobs does not see them.
    is_everything: bool = True
    # The ids, if they are few enough to name them.
    few: tuple[str, ...] | None = None
    # Otherwise: a list of ids or a queryset, of those that are seen or of those that are not.
    _ids: Any = ()
    _are_hidden: bool = False

    def q(self, field: str = "job_id") -> Q:
        """Return the condition.

        :param field: the column that holds the id of a job; "pk" for jobs themselves.
        """
        if self.is_everything:
            return Q()
        if self.few is not None:
            return Q(**{f"{field}__in": self.few})
        named = Q(**{f"{field}__in": self._ids})
        if not self._are_hidden:
            return named
        stored = DjangoJob.all_objects.order_by().filter(pk=OuterRef(field))
        return ~named if field == "pk" else ~named & Q(Exists(stored))


def visible_to(by: access.By) -> Visible:
    """Return which jobs somebody may view. It takes no statement unless JOB_ACCESS is set.

    :param by: a user, whose permission for jobs at all was checked before; a text or None sees all.
    :raises ImproperlyConfigured: if JOB_ACCESS or JOB_ACCESS_QUERYSET cannot be used.
    """
    decide = access.decider() if access.is_user(by) else None
    if decide is None:
        return Visible()
    jobs = DjangoJob.all_objects.using(router.db_for_read(DjangoJob)).defer("job_state")
    narrow = access.narrower()
    return _asked(decide, by, jobs) if narrow is None else _narrowed(narrow, by, jobs)


def sees(by: access.By, job_id: str) -> bool:
    """Tell whether somebody may see what names a job: its runs, its audit.

    It asks about this job alone. The permission for runs or the audit is another one, and is
    checked by whoever shows them.

    :param by: a user; a text or None sees all.
    """
    decide = access.decider() if access.is_user(by) else None
    if decide is None:
        return True
    jobs = DjangoJob.all_objects.using(router.db_for_read(DjangoJob)).defer("job_state")
    job = jobs.filter(pk=job_id).first()
    if job is None:
        return visible_to(by).is_everything
    try:
        return bool(decide(by, "view", job))
    except Exception:
        logger.exception("JOB_ACCESS raised, which allows nothing.")
        return False


def _narrowed(narrow: Any, by: access.By, jobs: QuerySet[DjangoJob]) -> Visible:
    try:
        found = narrow(by, jobs)
    except Exception:
        logger.exception("JOB_ACCESS_QUERYSET raised; no job is shown.")
        return Visible(is_everything=False, few=())
    if not isinstance(found, QuerySet) or found.model is not DjangoJob or found.query.is_sliced:
        raise ImproperlyConfigured(
            "JOB_ACCESS_QUERYSET returned something else than a whole queryset of jobs."
        )
    ids = found.order_by().values("pk")
    first = tuple(found.order_by().values_list("pk", flat=True)[: FEW + 1])
    if len(first) <= FEW:
        return Visible(is_everything=False, few=first)
    return Visible(is_everything=False, _ids=ids)


def _asked(decide: Any, by: access.By, jobs: QuerySet[DjangoJob]) -> Visible:
    seen: list[str] = []
    hidden: list[str] = []
    failed = None
    for job in jobs.order_by("pk").iterator():
        try:
            is_seen = bool(decide(by, "view", job))
        except Exception as error:
            is_seen, failed = False, error
        (seen if is_seen else hidden).append(job.pk)
    if failed is not None:
        logger.error("JOB_ACCESS raised; jobs it raises for are hidden.", exc_info=failed)
    if not hidden:
        return Visible()
    if len(seen) <= FEW:
        return Visible(is_everything=False, few=tuple(seen))
    if len(hidden) <= len(seen):
        return Visible(is_everything=False, _ids=hidden, _are_hidden=True)
    return Visible(is_everything=False, _ids=seen)
