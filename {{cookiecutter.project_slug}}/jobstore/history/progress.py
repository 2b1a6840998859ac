"""How far runs have come: checked, kept in memory, and written by the recorder's thread.

A job may tell its progress in a tight loop, and inside of its own transaction: that costs it no
statement, and touches neither its connection nor what it has locked. The recorder writes the newest
report of each run once a second, and the last one just before the run's result.
"""

import dataclasses
import datetime as dt
import decimal
import logging
import math
import numbers
import threading
import time
import uuid
from collections.abc import Collection, Mapping
from typing import Any

from django.db import DataError
from django.utils.formats import number_format
from django.utils.functional import Promise
from django.utils.translation import gettext as _

from jobstore.database.timeouts import set_session_timeouts
from jobstore.history import bounded
from jobstore.models import MAX_PROGRESS_TEXT, DjangoJobExecution
from jobstore.repeated import RepeatedFailure
from jobstore.texts import described, one_line, storable
from jobstore.util import release_connections

logger = logging.getLogger(__name__)

# Seconds between two writes of one run, and until the next try after one that failed.
INTERVAL_SECONDS, RETRY_SECONDS = 1.0, 5.0
# Characters of a wrong argument that its refusal shows.
SHOWN = 60


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a run has come: so much of a total, if there is one, and a few words."""

    done: float
    total: float | None = None
    text: str = ""

    @classmethod
    def of(cls, done: object, total: object = None, text: object = "") -> "Progress":
        """Return what a job tells, its text cut to MAX_PROGRESS_TEXT characters.

        :raises ValueError: for what makes no sense, with the name of the argument.
        """
        much = _number("done", done)
        if much < 0:
            raise ValueError(f"done must be 0 or more, and is {_shown(done)}.")
        most = None if total is None else _number("total", total)
        if most is not None and most <= 0:
            raise ValueError(
                f"total must be more than 0, and is {_shown(total)}: leave it out if it is not"
                " known, or if there is nothing to do."
            )
        if not isinstance(text, str | Promise):
            raise ValueError(f"text must be a str, and is {_shown(text)}.")
        return cls(much, most, storable(one_line(text, MAX_PROGRESS_TEXT))[:MAX_PROGRESS_TEXT])


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, numbers.Real | decimal.Decimal):
        raise ValueError(f"{name} must be a number, and is {_shown(value)}.")
    try:
        number = float(value)
    except (OverflowError, ValueError):  # too large; a signalling NaN
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"{name} must be a finite number, and is {_shown(value)}.")
    return number


def _shown(value: object) -> str:
    return one_line(bounded.attempt(lambda: bounded.shown(value, SHOWN)), SHOWN)


def worded(run: DjangoJobExecution) -> str:
    """Return the progress of a run as people read it; nothing if it told none.

    For example "24 % (1,200 of 5,000): importing orders".
    """
    if run.progress_done is None:
        return run.progress_text or ""
    done, share = _grouped(run.progress_done), run.progress_share
    if share is None or run.progress_total is None:
        told = _("%(number)s done") % {"number": done}
    else:
        told = _("%(percent)d %% (%(done)s of %(total)s)") % {
            # Only what is done is 100 %.
            "percent": int(100 * share),
            "done": done,
            "total": _grouped(run.progress_total),
        }
    return f"{told}: {run.progress_text}" if run.progress_text else told


def _grouped(number: float) -> str:
    places = 0 if number == int(number) else 2
    return number_format(round(number, places), places, use_l10n=True, force_grouping=True)


def left(run: DjangoJobExecution, elapsed: dt.timedelta) -> float | None:
    """Return how many seconds a run still takes at the pace so far; None if that is not known."""
    share = run.progress_share
    if not share:
        return None
    return max(0.0, elapsed.total_seconds() * (1 - share) / share)


class Reports:
    """The newest report of each run that is not written yet. Any thread may put one."""

    def __init__(self, instance: uuid.UUID, using: str) -> None:
        """Prepare.

        :param instance: the process whose runs these are.
        """
        self._instance = instance
        self._using = using
        self._waiting: dict[int, Progress] = {}
        # When the next report of a run may be written, by monotonic time.
        self._not_before: dict[int, float] = {}
        self._held_until = 0.0
        self._lock = threading.Lock()
        self._failing = RepeatedFailure(
            logger, "The progress of runs is not written", "The progress of runs is written again"
        )

    def put(self, run_id: int, progress: Progress) -> bool:
        """Take a report in place of the one before; tell whether there was none."""
        with self._lock:
            is_first = run_id not in self._waiting
            self._waiting[run_id] = progress
        return is_first

    @property
    def seconds_left(self) -> float | None:
        """After how many seconds there is something to write; None if no report waits."""
        with self._lock:
            if not self._waiting:
                return None
            first = min(self._not_before.get(run_id, 0.0) for run_id in self._waiting)
            return max(0.0, max(first, self._held_until) - time.monotonic())

    def write(self, ending: Collection[int] = ()) -> None:
        """Write what is due, on the thread of the recorder. Never raises.

        :param ending: runs whose results are written next, and whose reports are due therefore.
        """
        reports = self._take(time.monotonic(), ending)
        if not reports:
            return
        try:
            set_session_timeouts(self._using)
            write(reports, self._instance, self._using)
            self._failing.over()
        except Exception as error:
            self._failing.happened(described(error))
            with self._lock:
                # What was put meanwhile is newer.
                self._waiting = reports | self._waiting
                self._held_until = time.monotonic() + RETRY_SECONDS
            release_connections()

    def forget(self, run_ids: Collection[int]) -> None:
        """Drop what waits of runs that are over."""
        with self._lock:
            for run_id in run_ids:
                self._waiting.pop(run_id, None)

    def _take(self, now: float, ending: Collection[int]) -> dict[int, Progress]:
        with self._lock:
            due = [
                run_id
                for run_id in self._waiting
                if run_id in ending
                or now >= max(self._not_before.get(run_id, 0.0), self._held_until)
            ]
            self._not_before = {key: when for key, when in self._not_before.items() if when > now}
            self._not_before |= dict.fromkeys(due, now + INTERVAL_SECONDS)
            return {run_id: self._waiting.pop(run_id) for run_id in due}


def values(progress: Progress) -> dict[str, Any]:
    """Return the columns of a run that hold its progress."""
    return {f"progress_{name}": value for name, value in vars(progress).items()}


def write(reports: Mapping[int, Progress], instance: uuid.UUID, using: str) -> None:
    """Write reports to the rows that still say that `instance` is running them.

    A run that ended or was declared lost meanwhile stays as it is; another attempt at it has a row
    of its own. Each is a statement of its own: a process that is paused keeps no lock.
    """
    runs = DjangoJobExecution.objects.using(using)
    for run_id, progress in reports.items():
        mine = runs.filter(pk=run_id, instance_id=instance, status=DjangoJobExecution.RUNNING)
        try:
            mine.update(**values(progress))
        except DataError as error:
            logger.warning("The progress of run %d is not stored: %s", run_id, described(error))
