"""Processes are killed and frozen; every time still runs once, and somebody always goes on."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobstore.models import DjangoJob, DjangoJobExecution, SchedulerInstance, SchedulerLease
from jobstore.tests.conftest import eventually
from jobstore.tests.processes import SchedulerCommand

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

Run = DjangoJobExecution


class Pair:
    """Two schedulers on one database, and the trace that their sample job leaves."""

    def __init__(self, folder: Path) -> None:
        self.trace = folder / "trace"
        self.trace.touch()
        self.both = [
            SchedulerCommand(folder / f"log-{number}", TICK_TRACE=str(self.trace))
            for number in (1, 2)
        ]

    def active(self) -> SchedulerCommand:
        """Return the one that holds the lease, once its job has run."""
        run = eventually(lambda: Run.objects.filter(job="tick", status=Run.SUCCESS).first(), 40)
        pid = SchedulerInstance.objects.get(pk=run.instance_id).pid
        return next(one for one in self.both if one.process.pid == pid)

    def goes_on_with(self, epoch: int) -> bool:
        """Whether runs have finished under this epoch or a later one."""
        return Run.objects.filter(job="tick", status=Run.SUCCESS, epoch__gte=epoch).count() >= 2

    def assert_every_time_ran_once(self) -> None:
        """Compare what ran, by its own trace, with what the history tells."""
        DjangoJob.objects.get(pk="tick").pause()
        eventually(lambda: not Run.objects.filter(job="tick", status=Run.RUNNING).exists())
        ran = Run.objects.filter(job="tick", started_at__isnull=False).count()
        lost = Run.objects.filter(job="tick", status=Run.LOST).count()
        traces = len(self.trace.read_text().split())
        assert ran <= traces <= ran + lost


@pytest.fixture
def pair(transactional_db: None, tmp_path: Path) -> Iterator[Pair]:
    schedulers = Pair(tmp_path)
    yield schedulers
    for one in schedulers.both:
        one.kill()


def test_the_other_goes_on_when_the_active_one_is_killed(pair: Pair) -> None:
    pair.active().process.send_signal(signal.SIGKILL)
    eventually(lambda: pair.goes_on_with(epoch=2), 40)
    pair.assert_every_time_ran_once()


def test_a_run_of_a_killed_process_becomes_lost(pair: Pair) -> None:
    active = pair.active()
    DjangoJob.objects.get(pk="endless").request_run("test")
    eventually(lambda: Run.objects.filter(job="endless", status=Run.RUNNING).exists())
    active.process.send_signal(signal.SIGKILL)
    eventually(lambda: Run.objects.filter(job="endless", status=Run.LOST).exists(), 40)


def test_a_frozen_scheduler_that_wakes_up_claims_nothing_more(pair: Pair) -> None:
    frozen = pair.active()
    frozen.process.send_signal(signal.SIGSTOP)
    eventually(lambda: pair.goes_on_with(epoch=2), 40)
    frozen.process.send_signal(signal.SIGCONT)
    epoch = SchedulerLease.objects.get().epoch
    time.sleep(2)
    eventually(lambda: pair.goes_on_with(epoch), 40)
    stale = Run.objects.filter(job="tick", epoch=1).order_by("-claimed_at").first()
    fresh = Run.objects.filter(job="tick", epoch=2).order_by("claimed_at").first()
    assert stale is not None and fresh is not None
    assert stale.claimed_at is not None and fresh.claimed_at is not None
    assert stale.claimed_at < fresh.claimed_at
    pair.assert_every_time_ran_once()


def test_a_hand_over_loses_nothing(pair: Pair) -> None:
    assert pair.active().end() == 0
    eventually(lambda: pair.goes_on_with(epoch=2), 40)
    pair.assert_every_time_ran_once()
    assert not Run.objects.filter(status__in=[Run.LOST, Run.MISSED]).exists()
