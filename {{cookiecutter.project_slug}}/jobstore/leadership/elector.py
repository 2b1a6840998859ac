"""The contest for the lease: one thread of each scheduler process, with one connection."""

import contextlib
import datetime as dt
import logging
import time
from collections.abc import Callable

from django.db import DatabaseError, InterfaceError

from jobstore import conf
from jobstore.database.notifications import Listener
from jobstore.database.timeouts import set_session_timeouts
from jobstore.leadership import lease
from jobstore.leadership.clock import REPORTED_SKEW_SECONDS, DatabaseClock
from jobstore.leadership.lease import LeaseView, Term
from jobstore.leadership.membership import Membership, Role
from jobstore.leadership.observed_lease import ObservedLease
from jobstore.leadership.reaper import Reaper
from jobstore.leadership.saturation import Saturation
from jobstore.leadership.session_lock import SessionLock
from jobstore.leadership.step_thread import RETRY_SECONDS, StepThread
from jobstore.models import SchedulerInstance, SchedulerLease
from jobstore.storage import key_rotation
from jobstore.util import as_aware, get_django_internal_datetime

logger = logging.getLogger("jobstore.scheduler")

# Seconds between two looks at the keys of the stored jobs, without the lease: while they are known,
# and while they are not.
KEY_LOOK_SECONDS, KEY_RETRY_SECONDS = 60.0, 5.0
# Seconds that leaving waits for a statement that is under way.
DRAIN_LOCK_SECONDS = 3.0


class Elector(Membership, StepThread):
    """Keeps a process registered and, if it can, in possession of the lease."""

    def __init__(
        self, using: str, wake: Callable[[], None], loop_problem: Callable[[], str] = str
    ) -> None:
        """Prepare; nothing is written before `start`.

        :param using: alias of the database that holds the jobs.
        :param wake: called when the loop should look at the jobs: something changed.
        :param loop_problem: asked before each renewal; returns why the scheduling loop cannot run
            jobs (its thread is dead or stuck), and nothing if it can.
        """
        Membership.__init__(self, using)
        StepThread.__init__(self)
        self.clock = DatabaseClock()
        self.view: LeaseView | None = None
        # Seconds by which the oldest job that could start was late when the lease was renewed.
        self.due_lag = 0.0
        self.saturation = Saturation()
        self._session_lock = SessionLock(using)
        self._wake = wake
        self._loop_problem = loop_problem
        self._term: Term | None = None
        self._trusted_until = 0.0
        self._started = time.monotonic()
        self._renewed_at = 0.0
        self._observed = ObservedLease()
        self._reaper = Reaper(using)
        # Renewals in a row that found the session lock with somebody else.
        self._without_lock = 0
        self._next_key_look = 0.0
        self._campaigning = False
        self._leaving = False
        # Returns whether runs that this process leaves are still running after it was stopped.
        self._goes_on: Callable[[], bool] | None = None
        # Whether this process may still hold a lease that it won while it was leaving.
        self._owes_release = False
        # The problem that this process's row names.
        self._written_problem = ""
        self._listener = Listener(using)
        self.requested = False
        self.planned_wake: dt.datetime | None = None

    # --- What the loop and the probes ask ------------------------------------------------------

    @property
    def term(self) -> Term | None:
        """The right to claim, or None. The claim itself checks it again, in the database."""
        is_trusted = time.monotonic() < self._trusted_until and self.fitness.may_compete
        return self._term if is_trusted else None

    @property
    def epoch(self) -> int | None:
        """The epoch that this process holds the lease with, or None."""
        term = self.term
        return term.epoch if term else None

    def distrust_lease(self) -> None:
        """Treat the lease as lost, as a claim found it; a renewal follows at once."""
        self._trusted_until = 0.0
        self._listener.wake()

    def hold_back(self, reason: str, error: BaseException | None = None) -> None:
        """Give the lease up, because this process cannot do its work; try again after a pause.

        Until `is_fit` is called the process is not ready, for this reason. The pause grows with
        each time, from FIRST_PAUSE to LONGEST_PAUSE seconds (fitness.py). Safe in any thread: the
        elector's own thread releases the lease, at once.

        :param reason: what went wrong, in one sentence.
        :param error: an exception that nobody foresaw, whose traceback is logged with a new reason.
        """
        if self._leaving:
            return
        if self.fitness.failed(reason):
            text = "This process gives the lease up, since it cannot run jobs: %s"
            logger.error(text, reason, exc_info=error)
        self._trusted_until = 0.0
        self._listener.wake()

    def lacks_keys(self, problem: str) -> None:
        """Give the lease up, because this process does not know the keys of most stored jobs.

        It looks again every KEY_RETRY_SECONDS seconds. Safe in any thread.

        :param problem: how many there are and what to do, in one sentence.
        """
        if problem != self.fitness.key_problem:
            logger.error("This process does not compete for the lease: %s", problem)
        self.fitness.key_problem = problem
        self._trusted_until = 0.0
        self._next_key_look = time.monotonic() + KEY_RETRY_SECONDS
        self._listener.wake()

    def is_fit(self) -> None:
        """Take back what `hold_back` said: this process has done its work again."""
        if self.fitness.succeeded():
            logger.info("This process can run jobs again.")
            self._listener.wake()

    def now(self) -> dt.datetime:
        """Return the database's time, as its clock is known here."""
        return self.clock.now()

    @property
    def clock_skew(self) -> float:
        """Seconds by which this machine's clock is ahead of the database's."""
        return self.clock.skew

    @property
    def lease_age(self) -> float | None:
        """Seconds since this process last renewed its lease; None if it has none."""
        return time.monotonic() - self._renewed_at if self.term else None

    @property
    def database_age(self) -> float:
        """Seconds since the database last answered."""
        return time.monotonic() - (self._reached_at or self._started)

    @property
    def is_idle(self) -> bool:
        """Whether the last renewal found no request, and no job whose time has come."""
        view = self.view
        if view is None or view.requested or self.term is None or view.term is None:
            return False
        return view.next_run_time is None or as_aware(view.next_run_time) > self.now()

    # --- Life ----------------------------------------------------------------------------------

    def campaign(self) -> None:
        """Begin to compete for the lease; called once the scheduler would run jobs.

        A scheduler that was started paused, for example to add jobs only, never calls this.
        """
        if not self._campaigning and not self._leaving:
            self._campaigning = True
            self._started = time.monotonic()
            self._listener.wake()

    def drain(self) -> None:
        """Give the lease up for good and stay registered while running jobs finish."""
        if self.role == Role.STOPPED:
            return
        self._campaigning, self._leaving = False, True
        self._term, self._trusted_until = None, 0.0
        self.role = Role.DRAINING
        # An acquisition that is under way would win a lease that nobody releases.
        has_lock = self._lock.acquire(timeout=DRAIN_LOCK_SECONDS)
        try:
            # By holder, not by epoch: a lease that was won in the meantime is released, too.
            self._owes_release = True
            lease.release(self.id, self.using)
            self._owes_release = not has_lock
        except (DatabaseError, InterfaceError) as error:
            logger.warning("The lease could not be released and will expire: %s", error)
        finally:
            if has_lock:
                self._lock.release()
        self._next_heartbeat = 0.0
        self._listener.wake()

    def stop(
        self,
        reason: str = "The scheduler was shut down before this run had ended.",
        goes_on: Callable[[], bool] = bool,
    ) -> None:
        """Leave: give the lease up, sign off, end the thread.

        :param reason: what the history says of runs that this process leaves unfinished.
        :param goes_on: returns whether threads of this process still run jobs. The process then
            signs off when they have ended; if it ends before, it is found dead later.
        """
        if self._stop.is_set():
            self._sign_off()  # in case it failed before
            return
        if not self._leaving:
            self.drain()
        self._parting, self._goes_on = reason, goes_on
        if goes_on():
            logger.warning("Jobs still run in this process; it signs off when they have ended.")
            return
        self._stop.set()
        self._listener.wake()
        if self._thread is not None:
            self._thread.join(5.0)
        self._sign_off()

    # --- The thread ----------------------------------------------------------------------------

    def _is_over(self) -> bool:
        return self._stop.is_set() or (self._goes_on is not None and not self._goes_on())

    def _sleep(self) -> None:
        self._listener.sleep(self._pause())

    def _let_go(self) -> None:
        self._session_lock.let_go()

    def _finish(self) -> None:
        if self._goes_on is not None and not self._stop.is_set():
            self._sign_off()
        with contextlib.suppress(Exception):  # the connection may be lost
            self._listener.close()
        self._session_lock.let_go()

    def _pause(self) -> float:
        """Return the seconds until the next step."""
        if self.last_error:
            return RETRY_SECONDS
        if self._term is not None:
            return float(conf.get("SCHEDULER_RENEW_SECONDS"))
        poll = float(conf.get("SCHEDULER_POLL_SECONDS"))
        if not self._campaigning:
            return poll
        next_look = self._next_key_look if self.fitness.key_problem else self._observed.next_look
        until_look = max(next_look - time.monotonic(), self.fitness.seconds_left)
        until_look = max(until_look, 0.0)
        return min(until_look, poll / 2 if self._watches else poll)

    def _step(self) -> None:
        set_session_timeouts(self.using)
        if not self._registered:
            self._register()
        if self._leaving:
            self._session_lock.let_go()
        else:
            self._watch_fitness()
        if self._owes_release and self._term is None:
            lease.release(self.id, self.using)
            self._owes_release = False
            self._session_lock.let_go()
        if self._term is not None:
            self._renew(self._term)
        if self._term is None and self._campaigning and self.fitness.may_compete:
            self._try_to_acquire()
        if self._term is None:
            self._heartbeat_if_due()
        elif self._session_lock.is_on or not conf.get("SCHEDULER_SESSION_LOCK"):
            self._listener.listen()  # in sessions that last
        now = get_django_internal_datetime(self.now())
        if self._term is not None and self._reaper.is_due(self.view, now):
            self._reap()

    def _watch_fitness(self) -> None:
        """Give the lease up if this process cannot run jobs, and write the reason into its row."""
        before, self.fitness.loop_problem = self.fitness.loop_problem, self._loop_problem()
        if self.fitness.loop_problem and not before:
            logger.error("This process cannot run jobs: %s", self.fitness.loop_problem)
        if self._term is None and self._campaigning:
            self._look_at_keys()
        problem = self.fitness.problem
        if not self.fitness.may_compete and self._campaigning:
            if self._term is not None:
                self._term, self._trusted_until = None, 0.0
                self._owes_release = True
            if self.role != Role.UNFIT:
                self._become(Role.UNFIT)
        elif not problem and self.role == Role.UNFIT:
            self._observed.look_at_once()
            self._become(Role.STARTING)
        if (shown := self.fitness.shown) != self._written_problem:
            self._write(problem=shown)
            self._written_problem = shown

    def _look_at_keys(self) -> None:
        """Before competing, see whether this process could verify most of the jobs."""
        if time.monotonic() < self._next_key_look:
            return
        problem = key_rotation.problem(self.using)
        if problem:
            self.lacks_keys(problem)
            return
        self._next_key_look = time.monotonic() + KEY_LOOK_SECONDS
        if self.fitness.key_problem:
            self.fitness.key_problem = ""
            logger.info("This process knows the keys of the stored jobs again.")

    def _renew(self, term: Term) -> None:
        asked_at = time.monotonic()
        has_lock = self._session_lock.try_hold()
        self._without_lock = 0 if has_lock else self._without_lock + 1
        if self._without_lock > 1:  # a process that was about to let it go has done so by now
            self._session_lock.evict()
        view = lease.renew(
            term,
            self.using,
            session_lock=has_lock,
            saturated=self.saturation.as_text,
            suspect=self._reaper.due_suspect(get_django_internal_datetime(self.now())),
        )
        self._absorb(view, asked_at)
        if self._term is None and self._campaigning:
            logger.error("The lease was lost (epoch %d); no more runs are claimed.", term.epoch)
            self._observed.look_at_once()
            self._become(Role.STARTING)

    @property
    def _watches(self) -> bool:
        """Whether the session lock tells when the holder is gone, so that looks may be rarer."""
        return self._session_lock.is_on and (self.view is None or self.view.session_lock)

    def _try_to_acquire(self) -> None:
        """Take the lease if its holder is gone or does not renew it."""
        has_lock = self._watches and self._session_lock.try_hold()
        if not has_lock and not self._observed.is_due:
            return
        asked_at = time.monotonic()
        view = lease.acquire(
            self.id,
            self.using,
            session_lock=has_lock,
            silent=self._observed.silent,
            above=self._observed.highest_epoch,
        )
        self._absorb(view, asked_at)
        if self._term is None:
            # The holder of the lease does not have the session lock yet, and will ask for it.
            self._session_lock.let_go()
            self._observed.note(view, asked_at, is_watched=self._watches)
        self._after_competing()

    def _absorb(self, view: LeaseView, asked_at: float) -> None:
        """Take in a view of the lease that was asked for at `asked_at` on the monotonic clock."""
        trust = conf.get("SCHEDULER_LEASE_SECONDS") - conf.get("SCHEDULER_MARGIN_SECONDS")
        self._reached_at = time.monotonic()
        self.clock.read(view.now, asked_at, self._reached_at)
        self.view = view
        self._observed.highest_epoch = max(self._observed.highest_epoch, view.epoch)
        if (
            self._reached_at - asked_at < REPORTED_SKEW_SECONDS / 2
        ):  # otherwise the answer is no longer true
            self.clock.report_skew()
        if not (self._campaigning and self.fitness.may_compete):
            # A lease that was won while this process began to leave or hold back must be released.
            self._owes_release = self._owes_release or view.term is not None
            return
        was_trusted = self.term is not None
        self._term = view.term
        self._renewed_at = asked_at
        # From before the question was sent: the lease began at some moment after that.
        self._trusted_until = asked_at + trust if view.term else 0.0
        if view.term is None:
            return
        self.requested = view.requested
        self._observed.forget()
        first = view.next_run_time
        late = (as_aware(view.now) - as_aware(first)).total_seconds() if first else 0.0
        self.due_lag = max(late, 0.0)
        is_earlier = first is not None and (
            self.planned_wake is None or as_aware(first) < self.planned_wake
        )
        # After an outage the loop has planned nothing, since it found no lease that it could use.
        if view.requested or is_earlier or not was_trusted:
            self._wake()

    def _after_competing(self) -> None:
        # A thread that drains this process may set it to None at any moment.
        if (term := self._term) is not None:
            self._note_former_holder()
            self._become(Role.ACTIVE)
            logger.info("Active: this process holds the lease with epoch %d.", term.epoch)
            self._reap(thorough=True)
            self._wake()
        elif self.fitness.problem:
            if self.role != Role.UNFIT:
                self._become(Role.UNFIT)
        elif self.role == Role.STARTING and conf.get("SCHEDULER_SURPLUS") == "standby":
            self._become(Role.STANDBY)
            logger.info("Standby: %s", self.reason)
        elif self.role == Role.STARTING and self._has_waited():
            self._become(Role.SURPLUS)
            logger.error("Surplus: %s", self.reason)

    def _has_waited(self) -> bool:
        """Tell whether this process would have taken over from a dead holder by now."""
        patience = conf.get("SCHEDULER_LEASE_SECONDS") + 2 * conf.get("SCHEDULER_POLL_SECONDS")
        return bool(time.monotonic() - self._started > patience)

    @property
    def reason(self) -> str:
        """Why this process does not run jobs, in one sentence; empty if it does."""
        if self.role == Role.DRAINING:
            return "Shutting down: running jobs finish, no more are claimed."
        if problem := self.fitness.problem:
            return problem
        holder = self.view.holder if self.view else ""
        if self.role == Role.SURPLUS:
            return f"{holder} is the active scheduler; this process is surplus and runs nothing."
        if self.role == Role.STANDBY:
            return f"{holder} is the active scheduler; this process would take over from it."
        if self.role == Role.STARTING:
            return f"Waiting for the lease, which {holder or 'an unknown process'} holds."
        if self.term is None:
            return "The lease could not be renewed in time; no more runs are claimed."
        return ""

    def _become(self, role: SchedulerInstance.Role) -> None:
        if role == Role.STARTING:
            self._started = time.monotonic()
        self.role = role
        self._write(role=role, epoch=self._term.epoch if self._term else None)

    def _note_former_holder(self) -> None:
        if self.view is None:
            return
        former = self.view.former
        self._reaper.after_take_over(former if former != self.id else None, self.view.now)

    def _reap(self, *, thorough: bool = False) -> None:
        now = get_django_internal_datetime(self.now())
        if self._reaper.reap(self.id, self._term, now, thorough=thorough):
            self._wake()


def holder(using: str) -> tuple[SchedulerLease | None, SchedulerInstance | None]:
    """Return the lease and the process that holds it, even if the lease has expired."""
    current = SchedulerLease.objects.using(using).filter(name=SchedulerLease.DEFAULT).first()
    if current is None or current.holder is None:
        return current, None
    return current, SchedulerInstance.objects.using(using).filter(pk=current.holder).first()
