"""Finds runs among ten million: by an index, or among the newest ones.

Columns without an index are compared only in the newest SEARCHED_RUNS of the runs that the job and
the scheduled time select. The page says so, and people can continue from there.
"""

import dataclasses
import datetime as dt
from collections.abc import Collection
from typing import Any

from django.db import router
from django.db.models import Q

from jobstore import api
from jobstore.admin.filters import COMPARED, RunFilters
from jobstore.models import DjangoJobExecution, database_now

Run = DjangoJobExecution

# Runs that a list shows at most: nobody leafs through more.
MAX_LISTED_RUNS = 10_000
# Runs in which columns without an index are compared.
SEARCHED_RUNS = 100_000
# A status with fewer runs is rare enough to find all of them by its index.
RARE_RUNS = 5_000

EVERYTHING = api.Visible()


@dataclasses.dataclass(frozen=True)
class Found:
    """The keys of runs that match, the newest first unless another order was requested."""

    ids: list[int]
    # Whether more runs match than the limit.
    is_cut: bool = False
    # Runs with an earlier scheduled time were not searched; None if all were.
    since: dt.datetime | None = None


def find(
    filters: RunFilters,
    *,
    limit: int,
    oldest_first: bool = False,
    statuses: Collection[str] = (),
    newest_id: int | None = None,
    visible: api.Visible = EVERYTHING,
) -> Found:
    """Return the runs that match valid filters.

    :param visible: the jobs whose runs may be seen.
    :param limit: how many of them at the most.
    :param statuses: leaves out runs in another status, whatever the filters say.
    :param newest_id: leaves out runs that were written later.
    """
    using = router.db_for_read(Run)
    runs = Run.objects.using(using).order_by().filter(filters.range())
    conditions = filters.conditions(database_now(using))
    if visible.few is not None:  # whose runs an index finds
        runs = runs.filter(visible.q())
    else:
        conditions &= visible.q()
    asked = set(filters.cleaned_data["status"])
    if statuses:
        conditions &= Q(status__in=statuses)
        asked = asked & set(statuses) or set(statuses)
    since = None
    if conditions:
        since = _end_of_window(runs)
        if since is not None and asked and _are_rare(filters, asked, using):
            runs, since = runs.filter(status__in=asked), None
            rows = _matching(runs, conditions, newest_id).values_list("run_time", "pk")
            # Sorted here: if databases had to sort, they might walk through the whole history.
            keys = [key for _, key in sorted(rows, reverse=not oldest_first)]
            return Found(keys[:limit], is_cut=len(keys) > limit)
        if since is not None:
            runs = runs.filter(run_time__gte=since)
    order = ("run_time", "pk") if oldest_first else ("-run_time", "-pk")
    matching = _matching(runs, conditions, newest_id).order_by(*order)
    ids = list(matching.values_list("pk", flat=True)[: limit + 1])
    return Found(ids[:limit], len(ids) > limit, since)


def find_entries(
    rows: Any, narrow: Any, conditions: Q, *, limit: int, oldest_first: bool = False
) -> Found:
    """Return the entries of the audit that match, with the same bounds as runs.

    :param narrow: what an index answers.
    :param conditions: what has to be looked at in each entry.
    """
    rows, since = rows.order_by().filter(narrow), None
    if conditions:
        since = _end_of_window(rows, "at")
        rows = rows.filter(conditions, **({"at__gte": since} if since else {}))
    order = ("at", "pk") if oldest_first else ("-at", "-pk")
    ids = list(rows.order_by(*order).values_list("pk", flat=True)[: limit + 1])
    return Found(ids[:limit], len(ids) > limit, since)


def _matching(runs: Any, conditions: Any, newest_id: int | None) -> Any:
    if newest_id is not None:
        runs = runs.filter(pk__lte=newest_id)
    return runs.alias(**COMPARED).filter(conditions) if conditions else runs


def _end_of_window(rows: Any, time: str = "run_time") -> dt.datetime | None:
    """Return the time of the last of the newest SEARCHED_RUNS; None if there are no more."""
    times = rows.order_by(f"-{time}").values_list(time, flat=True)
    last_and_next = list(times[SEARCHED_RUNS - 1 : SEARCHED_RUNS + 1])
    return last_and_next[0] if len(last_and_next) == 2 else None


def _are_rare(filters: RunFilters, statuses: set[str], using: str) -> bool:
    """Tell whether few enough runs have one of these statuses to compare each of them."""
    runs = Run.objects.using(using).filter(status__in=statuses).order_by()
    if job := filters.cleaned_data["job"]:
        runs = runs.filter(job=job)
    return bool(runs[: RARE_RUNS + 1].count() <= RARE_RUNS)
