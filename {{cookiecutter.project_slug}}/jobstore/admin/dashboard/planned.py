"""The half hours of the next day in which a job will run, computed with limited work.

A cron trigger is asked at most once for each half hour, however often it fires in one. Others are
followed for some steps from the next time on. Answers are kept in this process.
"""

import copy
import datetime as dt
import hashlib
from typing import Any

from apscheduler.triggers.calendarinterval import CalendarIntervalTrigger
from apscheduler.triggers.combining import AndTrigger, OrTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.date import DateTrigger
from apscheduler.triggers.interval import IntervalTrigger

from jobstore.admin.dashboard.strips import SLOT_SECONDS, SLOTS, slot_of
from jobstore.models import DjangoJob
from jobstore.schedules.next_times import following
from jobstore.storage import serializer
from jobstore.util import as_aware

# Schedules that are kept, and half hours beyond the day that are computed for each.
MAX_KEPT, AHEAD = 5000, 4
# Times that a trigger is followed for which has to be asked for each.
MAX_TIMES = 50

FOLLOWED = (AndTrigger, OrTrigger, CalendarIntervalTrigger)


class Schedule:
    """The trigger of a stored job, and the slots that are known so far."""

    def __init__(self, job: DjangoJob) -> None:
        """Restore the trigger; a job that cannot be read has none."""
        self._since = self._until = 0
        self._slots: frozenset[int] = frozenset()
        self._followed: tuple[dt.datetime | None, frozenset[int], bool] = (None, frozenset(), True)
        try:
            self._trigger: Any = serializer.restore(job).trigger
        except serializer.UnreadableState:
            self._trigger = None

    def slots(self, due: dt.datetime, now: dt.datetime) -> tuple[frozenset[int], bool]:
        """Return the slots of the next day, as far as they are known, and whether these are all."""
        kind = type(self._trigger)
        first, end = max(slot_of(due), slot_of(now)), slot_of(now) + SLOTS
        if kind is DateTrigger:
            return frozenset(), True
        if kind is IntervalTrigger:
            return _interval(self._trigger, due, now, end), True
        if kind in FOLLOWED:
            if self._followed[0] != due:
                self._followed = (due, *_follow(self._trigger, due, end + AHEAD))
            is_whole = self._followed[2]
            return frozenset(slot for slot in self._followed[1] if first <= slot < end), is_whole
        if kind is not CronTrigger:
            return frozenset(), False
        if not self._since <= first or self._until < end:
            self._since, self._until = first, end + AHEAD
            self._slots = _cron(self._trigger, now, first, self._until)
        return frozenset(slot for slot in self._slots if first <= slot < end), True


_kept: dict[tuple[str, bytes], Schedule] = {}


def planned_slots(job: DjangoJob, now: dt.datetime) -> tuple[frozenset[int], bool]:
    """Return the slots from now on in which a job will run, and whether these are all.

    They are not for triggers of which too many times would have to be asked for, nor for a job that
    cannot be read, of which the next time is known.
    """
    if job.next_run_time is None or job.quarantined_at is not None:
        return frozenset(), True
    due = as_aware(job.next_run_time)
    key = (job.pk, hashlib.sha256(bytes(job.job_state)).digest())
    schedule = _kept.get(key)
    if schedule is None:
        if len(_kept) >= MAX_KEPT:
            _kept.clear()
        schedule = _kept[key] = Schedule(job)
    slots, is_whole = schedule.slots(due, now)
    first = max(slot_of(due), slot_of(now))
    known = {first} if first < slot_of(now) + SLOTS else set()
    return frozenset(known | slots), is_whole


def _interval(trigger: Any, due: dt.datetime, now: dt.datetime, end: int) -> frozenset[int]:
    """Count from the next time on; a short interval fills each slot."""
    step = max(trigger.interval.total_seconds(), SLOT_SECONDS / 2)
    last = trigger.end_date.timestamp() if trigger.end_date else float("inf")
    moment, found = due.timestamp(), set()
    moment += max(0.0, (now.timestamp() - moment) // step * step)
    while moment < end * SLOT_SECONDS and moment <= last:
        found.add(int(moment) // SLOT_SECONDS)
        moment += step
    return frozenset(found)


def _cron(trigger: Any, now: dt.datetime, first: int, until: int) -> frozenset[int]:
    trigger = _without_jitter(trigger)
    found, slot = set(), first
    while slot < until:
        start = dt.datetime.fromtimestamp(slot * SLOT_SECONDS, dt.UTC)
        moment = following(trigger, None, max(start, now))
        if moment is None:
            break
        slot = max(slot, slot_of(moment))
        if slot < until:
            found.add(slot)
        slot += 1
    return frozenset(found)


def _follow(trigger: Any, due: dt.datetime, until: int) -> tuple[frozenset[int], bool]:
    """Return the slots of the times from the next one on, and whether these are all."""
    found: set[int] = set()
    moment: dt.datetime | None = due
    try:
        for _ in range(MAX_TIMES):
            if moment is None or slot_of(moment) >= until:
                return frozenset(found), True
            found.add(slot_of(moment))
            former, moment = moment, following(trigger, moment, moment)
            if moment is not None and moment <= former:
                return frozenset(found), True
    except (OverflowError, ValueError):
        pass
    return frozenset(found), False


def _without_jitter(trigger: Any) -> Any:
    """Return a trigger that says the same each time it is asked. Jitter is short mostly."""
    if not getattr(trigger, "jitter", None):
        return trigger
    trigger = copy.copy(trigger)
    trigger.jitter = None
    return trigger
