"""Times that are missed or skipped in a row share a row of history, and none is forgotten."""

import datetime as dt
import time
import uuid
from typing import Any

import pytest
from apscheduler.events import EVENT_JOB_EXECUTED, JobExecutionEvent
from apscheduler.executors.base import BaseExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from django.db import connection
from django.db.models import Sum

from jobstore.claims import claim as claims
from jobstore.claims import outcomes
from jobstore.claims.claim import claim
from jobstore.claims.plan import Plan, plan
from jobstore.jobstores import DjangoJobStore
from jobstore.leadership import lease
from jobstore.models import DjangoJob, DjangoJobExecution, SchedulerInstance, database_now
from jobstore.tests import callables
from jobstore.tests.conftest import StartScheduler, eventually
from jobstore.tests.plain import store_job

pytestmark = pytest.mark.django_db(transaction=True)

Run = DjangoJobExecution
SECOND = dt.timedelta(seconds=1)
US = uuid.uuid4()
# As many as jobs may be in one claim, away for two days.
JOBS, DAYS = 500, 2


def due_job(seconds_ago: int, *, grace: int | None = None, most: int = 1000) -> Plan:
    """Store a job that is due each second, since so long; plan it as if one instance ran."""
    now = database_now("default").replace(microsecond=0)
    first = now - seconds_ago * SECOND
    if not DjangoJob.objects.filter(pk="job").exists():
        timing: Any = {"trigger": "interval", "seconds": 1, "start_date": first}
        store_job(callables.note, "job", coalesce=False, **timing)
        DjangoJob.objects.update(next_run_time=first)
    row = DjangoJob.objects.get(pk="job")
    job: Any = DjangoJobStore().restore(row)
    job.misfire_grace_time = grace
    return plan(job, row.version, now, running=1, most=most)


def write(one: Plan) -> Any:
    one.previous = outcomes.previous_rows([one.job.id], "default").get(one.job.id)
    return claim([one], lease.Term(US, 1), "default")


def hold_the_lease() -> None:
    assert lease.acquire(US, "default").term == lease.Term(US, 1)


def test_times_that_are_skipped_in_one_claim_share_a_row() -> None:
    hold_the_lease()
    one = due_job(10)
    [row] = write(one)
    run = Run.objects.get()
    assert (run.status, run.times, row.times) == (Run.MAX_INSTANCES, len(one.skipped), run.times)
    assert (run.run_time, run.last_run_time) == (one.skipped[0], one.skipped[-1])


def test_times_that_are_skipped_in_the_next_claim_are_counted_in_the_same_row() -> None:
    hold_the_lease()
    first = due_job(10, most=4)
    write(first)
    second = due_job(10)
    [row] = write(second)
    run = Run.objects.get()
    assert (run.times, row.times, row.total) == (4 + row.times, len(second.skipped), run.times)
    assert (run.run_time, run.last_run_time) == (first.skipped[0], second.skipped[-1])


def test_a_run_in_between_begins_a_new_row() -> None:
    hold_the_lease()
    write(due_job(10, most=2))
    ran = due_job(10, most=1)
    ran.start, ran.skipped = ran.skipped, []
    write(ran)
    write(due_job(10))
    statuses = Run.objects.order_by("run_time").values_list("status", flat=True)
    assert list(statuses) == [Run.MAX_INSTANCES, Run.RUNNING, Run.MAX_INSTANCES]


def test_what_was_missed_is_not_counted_with_what_was_skipped() -> None:
    hold_the_lease()
    one = due_job(10, grace=4)
    assert one.missed and one.skipped
    write(one)
    found = dict(Run.objects.values_list("status", "times"))
    assert found == {Run.MISSED: len(one.missed), Run.MAX_INSTANCES: len(one.skipped)}


def test_a_row_that_was_pruned_meanwhile_is_begun_anew() -> None:
    hold_the_lease()
    write(due_job(10, most=4))
    one = due_job(10)
    one.previous = outcomes.previous_rows(["job"], "default")["job"]
    Run.objects.all().delete()
    claim([one], lease.Term(US, 1), "default")
    assert Run.objects.get().times == len(one.skipped)


def test_a_job_that_somebody_sent_back_repeats_no_time_that_has_a_row() -> None:
    hold_the_lease()
    first = due_job(10, most=4)
    write(first)
    DjangoJob.objects.update(next_run_time=first.skipped[0])
    again = due_job(10, most=6)
    written = write(again)
    assert first.skipped[0] not in {row.run_time for row in written}
    assert Run.objects.filter(run_time=first.skipped[0]).count() == 1
    last = Run.objects.order_by("-run_time").first()
    assert last is not None and last.run_time == again.skipped[-1]


def test_consecutive_skips_warn_once_and_then_seldom(
    start_scheduler: StartScheduler, caplog: pytest.LogCaptureFixture
) -> None:
    scheduler = start_scheduler()
    scheduler.add_job(callables.block, "interval", seconds=0.1, id="job", misfire_grace_time=None)
    run = eventually(
        lambda: Run.objects.filter(status=Run.MAX_INSTANCES, times__gte=12).first(), timeout=20
    )
    callables.release.set()
    assert run.times >= 12
    assert Run.objects.filter(status=Run.MAX_INSTANCES).count() <= 3
    assert caplog.text.count("is skipped") <= 3


class Everybody(BaseExecutor):  # type: ignore[misc]
    """Takes any number of runs, and says that they have ended."""

    def _do_submit_job(self, job: Any, run_times: list[dt.datetime]) -> None:
        alias = job._jobstore_alias
        ended = [JobExecutionEvent(EVENT_JOB_EXECUTED, job.id, alias, time) for time in run_times]
        self._run_job_success(job.id, ended)


def store_many(grace: int | None) -> dt.datetime:
    """Store JOBS jobs that do not coalesce, due each minute for DAYS days."""
    now = database_now("default").replace(microsecond=0)
    first = now - dt.timedelta(days=DAYS)
    scheduler, store = BackgroundScheduler(timezone="UTC"), DjangoJobStore()
    for number in range(JOBS):
        job = scheduler.add_job(
            callables.note, "interval", minutes=1, start_date=first, id=f"job-{number:03}"
        )
        job._modify(executor="default", max_instances=1, coalesce=False)
        job._modify(misfire_grace_time=grace, next_run_time=first)
        store.add_job(job)
    return first


@pytest.mark.slow
@pytest.mark.parametrize("grace", [60, None])
def test_a_claim_stays_small_whatever_waits(
    transactional_db: None, monkeypatch: pytest.MonkeyPatch, grace: int | None
) -> None:
    """500 jobs that do not coalesce, after two days: each claim is short, every time accounted."""
    first = store_many(grace)
    scheduler = BackgroundScheduler(
        jobstores={"default": DjangoJobStore()}, executors={"default": Everybody()}, timezone="UTC"
    )
    longest: list[float] = []
    original = claims.claim

    def timed(*args: Any, **options: Any) -> Any:
        began = time.monotonic()
        try:
            return original(*args, **options)
        finally:
            longest.append(time.monotonic() - began)

    monkeypatch.setattr(claims, "claim", timed)
    scheduler.start()
    try:
        # Of a hundred and more claims, some show it: the rest is the same again.
        eventually(lambda: len(longest) > 12 or not unsettled(), timeout=100)
    finally:
        scheduler.shutdown()
    print(f"\n{connection.vendor}: {len(longest)} claims, the longest took {max(longest):.2f} s")
    assert max(longest) < 5.0
    told = Run.objects.values("job").annotate(times=Sum("times")).values_list("job", "times")
    for job_id, times in told:
        job = DjangoJob.objects.get(pk=job_id)
        assert job.next_run_time == first + times * dt.timedelta(minutes=1), job_id


def unsettled() -> bool:
    return bool(DjangoJob.objects.filter(next_run_time__lte=database_now("default")).exists())


def test_a_skip_says_that_the_process_of_the_run_seems_to_be_dead() -> None:
    now = database_now("default")
    silent = SchedulerInstance.objects.create(
        host="gone", pid=7, role="active", started_at=now, heartbeat_at=now - 10 * SECOND
    )
    Run.objects.create(
        job_id="job", status=Run.RUNNING, run_time=now, claimed_at=now, instance=silent
    )
    reason = outcomes.reasons(["job"], now, "default")["job"]
    assert "the process gone:7, which has given no sign of life since" in reason
    assert "counts as lost at" in reason
    SchedulerInstance.objects.update(heartbeat_at=now)
    assert outcomes.reasons(["job"], now, "default") == {}
