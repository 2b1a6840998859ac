"""Several scheduler processes on one real database, in an order that a seed decides.

Each process is the real store, dispatcher, elector and recorder, driven by APScheduler's real
loop body. Each of its threads is a real thread with its own connection, but only one thread has
the baton; it may have to pass it on before any statement outside a transaction. What is simulated
is time (the clock that jobs are planned by, the lease's end, silence) and misfortune.
"""

import contextlib
import datetime as dt
import logging
import random
import threading
import types
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from apscheduler.executors.base import BaseExecutor, run_job
from apscheduler.jobstores.base import ConflictingIdError, JobLookupError
from apscheduler.schedulers.base import STATE_RUNNING, BaseScheduler
from apscheduler.triggers.interval import IntervalTrigger
from django.db import OperationalError, connection, connections
from django.db.models import F
from pytest_django.fixtures import Settings

from jobstore.execution.run import ActiveRun
from jobstore.jobstores import DjangoJobStore
from jobstore.leadership import lease
from jobstore.leadership.elector import Elector
from jobstore.models import DjangoJob, DjangoJobExecution, SchedulerInstance, SchedulerLease
from jobstore.storage import serializer
from jobstore.tests.checker import Checker

LONG_AGO = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)
# By this no moment is a whole second, so that a request never falls on a scheduled time.
ODD = dt.timedelta(microseconds=137)
BEGINNING = dt.datetime(2024, 3, 30, 23, tzinfo=dt.UTC) + ODD
SECOND = dt.timedelta(seconds=1)
JOBS = [f"job {number}" for number in range(6)]
# Stands for the recorder's own thread, whose work the world hands out.
BY_HAND = types.SimpleNamespace(is_alive=lambda: True, join=lambda timeout: None)


ACQUIRE, FINISH = lease.acquire, DjangoJobStore.finish


class Crash(BaseException):
    """The process is gone: nothing that it would have done next happens."""


class Actor(threading.Thread):
    """A thread that does something only while it has the baton."""

    def __init__(self, world: "World", work: Callable[[], None]) -> None:
        super().__init__(daemon=True)
        self.crashed = self.ended = self.is_quiet = False
        # For how many turns it is passed over, while others go on.
        self.nap = 0
        self.error: BaseException | None = None
        self._world, self._work = world, work
        self._mine, self._given_back = threading.Semaphore(0), threading.Semaphore(0)
        self.start()

    def resume(self) -> None:
        """Hand over the baton and wait until it comes back."""
        self._mine.release()
        self._given_back.acquire()
        if self.error is not None:
            raise self.error

    def pause(self) -> None:
        """Give the baton back, with no lock held; from here on everything may have changed."""
        if not (self.is_quiet or connection.in_atomic_block):
            self._given_back.release()
            self._mine.acquire()
        if self.crashed:
            raise Crash

    def run(self) -> None:
        """Work until the end or the crash."""
        self._mine.acquire()
        try:
            if not self.crashed:
                if connection.vendor == "postgresql":
                    with connection.cursor() as cursor:  # nothing here outlives a power loss
                        cursor.execute("SET synchronous_commit TO off")
                with connection.execute_wrapper(self._before_statement):
                    self._work()
        except Crash:
            pass
        except BaseException as error:
            self.error = error
        connections.close_all()
        self.ended = True
        self._given_back.release()

    def _before_statement(
        self, execute: Any, sql: str, params: Any, many: bool, context: Any
    ) -> Any:
        if self._world.chance(0.1):
            self.pause()
        if not sql.startswith("SELECT"):
            self._world.written = True
        return execute(sql, params, many, context)


class StillElector(Elector):
    """An elector whose steps the simulation decides, and which plans by the simulated clock."""

    def __init__(self, world: "World") -> None:
        super().__init__("default", wake=lambda: None)
        self.id = uuid.UUID(int=world.random.getrandbits(128), version=4)
        self._world = world

    def start(self) -> None:
        """Leave the steps to the simulation."""

    def now(self) -> dt.datetime:
        """Return the simulated time."""
        return self._world.now

    def step(self) -> None:
        """Do what the thread does at intervals, the rarer chores by chance."""
        self._next_heartbeat = 0.0
        self._reaper._next_search = 0.0 if self._world.chance(0.1) else float("inf")
        self._step()


class Hands(BaseExecutor):  # type: ignore[misc]
    """An executor whose workers work when the simulation says so."""

    def __init__(self, process: "Process", workers: int) -> None:
        super().__init__()
        self._pool = types.SimpleNamespace(_max_workers=workers)
        self._process = process
        self.waiting: list[tuple[Any, list[dt.datetime]]] = []

    def _do_submit_job(self, job: Any, run_times: list[dt.datetime]) -> None:
        self.waiting.append((job, run_times))

    def work(self) -> None:
        """Run one submitted job, as APScheduler's pools do."""
        world = self._process.world
        job, run_times = self.waiting.pop(world.random.randrange(len(self.waiting)))
        events = []
        for run_time in run_times:
            world.checker.start(job.id, run_time, self._process.store.elector.id)
            events += run_job(job, job._jobstore_alias, [run_time], "simulation")
        world.checker.end(job.id, run_times)
        self._run_job_success(job.id, events)


class Loop(BaseScheduler):  # type: ignore[misc]
    """APScheduler's loop without a thread of its own."""

    def shutdown(self, wait: bool = True) -> None:
        """Stop; nothing runs by itself here."""

    def wakeup(self) -> None:
        """Do nothing: the simulation decides when the loop looks again."""


class Process:
    """A scheduler process: loop, elector and workers, each on its own thread."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.store: Any = DjangoJobStore()
        self.store.elector = StillElector(world)
        self.hands = Hands(self, workers=world.random.choice([2, 5, 20]))
        self.loop = Loop(timezone="UTC")
        self.loop._executors["default"] = self.hands
        self.loop._jobstores["default"] = self.store
        self.loop.state = STATE_RUNNING
        self.hands.start(self.loop, "default")
        self.store.start(self.loop, "default")
        self.store.elector.campaign()
        recorder: Any = self.store.recorder
        recorder._thread = BY_HAND
        self.is_leaving = self.is_looking = False
        self.frozen_until = 0

    def bodies(self) -> list[Callable[[], None]]:
        """Return what its threads do, for ever."""
        return [self._schedule, self._elect, self._work]

    @property
    def is_unsure(self) -> bool:
        """Whether the reply to a claim was lost, and it has not looked since."""
        return bool(self.store._dispatcher.is_unsure)

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing that it has begun and not written."""
        return not (self.has_work or self.is_unsure)

    @property
    def known_runs(self) -> set[int]:
        """The runs that it has, or had and has not written the results of."""
        running = {run.execution_id for run in self.store.running}
        return running | set(self.store.recorder.unwritten())

    @property
    def is_frozen(self) -> bool:
        """Whether it stands still until others have claimed a few times."""
        return self.frozen_until > self.world.checker.windows

    @property
    def has_work(self) -> bool:
        """Whether a job waits for a worker, or a result for the recorder."""
        return bool(self.hands.waiting or self.store.recorder.waiting)

    @property
    def may_claim(self) -> bool:
        """Whether its loop does more than to find that another process holds the lease."""
        return bool(self.is_looking or self.is_unsure or self.store.elector.term)

    def schedule(self) -> None:
        """Look for due jobs and start them."""
        self.store._backoff.end_pause()
        wake = self.store.elector.planned_wake
        if wake is not None and not self.world.is_calm and self.world.chance(0.8):
            self.world.now = max(self.world.now, wake + ODD)
        self.is_looking = True
        self.loop._process_jobs()
        self.is_looking = False

    def write(self) -> None:
        """Write the results that wait."""
        self.store.recorder._write_batch()

    def finish(self) -> None:
        """Run all that was submitted, and write the results."""
        while self.hands.waiting:
            self.hands.work()
        while self.store.recorder.waiting:
            self.write()

    def _schedule(self) -> None:
        while True:
            self.world.actor.pause()
            self.schedule()

    def _elect(self) -> None:
        elector = self.store.elector
        while not self.is_leaving:
            elector.step()
            self.world.actor.pause()
        elector.drain()
        while not self.is_idle:
            self.world.actor.pause()
        elector.stop()
        self.world.remove(self)

    def _work(self) -> None:
        while True:
            self.world.actor.pause()
            if self.hands.waiting:
                self.hands.work()
            if self.world.is_calm or self.world.chance(0.3):
                self.write()


class World:
    """The processes, the people who edit jobs, time and misfortune."""

    def __init__(self, seed: int, monkeypatch: pytest.MonkeyPatch, processes: int = 3) -> None:
        self.random = random.Random(seed)  # noqa: S311 - repeats what it did
        self.now = BEGINNING
        self.written = False
        self.checker = Checker(lambda: self.now)
        self.actors: dict[Process | None, list[Actor]] = {}
        self.actor: Any = types.SimpleNamespace(pause=lambda: None, is_quiet=True)
        self._pruned_to = LONG_AGO
        self._store = DjangoJobStore()
        self.is_calm = False
        self._read: list[str] = []
        self._broken: AssertionError | None = None
        for place, audited in {
            "jobstore.claims.claim.claim": self._claim,
            "jobstore.claims.claim.claim_requests": self._audited(self.checker.claim_requests),
            "jobstore.leadership.lease.acquire": self._acquire,
            "jobstore.jobstores.DjangoJobStore.finish": self._finishing(),
            "jobstore.history.recorder.write": self._audited(self.checker.write),
            "jobstore.leadership.losses.mark_lost": self._audited(self.checker.mark_lost),
            "jobstore.models.database_now": lambda using: self.now,
            "jobstore.execution.leftovers.close_connections": lambda **_: [],
        }.items():
            monkeypatch.setattr(place, audited)
        with self.checker.edit(*JOBS):
            for job_id in JOBS:
                self._add(job_id)
        self.checker.look()
        for _ in range(processes):
            self._spawn()
        self.actors[None] = [Actor(self, self._edit_for_ever) for _ in range(2)]

    def chance(self, probability: float) -> bool:
        """Decide by the seed."""
        return self.random.random() < probability

    @property
    def processes(self) -> list[Process]:
        """The processes that live."""
        return [process for process in self.actors if process is not None]

    # --- The run of events ----------------------------------------------------------------------

    def run(self, windows: int) -> None:
        """Go on until so many plans were made, disturbed or not, and claimed; then tidy up."""
        try:
            for _ in range(200 * windows + 10_000):
                self._step()
                if self.checker.windows >= windows:
                    break
            assert self.checker.windows >= windows, "hardly anything is claimed any more"
            self._finish()
        finally:
            for group in list(self.actors):
                for actor in self.actors.pop(group):
                    with contextlib.suppress(BaseException):
                        self._end(actor)

    def _step(self) -> None:
        lot = self.random.random()
        if lot < 0.80:
            self._resume(self._somebody())
        elif lot < 0.95:
            self.now += SECOND * self.random.choice([0.1, 0.5, 1, 1, 1, 2, 2, 5, 20])
        elif lot < 0.97:
            self._all_is_known()
            self._expire_lease()
        elif lot < 0.98:
            self._silence(
                self.random.choice(list(SchedulerInstance.objects.order_by("started_at")))
            )
        elif lot < 0.985:
            working = [one for one in self.processes if one.has_work]
            self._freeze(self.random.choice(working or self.processes))
        elif lot < 0.988:
            self._prune()
        elif lot < 0.997:
            self._crash(self.random.choice(self.processes))
        else:
            self._leave(self.random.choice(self.processes))

    def _somebody(self) -> Actor:
        """Return whose turn it is: mostly a loop that claims, or is about to."""
        if self.chance(0.12):
            return self.random.choice(self.actors[None])
        processes = [one for one in self.processes if not one.is_frozen] or self.processes
        process = self.random.choice(processes)
        if self.chance(0.8):
            process = self.random.choice([one for one in processes if one.may_claim] or [process])
        loop, elector, hands = self.actors[process]
        if process.has_work and self.chance(0.3):
            return hands
        if not process.may_claim or self.chance(0.1):
            return elector
        loop.nap -= loop.nap > 0
        return self.random.choice([*self.actors[None], elector, hands]) if loop.nap else loop

    def _resume(self, actor: Actor) -> None:
        self.actor = actor
        actor.resume()
        if self._broken is not None:
            raise self._broken
        if self.written:
            self.written = False
            self.checker.look()

    def _spawn(self) -> None:
        process = Process(self)
        self.actors[process] = [Actor(self, body) for body in process.bodies()]

    def remove(self, process: Process) -> None:
        """Take a process that has left out of the world, its other threads first."""
        for actor in self.actors.pop(process):
            if actor is not self.actor:
                self._end(actor)

    def _end(self, actor: Actor) -> None:
        if not actor.ended:
            actor.crashed = True
            actor.resume()

    def _crash(self, process: Process) -> None:
        self.checker.seen["crashed"] += 1
        for actor in self.actors.pop(process):
            self._end(actor)
        self._spawn()

    def _all_is_known(self) -> None:
        """Check that processes which are not just claiming know of all that they have claimed."""
        self.checker.all_is_known(
            {
                process.store.elector.id: process.known_runs
                for process in self.processes
                if not (process.is_leaving or process.is_looking or process.is_unsure)
            }
        )

    def _leave(self, process: Process) -> None:
        if not process.is_leaving:
            process.is_leaving = True
            self._spawn()

    def _freeze(self, process: Process) -> None:
        """Stop a process for so long that another takes over and takes it for dead."""
        process.frozen_until = self.checker.windows + self.random.randint(2, 8)
        self._silence(SchedulerInstance(process.store.elector.id))
        self._expire_lease()

    def _expire_lease(self) -> None:
        SchedulerLease.objects.update(expires_at=LONG_AGO)

    def _silence(self, instance: SchedulerInstance) -> None:
        """Let a process appear dead: it is, or it is paused, or cut off."""
        SchedulerInstance.objects.filter(pk=instance.pk).update(heartbeat_at=LONG_AGO)

    def _prune(self) -> None:
        """Delete history that nobody sends a job back to: a time without its row may run again."""
        if +self.checker.editing:
            return
        first = DjangoJob.objects.exclude(next_run_time=None).order_by("next_run_time").first()
        limits = [self.now - 60 * SECOND] + ([first.next_run_time - SECOND] if first else [])
        self._pruned_to = max(self._pruned_to, min(limits))
        age = (self.now - self._pruned_to).total_seconds()
        deleted = DjangoJobExecution.objects.delete_old_job_executions(age)
        self.checker.seen["pruned"] += deleted

    def _finish(self) -> None:
        """Let everybody finish, then all die and a last process take over; check the result."""
        self.is_calm = True
        self._calm_down()
        self._expire_lease()
        for group in self.processes:
            for actor in self.actors.pop(group):
                self._end(actor)
        for instance in SchedulerInstance.objects.all():
            self._silence(instance)
        last = Process(self)
        self.actor = types.SimpleNamespace(pause=lambda: None, is_quiet=True)
        for _ in range(100):
            last.store.elector.step()
            last.schedule()
            last.finish()
            self.checker.look()
            if self._broken is not None:
                raise self._broken
            unfinished = DjangoJobExecution.objects.filter(status__in=DjangoJobExecution.UNFINISHED)
            due = DjangoJob.objects.filter(next_run_time__lte=self.now, quarantined_at=None)
            if not unfinished.exists() and not due.exists():
                break
            self.now += SECOND  # a run that is repeated may be put off for some
        self.checker.at_the_end()

    def _calm_down(self) -> None:
        """Let the processes that live finish what they have begun; nothing may be left over."""
        for actor in self.actors.pop(None):
            self._end(actor)
        for _ in range(12):
            for actor in [one for process in self.processes for one in self.actors[process]]:
                if not actor.ended:
                    self._resume(actor)
        self._all_is_known()

    # --- Misfortune -----------------------------------------------------------------------------

    @contextlib.contextmanager
    def _quietly(self) -> Iterator[None]:
        """Keep the baton while something is checked."""
        before, self.actor.is_quiet = self.actor.is_quiet, True
        try:
            yield
        finally:
            self.actor.is_quiet = before

    def _audited(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def audited(*args: Any, **options: Any) -> Any:
            if self.chance(0.5):
                self.actor.pause()
            return self._check(function, *args, **options)

        return audited

    def _check(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Call a check; the store survives any exception, so what it finds is kept here too."""
        try:
            with self._quietly():
                return function(*args, **options)
        except AssertionError as error:
            self._broken = self._broken or error
            raise

    def _acquire(self, *args: Any, **options: Any) -> lease.LeaseView:
        view = ACQUIRE(*args, **options)
        if view.term is not None:
            self._check(self.checker.acquired, view.term)
        return view

    def _finishing(self) -> Callable[..., None]:
        """Note an end that no worker saw: of a run whose job went with the reply to its claim."""

        def finish(store: DjangoJobStore, run: ActiveRun, status: str, **details: Any) -> None:
            self.checker.end(run.job_id, [run.run_time])
            FINISH(store, run, status, **details)

        return finish

    def _claim(self, plans: Any, *args: Any) -> Any:
        if not plans:
            return []
        self.checker.windows += 1
        self._read += [plan.job.id for plan in plans]
        if self.chance(0.7):
            self.actor.nap = self.random.choice([0, 1, 2, 4, 12])
            self.actor.pause()
        written = self._check(self.checker.claim, plans, *args)
        if not self.is_calm and self.chance(0.1):
            self.checker.seen["the reply of a claim was lost"] += 1
            raise OperationalError("the reply was lost")
        if self.chance(0.2):
            self.actor.pause()  # and may never come back: claimed and not started
        return written

    # --- People who edit jobs -------------------------------------------------------------------

    def _edit_for_ever(self) -> None:
        often = [self._add, self._reschedule, self._move, self._touch, self._resume_job]
        edits = 3 * often + [
            self._move_silently, self._pause, self._retire, self._delete, self._request,
            self._request, self._corrupt, self._rerun,
        ]  # fmt: skip
        while True:
            self.actor.pause()
            # Rather a job that a claim has just read, and tries to advance.
            read = self._read[-4:] if self.chance(0.7) else []
            job_id = self.random.choice(read or JOBS)
            with self.checker.edit(job_id):
                self.random.choice(edits)(job_id)

    def _a_time(self) -> dt.datetime:
        """Return a whole second around now, which may well have run already."""
        second = self.now.replace(microsecond=0) + SECOND * self.random.randint(-20, 5)
        return max(second, self._pruned_to.replace(microsecond=0) + 2 * SECOND)

    def _job(self, job_id: str) -> Any:
        first = self._a_time()
        trigger = IntervalTrigger(
            seconds=self.random.choice([1, 2, 3, 5]),
            start_date=first,
            end_date=first + 7 * SECOND if self.chance(0.1) else None,
            timezone=dt.UTC,
        )
        loop = Loop(timezone="UTC")
        job = loop.add_job(work, trigger, id=job_id, next_run_time=first, executor="default")
        job._modify(
            coalesce=self.chance(0.8),
            max_instances=1 + JOBS.index(job_id) % 3,
            misfire_grace_time=self.random.choice([None, None, 3, 20]),
        )
        return job

    def _add(self, job_id: str) -> None:
        with contextlib.suppress(ConflictingIdError):
            self._store.add_job(self._job(job_id))

    def _reschedule(self, job_id: str) -> None:
        job = self._job(job_id)
        job._jobstore_alias = "default"
        with contextlib.suppress(JobLookupError):
            self._store.update_job(job)

    def _move(self, job_id: str) -> None:
        jobs = DjangoJob.objects.filter(pk=job_id, next_run_time__isnull=False)
        jobs.update(next_run_time=self._a_time())

    def _move_silently(self, job_id: str) -> None:
        """Move a job as other programs do, which know nothing of versions."""
        jobs = DjangoJob.objects.filter(pk=job_id, next_run_time__isnull=False)
        jobs.update(next_run_time=self._a_time(), version=F("version"))

    def _touch(self, job_id: str) -> None:
        DjangoJob.objects.filter(pk=job_id).update(declaration="touched")

    def _delete(self, job_id: str) -> None:
        DjangoJob.all_objects.filter(pk=job_id).delete()

    def _retire(self, job_id: str) -> None:
        DjangoJob.objects.filter(pk=job_id).retire()

    def _pause(self, job_id: str) -> None:
        if job := DjangoJob.objects.filter(pk=job_id).first():
            job.pause()

    def _resume_job(self, job_id: str) -> None:
        if job := DjangoJob.objects.filter(pk=job_id).first():
            with contextlib.suppress(ValueError, serializer.UnreadableState):
                job.resume()

    def _request(self, job_id: str) -> None:
        if job := DjangoJob.objects.filter(pk=job_id).first():
            with contextlib.suppress(ValueError):  # retired since it was read
                job.request_run("the simulation")

    def _corrupt(self, job_id: str) -> None:
        """Damage a job, or find that it cannot be run for a reason that is not in its state."""
        jobs = DjangoJob.objects.filter(pk=job_id)
        if self.chance(0.5):
            jobs.update(job_state=b"not signed")
        else:
            jobs.update(quarantined_at=self.now)

    def _rerun(self, job_id: str) -> None:
        DjangoJob.objects.filter(pk=job_id).update(on_lost=DjangoJob.OnLost.RERUN)


@pytest.fixture
def by_hand(settings: Settings) -> Iterator[None]:
    """Leases end and processes fall silent only when the simulation says so."""
    settings.SCHEDULER_LEASE_SECONDS = 1e7
    settings.SCHEDULER_MARGIN_SECONDS = 0.0
    settings.SCHEDULER_DEAD_SECONDS = 1e7
    settings.SCHEDULER_POLL_SECONDS = 0.05
    settings.SCHEDULER_SESSION_LOCK = False
    # A misfortune in each line of the log would only cost time.
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def work(*args: object, **kwargs: object) -> None:
    """Do what a job does."""
