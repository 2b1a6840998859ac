"""The nights on which clocks change, as a real scheduler on a real store goes through them.

The policy: what runs once is an instant.

- A cron time that the night lacks (2:30, where 3:00 follows 1:59) runs once, at the instant at
  which it would have come without the change: the clocks on the wall say 3:30.
- A cron time that the night has twice (2:30, where 2:00 follows 2:59) is two instants, and runs at
  both, an hour apart. A job that must run once on that night is given an hour that comes once, or
  a trigger in UTC.
- What repeats within an hour goes on evenly: no time is left out, none comes twice.
- An interval counts the seconds that pass, whatever the clocks on the wall say.
"""

import dataclasses
import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from jobstore.leadership.elector import Elector
from jobstore.models import DjangoJob, DjangoJobExecution, SchedulerLease
from jobstore.tests import callables
from jobstore.tests.conftest import StartScheduler, eventually
from jobstore.util import as_aware, get_django_internal_datetime

pytestmark = pytest.mark.django_db(transaction=True)

Run = DjangoJobExecution
MINUTE = dt.timedelta(minutes=1)
BERLIN, NEW_YORK = ZoneInfo("Europe/Berlin"), ZoneInfo("America/New_York")


@dataclasses.dataclass
class Change:
    """A change of the clocks in a zone, at an instant."""

    zone: ZoneInfo
    at: dt.datetime

    @property
    def begin(self) -> dt.datetime:
        return self.at - 130 * MINUTE

    @property
    def end(self) -> dt.datetime:
        return self.at + 130 * MINUTE

    def every(self, minutes: int) -> list[dt.datetime]:
        """Return the instants of the night at which the clocks show a multiple of `minutes`."""
        first = self.at - 120 * MINUTE
        return [first + n * minutes * MINUTE for n in range(240 // minutes + 1)]


GAP = Change(BERLIN, dt.datetime(2026, 3, 29, 1, tzinfo=dt.UTC))
FOLD = Change(BERLIN, dt.datetime(2026, 10, 25, 1, tzinfo=dt.UTC))
GAP_IN_NEW_YORK = Change(NEW_YORK, dt.datetime(2026, 3, 8, 7, tzinfo=dt.UTC))
FOLD_IN_NEW_YORK = Change(NEW_YORK, dt.datetime(2026, 11, 1, 6, tzinfo=dt.UTC))

nights = pytest.mark.parametrize(
    "change",
    [
        pytest.param(GAP, id="Berlin-gap"),
        pytest.param(FOLD, id="Berlin-fold"),
        pytest.param(GAP_IN_NEW_YORK, id="New York-gap"),
        pytest.param(FOLD_IN_NEW_YORK, id="New York-fold"),
    ],
)


class Night:
    """A night that passes as fast as the scheduler gets through with it."""

    def __init__(self, start_scheduler: StartScheduler, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = GAP.begin
        self._zone = GAP.zone
        self._start_scheduler = start_scheduler
        # The database's clock, as far as jobs go. The lease goes on by the true one.
        monkeypatch.setattr(Elector, "now", lambda elector: self.now)
        self._scheduler: BackgroundScheduler | None = None
        self.epoch = 0

    def begin(self, when: dt.datetime, trigger: BaseTrigger, *, coalesce: bool = False) -> None:
        """Start a scheduler with one job at this time."""
        self.now = when
        self._zone = trigger.timezone
        scheduler = self._start()
        first = trigger.get_next_fire_time(None, when)
        options = {"coalesce": coalesce, "misfire_grace_time": None, "next_run_time": first}
        scheduler.add_job(callables.note, trigger, id="job", **options)

    def pass_until(self, end: dt.datetime, step: dt.timedelta = 7 * MINUTE) -> None:
        """Let time pass in steps; after each, what is due runs before it passes on."""
        while self.now < end:
            self.now = min(end, self.now + step)
            self._catch_up()

    def restart(self) -> None:
        """Let another scheduler go on, which knows what the database knows."""
        assert self._scheduler is not None
        self._scheduler.shutdown()
        self._start()

    @property
    def runs(self) -> list[dt.datetime]:
        """The scheduled times that ran, one for each call of the function, in the order claimed."""
        rows = Run.objects.filter(job="job", status=Run.SUCCESS).order_by("pk")
        assert len(callables.calls) == rows.count() == Run.objects.count()
        return [as_aware(row.run_time).astimezone(dt.UTC) for row in rows]

    def _start(self) -> BackgroundScheduler:
        self.epoch += 1
        self._scheduler = self._start_scheduler()
        # That of the job: Python compares two times of one zone by the clock on the wall.
        self._scheduler.timezone = self._zone
        eventually(lambda: SchedulerLease.objects.filter(epoch=self.epoch).exists())
        return self._scheduler

    def _catch_up(self) -> None:
        assert self._scheduler is not None
        self._scheduler.wakeup()
        due = DjangoJob.objects.filter(next_run_time__lte=get_django_internal_datetime(self.now))
        eventually(lambda: not due.exists())
        eventually(lambda: not Run.objects.filter(status=Run.RUNNING).exists())


@pytest.fixture
def night(start_scheduler: StartScheduler, monkeypatch: pytest.MonkeyPatch) -> Night:
    return Night(start_scheduler, monkeypatch)


def at_half_past_two(change: Change) -> CronTrigger:
    """Return 2:30, which Berlin's clocks skip or repeat."""
    return CronTrigger(hour=2, minute=30, timezone=change.zone)


def test_half_past_two_in_the_gap_runs_once_at_half_past_three(night: Night) -> None:
    night.begin(GAP.begin, at_half_past_two(GAP))
    night.pass_until(GAP.end)
    assert night.runs == [GAP.at + 30 * MINUTE]
    assert night.runs[0].astimezone(BERLIN).strftime("%H:%M %Z") == "03:30 CEST"


def test_half_past_two_in_the_fold_runs_at_the_first_and_at_the_second(night: Night) -> None:
    night.begin(FOLD.begin, at_half_past_two(FOLD))
    night.pass_until(FOLD.end)
    assert night.runs == [FOLD.at - 30 * MINUTE, FOLD.at + 30 * MINUTE]
    walls = [time.astimezone(BERLIN).strftime("%H:%M %Z") for time in night.runs]
    assert walls == ["02:30 CEST", "02:30 CET"]


def test_half_past_two_in_utc_runs_once_on_the_night_that_has_it_twice(night: Night) -> None:
    night.begin(FOLD.begin, CronTrigger(hour=0, minute=30, timezone=dt.UTC))
    night.pass_until(FOLD.end)
    assert night.runs == [FOLD.at - 30 * MINUTE]


@nights
@pytest.mark.parametrize("minutes", [15, 30])
def test_a_cron_job_goes_on_evenly_through_the_night(
    night: Night, change: Change, minutes: int
) -> None:
    night.begin(change.begin, CronTrigger(minute=f"*/{minutes}", timezone=change.zone))
    night.pass_until(change.end)
    assert night.runs == change.every(minutes)


@nights
def test_an_interval_counts_what_passes_not_what_clocks_say(night: Night, change: Change) -> None:
    first = (change.at - 120 * MINUTE).astimezone(change.zone)
    night.begin(change.begin, IntervalTrigger(minutes=40, start_date=first, timezone=change.zone))
    night.pass_until(change.end)
    assert night.runs == change.every(40)


@nights
def test_another_scheduler_goes_on_in_the_middle_of_the_change(
    night: Night, change: Change
) -> None:
    """In the repeated hour, what the first one left must not be taken for the other hour's."""
    night.begin(change.begin, CronTrigger(minute="*/30", timezone=change.zone))
    for minutes in (-40, 5, 40):
        night.pass_until(change.at + minutes * MINUTE)
        night.restart()
    night.pass_until(change.end)
    assert night.runs == change.every(30)


@nights
def test_what_is_owed_after_an_outage_through_the_change_runs_once_each(
    night: Night, change: Change
) -> None:
    night.begin(change.begin, CronTrigger(minute="*/15", timezone=change.zone))
    night.pass_until(change.end, step=change.end - change.begin)
    assert night.runs == change.every(15)


@nights
def test_after_an_outage_through_the_change_a_job_that_coalesces_runs_the_last_time_once(
    night: Night, change: Change
) -> None:
    trigger = CronTrigger(minute="*/15", timezone=change.zone)
    night.begin(change.begin, trigger, coalesce=True)
    night.pass_until(change.end, step=change.end - change.begin)
    assert night.runs == change.every(15)[-1:]
