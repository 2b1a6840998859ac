"""No order of claims, edits, losses and crashes makes the store break its promises.

`INTERLEAVINGS=10000` looks for as many windows between a read and a claim; `JOBSTORE_SEED` decides
what happens in them, so that a failure can be seen again.
"""

import contextlib
import datetime as dt
import itertools
import os
import random
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from apscheduler.triggers.interval import IntervalTrigger
from django.db import DatabaseError, connections
from django.db.models import F

from jobstore.claims.result import ClaimResult
from jobstore.jobstores import DjangoJobStore
from jobstore.leadership import lease
from jobstore.models import DjangoJob, DjangoJobExecution, SchedulerInstance, SchedulerLease
from jobstore.tests.simulation import (
    BEGINNING,
    LONG_AGO,
    SECOND,
    Loop,
    Process,
    World,
    by_hand,
    work,
)

__all__ = ["by_hand"]  # a fixture

SEED = int(os.environ.get("JOBSTORE_SEED", "1"))
WINDOWS = int(os.environ.get("INTERLEAVINGS", "100"))

pytestmark = [pytest.mark.usefixtures("by_hand"), pytest.mark.django_db(transaction=True)]


@pytest.mark.timeout(300 + WINDOWS)
def test_every_interleaving_keeps_the_promises(monkeypatch: pytest.MonkeyPatch) -> None:
    print(f"To see it again: JOBSTORE_SEED={SEED} INTERLEAVINGS={WINDOWS}")
    world = World(SEED, monkeypatch)
    world.run(WINDOWS)
    happened = dict(world.checker.seen)
    print(happened)
    wanted = {"claimed", "started", "left alone: changed meanwhile", "crashed"}
    assert wanted | {"refused: another holds the lease"} <= happened.keys()


def test_a_former_holder_declares_no_run_of_the_holder_lost() -> None:
    """A process that was taken for dead may have come back, and hold the lease, in between."""
    former, holder = Hurry(processes=2).processes
    former.store.elector.step()
    holder.store.elector.step()
    instance = holder.store.elector.id
    SchedulerInstance.objects.filter(pk=instance).update(role=SchedulerInstance.Role.LOST)
    SchedulerLease.objects.update(expires_at=LONG_AGO)
    holder.store._dispatcher.take(lease.acquire(instance, "default").term, ClaimResult())
    former.store.elector._reap(thorough=True)
    runs = DjangoJobExecution.objects.filter(instance=instance)
    assert {run.status for run in runs} == {DjangoJobExecution.RUNNING}


# --- The same without a baton ---------------------------------------------------------------------


class Hurry:
    """Processes in threads of their own, all at once, and somebody who edits meanwhile."""

    STEADY = [f"steady {number}" for number in range(6)]
    EDITED = [f"edited {number}" for number in range(3)]

    def __init__(self, processes: int) -> None:
        self.now = BEGINNING
        self.random = random.Random(SEED)  # noqa: S311 - nothing secret
        self.is_calm = True
        self.checker: Any = self
        self.started: list[tuple[str, dt.datetime, uuid.UUID]] = []
        self._stop = threading.Event()
        self._errors: list[BaseException] = []
        store, loop = DjangoJobStore(), Loop(timezone="UTC")
        for job_id in self.STEADY + self.EDITED:
            trigger = IntervalTrigger(seconds=1, start_date=BEGINNING, timezone=dt.UTC)
            job = loop.add_job(work, trigger, id=job_id, next_run_time=BEGINNING)
            job._modify(coalesce=False, misfire_grace_time=None, executor="default")
            job._modify(max_instances=1000)
            store.add_job(job)
        self.processes = [Process(self) for _ in range(processes)]  # type: ignore[arg-type]
        self._threads = [
            threading.Thread(target=self._guarded, args=(self._claim, one))
            for one in self.processes
        ]
        self._threads += [threading.Thread(target=self._guarded, args=(self._edit,))]

    def chance(self, probability: float) -> bool:
        """Leave nothing to chance; the threads are enough of it."""
        return False

    def start(self, job_id: str, run_time: dt.datetime, process: uuid.UUID) -> None:
        """Take note that a job's function is called."""
        self.started.append((job_id, run_time.astimezone(dt.UTC), process))

    def end(self, job_id: str, run_times: list[dt.datetime]) -> None:
        """Nothing is checked before all is over."""

    def run(self, rows: int, seconds: float) -> None:
        """Go on until that many rows were written, or for that long; then let one finish all."""
        for thread in self._threads:
            thread.start()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not self._errors:
            self.now += SECOND / 2
            if self.random.random() < 0.2:
                SchedulerLease.objects.update(expires_at=LONG_AGO)
            if DjangoJobExecution.objects.count() >= rows:
                break
            time.sleep(0.02)
        self._stop.set()
        for thread in self._threads:
            thread.join()
        if self._errors:
            raise self._errors[0]
        self._finish()

    def _guarded(self, work: Callable[..., None], *args: Any) -> None:
        try:
            while not self._stop.is_set():
                # A deadlock that the database resolved is tried again, as in production.
                with contextlib.suppress(DatabaseError):
                    work(*args)
        except BaseException as error:
            self._errors.append(error)
        finally:
            connections.close_all()

    def _claim(self, process: Process) -> None:
        process.store.elector.step()
        for _ in range(3):
            process.schedule()
            process.finish()

    def _edit(self) -> None:
        number = self.random.randrange(len(self.STEADY))
        DjangoJob.objects.filter(pk=self.STEADY[number]).update(declaration=f"digest {number}")
        edited = DjangoJob.objects.filter(pk=self.EDITED[number % len(self.EDITED)])
        edited.update(next_run_time=F("next_run_time"))
        if job := edited.first():
            job.pause()
            job.resume()
            job.request_run("somebody")

    def _finish(self) -> None:
        """Let the processes finish what they have, then let one of them take over alone."""
        for process in self.processes:
            process.schedule()
            process.finish()
        last = self.processes[0]
        SchedulerLease.objects.update(expires_at=LONG_AGO)
        waiting = DjangoJobExecution.objects.filter(status=DjangoJobExecution.REQUESTED)
        due = DjangoJob.objects.filter(next_run_time__lte=self.now)
        for _ in range(5000):
            last.store.elector.step()
            last.schedule()
            last.finish()
            if not (waiting.exists() or due.exists()):
                break
        SchedulerInstance.objects.exclude(pk=last.store.elector.id).update(heartbeat_at=LONG_AGO)
        last.store.elector._reap(thorough=True)


def test_claimers_and_editors_at_the_same_time_keep_the_promises(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hurry = Hurry(processes=4)
    monkeypatch.setattr("jobstore.models.database_now", lambda using: hurry.now)
    monkeypatch.setattr("jobstore.execution.leftovers.close_connections", lambda **_: [])
    hurry.run(rows=600, seconds=60)

    keys = [(job_id, run_time) for job_id, run_time, _ in hurry.started]
    assert len(keys) == len(set(keys)) > 50, "a time ran twice, or hardly any ran"
    runs = list(DjangoJobExecution.objects.order_by("pk"))
    owners = {(run.job_id, run.run_time): run.instance_id for run in runs}
    assert all(owners[job_id, time] == process for job_id, time, process in hurry.started)
    epochs = [run.epoch or 0 for run in runs if not run.requested_by]
    assert len(set(epochs)) > 1, "nobody ever took over"
    assert all(sooner <= later for sooner, later in itertools.pairwise(epochs)), "an older epoch"
    assert {run.status for run in runs} == {DjangoJobExecution.SUCCESS}
    for job in DjangoJob.objects.filter(pk__in=Hurry.STEADY):
        times = sorted(run.run_time for run in runs if run.job_id == job.pk)
        assert times == [BEGINNING + number * SECOND for number in range(len(times))], "a gap"
        assert job.next_run_time == BEGINNING + len(times) * SECOND > hurry.now
