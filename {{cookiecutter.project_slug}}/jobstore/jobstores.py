"""The job stores: what an APScheduler scheduler talks to.

`DjangoJobStore` keeps jobs and history in the Django database and works with every APScheduler 3
scheduler. Its `get_due_jobs` is the claim, so that any number of schedulers may share the
database: the one that holds the lease runs the jobs, the others run none.
"""

import datetime as dt
import logging
import pickle
import time
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

from apscheduler.job import Job
from apscheduler.jobstores.base import BaseJobStore, ConflictingIdError, JobLookupError
from apscheduler.jobstores.memory import MemoryJobStore
from apscheduler.schedulers.base import STATE_RUNNING
from django.db import (
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    router,
    transaction,
)
from django.db.models import Min

from jobstore import conf
from jobstore.claims.dispatcher import Dispatcher
from jobstore.claims.reporting import ReportingMixin
from jobstore.claims.result import ClaimResult, LacksKeys
from jobstore.database.backoff import Backoff
from jobstore.database.notifications import notify
from jobstore.execution.run import ActiveRun, ClaimedJob
from jobstore.history.listener import DjangoResultStoreMixin
from jobstore.history.recorder import Recorder
from jobstore.leadership.elector import Elector
from jobstore.leadership.lease import NotHolder, waiting_jobs
from jobstore.models import REPLACED, DjangoJob, DjangoJobExecution
from jobstore.repeated import RepeatedFailure
from jobstore.schedules import trigger_defaults
from jobstore.schedules.wording import weekday_question
from jobstore.storage import edits, replacement, serializer
from jobstore.storage.rows import DueJob
from jobstore.texts import described, flattened, one_line
from jobstore.util import (
    as_aware,
    get_apscheduler_datetime,
    get_django_internal_datetime,
    outside_event_loop,
    release_connections,
    retry_on_db_operational_error,
)

logger = logging.getLogger("jobstore.store")

R = TypeVar("R")

# Seconds until the next look at the database: without the lease, and while all workers are busy.
STANDBY_LOOK_SECONDS = 5.0
# How the text of a requested run begins that is cancelled because its job was removed.
REMOVED = "The job was removed by the program"


class DjangoJobStore(ReportingMixin, BaseJobStore):  # type: ignore[misc]
    """Keeps jobs in the Django database and runs each due time once, however many schedulers run.

    :param int pickle_protocol: protocol of the job state's pickle.
    """

    def __init__(self, pickle_protocol: int = pickle.HIGHEST_PROTOCOL) -> None:
        super().__init__()
        self.pickle_protocol = pickle_protocol
        self.elector: Elector | None = None
        self.recorder: Recorder | None = None
        self._dispatcher: Dispatcher | None = None
        self._backoff = Backoff()
        self._claiming = RepeatedFailure(logger, "Due jobs wait", "Due jobs are claimed again")
        # Since when claims have failed although the lease could be renewed, by monotonic time.
        self._failing_since: float | None = None
        self._planning = RepeatedFailure(
            logger, "The next run time is not known", "The next run time is known again"
        )
        # When the scheduler last asked what is due, on this machine's monotonic clock.
        self._asked_at = time.monotonic()
        # Jobs that could not be restored, with the version that was reported.
        self._told_unreadable: dict[str, int] = {}
        self._is_shut_down = False

    @property
    def using(self) -> str:
        """The alias of the database that the jobs are routed to."""
        return router.db_for_write(DjangoJob)

    @property
    def running(self) -> list[ActiveRun]:
        """The runs that this process has claimed and not finished."""
        return self._dispatcher.running if self._dispatcher else []

    # --- Life ----------------------------------------------------------------------------------

    def start(self, scheduler: Any, alias: str) -> None:
        """Register this process. It competes for the lease from its first look for due jobs on."""
        super().start(scheduler, alias)
        self._is_shut_down = False
        if self._is_first:
            self._compete()

    @property
    def _is_first(self) -> bool:
        """Whether this store claims; stores of one scheduler share the table, and so the work."""
        stores = self._scheduler._jobstores.values()
        return next((one for one in stores if isinstance(one, DjangoJobStore)), self) is self

    def _compete(self) -> None:
        if self.elector is None:
            self.elector = Elector(self.using, self._wake, self._loop_problem)
        self.recorder = Recorder(self.elector.id, self.using)
        self._dispatcher = Dispatcher(self, self.elector)
        self.elector.start()

    def shutdown(self) -> None:
        """Give up the lease, write what is left of the history, close connections."""
        self._is_shut_down = True
        if self.elector is not None and self.recorder is not None:
            elector = self.elector
            outside_event_loop(elector.drain)
            self.recorder.stop(timeout=10.0)
            # Without wait=True an executor's threads go on with what they have.
            runs = [run for run in self.running if self._may_go_on(run)]
            outside_event_loop(lambda: elector.stop(goes_on=lambda: _any_goes_on(runs)))
            self.elector = self.recorder = None
        super().shutdown()
        outside_event_loop(release_connections)
        if self._dispatcher is not None:
            outside_event_loop(self._dispatcher.close_connection)

    def _may_go_on(self, run: ActiveRun) -> bool:
        """Tell whether an executor has a run; one that none was given never starts from now on."""
        if run.submitted:
            return True
        # The event that tells so may still be under way; the executor has counted it by then.
        executor = self._scheduler._executors.get(run.executor)
        is_counted = executor is not None and bool(executor._instances.get(run.job_id))
        return is_counted or not run.take()

    def _wake(self) -> None:
        if self._scheduler is not None and self._scheduler.running:
            self._scheduler.wakeup()

    def _loop_problem(self) -> str:
        """Return why the scheduler that uses this store starts no jobs, if it should long ago."""
        wake = self.elector.planned_wake if self.elector else None
        if self.elector is None or wake is None or self._scheduler.state != STATE_RUNNING:
            return ""
        silence = time.monotonic() - self._asked_at
        overdue = (self.elector.now() - wake).total_seconds()
        if min(silence, overdue) < conf.get("SCHEDULER_HUNG_SECONDS"):
            return ""
        return f"The scheduling loop has not asked for due jobs for {silence:.0f} s."

    # --- The contract of a job store ------------------------------------------------------------

    def lookup_job(self, job_id: str) -> Job | None:
        """Return the job, or None if there is none or it cannot be restored."""
        row = outside_event_loop(self._first, job_id)
        return self.restore(row) if row is not None else None

    @retry_on_db_operational_error
    def _first(self, job_id: str) -> DjangoJob | None:
        row: DjangoJob | None = DjangoJob.objects.using(self.using).filter(pk=job_id).first()
        return row

    def get_all_jobs(self) -> list[Job]:
        """Return all jobs that can be restored, the next to run first, paused ones last."""
        rows = outside_event_loop(self._all)
        jobs = [job for row in rows if (job := self.restore(row)) is not None]
        return sorted(jobs, key=lambda job: (job.next_run_time is None, job.next_run_time or 0))

    @retry_on_db_operational_error
    def _all(self) -> list[DjangoJob]:
        return list(DjangoJob.objects.using(self.using).order_by("next_run_time", "pk"))

    def add_job(self, job: Job) -> None:
        """Store a job.

        :raises ConflictingIdError: if there is a job with its id.
        :raises ValueError: if it cannot be stored; the text says what to do.
        """
        trigger_defaults.settle_grace(job)
        outside_event_loop(self._add, job)
        if question := weekday_question(job.trigger):
            logger.warning("Job %r: %s.", job.id, question)

    def _add(self, job: Job) -> None:
        values = self._values(job)
        using = self.using
        try:
            with transaction.atomic(using=using):
                DjangoJob.all_objects.using(using).create(pk=job.id, **values)
                notify(using)
        except IntegrityError:
            jobs = DjangoJob.all_objects.using(using).filter(pk=job.id)
            runs = DjangoJobExecution.objects.db_manager(using)
            with transaction.atomic(using=using):
                retired = jobs.filter(retired_at__isnull=False)
                if not retired.update(**initial_values() | values):
                    raise ConflictingIdError(job.id) from None
                runs.cancel_waiting(jobs, REPLACED)
        except DataError as error:
            raise _unfit(job, error) from error

    def update_job(self, job: Job) -> None:
        """Store a changed job.

        `add_job(replace_existing=True)`, which programs call at each start, does not undo what
        operators did: a paused job stays paused, and the next run time stays unless the trigger
        or an explicit `next_run_time` is new.

        :raises JobLookupError: if there is no job with its id.
        """
        trigger_defaults.settle_grace(job)
        if not isinstance(job, ClaimedJob):  # whose next time the claim has written already
            outside_event_loop(self._update, job)

    @retry_on_db_operational_error
    def _update(self, job: Job) -> None:
        using = self.using
        rows = DjangoJob.objects.using(using).filter(pk=job.id)
        with transaction.atomic(using=using):
            more: dict[str, Any] = {"pause_reason": ""} if job.next_run_time else {}
            if job._jobstore_alias is None:
                stored = rows.select_for_update().first()
                is_as_computed = replacement.is_as_computed(job)
                if stored is not None:
                    more["edited"], _ = edits.keep(job, stored.on_lost, stored)
                    if is_as_computed:
                        replacement.keep_schedule(job, stored)
                        more.pop("pause_reason", None)
            try:
                found = rows.update(**self._values(job) | more)
            except DataError as error:
                raise _unfit(job, error) from error
            if not found:
                raise JobLookupError(job.id)

    def remove_job(self, job_id: str) -> None:
        """Retire a job and cancel its requested runs; its history stays.

        :raises JobLookupError: if there is no such job.
        """
        outside_event_loop(self._remove, job_id)

    def _remove(self, job_id: str) -> None:
        if not DjangoJob.objects.using(self.using).filter(pk=job_id).retire(REMOVED):
            raise JobLookupError(job_id)

    def remove_all_jobs(self) -> None:
        """Retire all jobs, as `remove_job` does."""
        outside_event_loop(lambda: DjangoJob.objects.using(self.using).all().retire(REMOVED))

    def get_due_jobs(self, now: dt.datetime) -> list[Job]:
        """Claim the jobs that are due by the database's clock, as many as can start.

        Returns nothing without the lease, and nothing while the database fails: the loop that
        calls this must go on. A store that was not started returns what is due at `now`.
        """
        self._asked_at = time.monotonic()
        if self._is_shut_down:
            # APScheduler's loop looks once more on its way out. It must find nothing to run.
            outside_event_loop(release_connections)
            return []
        if self._scheduler is None:
            return outside_event_loop(self._due_at, now)
        if self.elector is None and self._is_first:
            self._compete()  # the store that did so has left the scheduler
        if self.elector is None or self._dispatcher is None:
            return []
        return self._claim_due(self.elector, self._dispatcher)

    def _claim_due(self, elector: Elector, dispatcher: Dispatcher) -> list[Job]:
        elector.campaign()
        elector.restart_if_dead()
        self._settle_unsubmitted(dispatcher)
        if self._backoff.lasts:
            return []  # something else has woken the loop
        term = elector.term
        if term is None and not dispatcher.is_looking_for_runs:
            return []
        if self.recorder is not None and self.recorder.is_full:
            # Jobs wait: the end of further runs could not be kept.
            self._claiming.happened(f"{self.recorder.waiting} results wait to be written")
            self._backoff.longer()
            return []
        taken = ClaimResult()
        try:
            outside_event_loop(dispatcher.take, term, taken)
            self._backoff.over()
            self._claiming.over()
            self._failing_since = None
            if term is not None:
                elector.is_fit()
        except LacksKeys as problem:
            elector.lacks_keys(str(problem))
            self._backoff.longer()
        except NotHolder:
            logger.warning("Nothing was claimed: another process holds the lease now.")
            elector.distrust_lease()
            self._backoff.longer()
        except Exception as error:
            self._claim_failed(elector, error)
            outside_event_loop(release_connections)
            self._backoff.longer()
        # This process must run whatever was claimed before something failed.
        self._announce(taken)
        return taken.jobs

    def _claim_failed(self, elector: Elector, error: Exception) -> None:
        """Say so; hold the process back if claims fail for long although the lease is renewed."""
        if isinstance(error, DatabaseError | InterfaceError):
            self._claiming.happened(f"the database fails: {flattened(error)}")
        else:
            text = f"the claim failed: {described(error)}"
            self._claiming.happened(text, level=logging.ERROR, error=error)
        if elector.last_error:
            self._failing_since = None  # the database is away: that is not this process's fault
        elif elector.term is not None:
            now = time.monotonic()
            self._failing_since = self._failing_since or now
            if now - self._failing_since > conf.get("SCHEDULER_HUNG_SECONDS"):
                elector.hold_back(f"Due jobs cannot be claimed: {self._claiming.text}")

    def get_next_run_time(self) -> dt.datetime | None:
        """Return when to look again, on the clock of this machine; None for nothing to do.

        Never raises in a running scheduler: APScheduler's loop would end.
        """
        if self._is_shut_down:
            return None
        if self._scheduler is None:
            first = outside_event_loop(self._first_run_time)
            return get_apscheduler_datetime(first, self._scheduler)
        dispatcher = self._dispatcher
        if self.elector is None or dispatcher is None:
            return None
        if self._backoff.seconds:
            return self._in(self._backoff.seconds)
        if self.elector.term is None:
            return self._in(STANDBY_LOOK_SECONDS)
        try:
            known, dispatcher.known_first = dispatcher.known_first, None
            first = known[0] if known else outside_event_loop(dispatcher.first_run_time)
            self._planning.over()
        except Exception as error:
            self._planning.happened(f"the database fails: {flattened(error)}")
            outside_event_loop(release_connections)
            self._backoff.longer()
            return self._in(self._backoff.seconds)
        now = self.elector.now()
        until = None if first is None else (as_aware(first) - now).total_seconds()
        within = dispatcher.look_within
        if within is not None:
            until = within if until is None else min(until, within)
        self.elector.planned_wake = None if until is None else now + dt.timedelta(seconds=until)
        return None if until is None else self._in(max(until, 0.0))

    def _in(self, seconds: float) -> dt.datetime:
        zone = getattr(self._scheduler, "timezone", None) or dt.UTC
        return dt.datetime.now(zone) + dt.timedelta(seconds=seconds)

    # --- Due jobs -------------------------------------------------------------------------------

    def _due_at(self, now: dt.datetime) -> list[Job]:
        rows = waiting_jobs(self.using).filter(next_run_time__lte=get_django_internal_datetime(now))
        rows = rows.order_by("next_run_time", "pk")
        return [job for row in rows if (job := self.restore(row)) is not None]

    def _first_run_time(self) -> dt.datetime | None:
        first: dt.datetime | None = waiting_jobs(self.using).aggregate(first=Min("next_run_time"))[
            "first"
        ]
        return first

    # --- Restoring ------------------------------------------------------------------------------

    def restore(self, row: DjangoJob | DueJob) -> Job | None:
        """Return the job of a row, or None for one that cannot be restored, which is logged once.

        Nothing is written: this process may have the wrong key, or older code.
        """
        try:
            return self.restore_or_raise(row)
        except serializer.UnreadableState as error:
            if self._told_unreadable.get(row.pk) != row.version:
                self._told_unreadable[row.pk] = row.version
                logger.error("Job %r cannot be restored here: %s", row.pk, one_line(error))
            return None

    def restore_or_raise(self, row: DjangoJob | DueJob) -> Job:
        """Return the job of a row.

        :raises UnreadableState: if it cannot be restored.
        """
        # Without an alias it would pass for a job that is written for the first time.
        return serializer.restore(row, self._scheduler, self._alias or "")

    def _values(self, job: Job) -> dict[str, Any]:
        return {
            "next_run_time": get_django_internal_datetime(job.next_run_time),
            "quarantined_at": None,
            "quarantine_reason": "",
            "retired_at": None,
            **serializer.values(job, self.pickle_protocol),
        }

    def __repr__(self) -> str:
        return f"<{type(self).__name__} (pickle_protocol={self.pickle_protocol})>"


def initial_values() -> dict[str, Any]:
    """Return the values of a new row: it takes over nothing from a retired job of the same id."""
    fields = DjangoJob._meta.concrete_fields
    return {
        one.attname: one.get_default()
        for one in fields
        # The version is not reset, so that a claim under way notices the change.
        if not one.primary_key and one.name != "version"
    }


def _any_goes_on(runs: list[ActiveRun]) -> bool:
    return any(run.finished is None for run in runs)


def _unfit(job: Job, error: DataError) -> ValueError:
    text = str(error).strip()
    return ValueError(f"Job {job.id!r} cannot be stored, the database refuses a value: {text}")


class DjangoMemoryJobStore(DjangoResultStoreMixin, MemoryJobStore):  # type: ignore[misc]
    """Keeps jobs in memory and their history in the Django database.

    The lease does not guard it: every scheduler runs its own jobs. History is written when events
    occur; what occurs while the database is away is missing. A run whose process died stays
    "Started execution" until it is old enough to be pruned.
    """

    def add_job(self, job: Job) -> None:
        """Keep a job.

        :raises ConflictingIdError: if there is a job with its id.
        """
        trigger_defaults.settle_grace(job)
        super().add_job(job)

    def update_job(self, job: Job) -> None:
        """Keep a changed job.

        :raises JobLookupError: if there is no job with its id.
        """
        trigger_defaults.settle_grace(job)
        super().update_job(job)


def register_events(scheduler: Any, result_storage: Any = None) -> None:
    """Do nothing: every DjangoJobStore listens by itself. Deprecated."""
    warnings.warn(
        "register_events() is not needed any more: delete the call.", DeprecationWarning, 2
    )


def register_job(scheduler: Any, *args: Any, **kwargs: Any) -> Callable[[R], R]:
    """Add the decorated function as a job. Deprecated: use `jobstore.registry.scheduled`."""
    warnings.warn("register_job() is deprecated: use @scheduled.", DeprecationWarning, 2)

    def decorate(func: Any) -> Any:
        kwargs.setdefault("id", f"{func.__module__}.{func.__qualname__}")
        scheduler.add_job(func, *args, **kwargs)
        return func

    return decorate
