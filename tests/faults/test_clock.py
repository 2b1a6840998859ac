"""The database's clock decides: a wrong clock of a scheduler changes nothing, and is reported."""

import itertools
import json
import statistics
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from baking import Baked
from faults.clocks import WallClock, postgresql_by
from faults.cluster import Cluster, Scheduler
from servers import MariaDB, PostgreSQL, Server, wait_until
from stacks import free_port

pytestmark = [pytest.mark.project, pytest.mark.timeout(600)]

HOUR = 3600
JUMP = 90
STEADY = [f"steady-{number:03}" for number in range(5)]
# Seconds that a loaded machine may take for what takes milliseconds. Far less than any jump.
PATIENCE = 30


@pytest.fixture
def clock(tmp_path: Path) -> WallClock:
    """Return a wall clock that can be set."""
    return WallClock(tmp_path)


def cluster_of(
    project: Baked, folder: Path, kind: type[Server], schedulers: int = 2, **environment: Any
) -> Cluster:
    """Return schedulers with leases of two seconds and some jobs that run each second."""
    return Cluster(project, folder, kind, schedulers=schedulers, quick=True, jobs=5, **environment)


def health(scheduler: Scheduler, page: str = "ready") -> dict[str, Any]:
    """Return what a scheduler that was started at an address answers a probe."""
    url = f"http://{scheduler.environment['SCHEDULER_HEALTH_ADDRESS']}/health/{page}"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return json.load(answer)  # type: ignore[no-any-return]
    except urllib.error.HTTPError as error:
        return json.load(error)  # type: ignore[no-any-return]
    except urllib.error.URLError:  # it has not come so far
        return {"role": "", "holder": ""}


def with_probes(scheduler: Scheduler) -> Scheduler:
    """Let the processes that will be started here answer probes."""
    scheduler.environment["SCHEDULER_HEALTH_ADDRESS"] = f"127.0.0.1:{free_port()}"
    return scheduler


def executed(cluster: Cluster) -> int:
    """Return how many runs of the steady jobs are done."""
    return int(cluster.ask(f"Run.objects.filter(job__in={STEADY}, status='Executed').count()"))


def wait_for_runs(cluster: Cluster, count: int = 15, timeout: float = 60) -> None:
    """Wait until so many more runs are done, three of each steady job."""
    before = executed(cluster)
    wait_until(lambda: executed(cluster) >= before + count, timeout)


def stop_all(cluster: Cluster) -> None:
    """End every scheduler; running jobs finish."""
    for one in cluster.schedulers:
        if one.is_alive:
            assert one.stop() == 0, one.log.read_text()


def assert_nothing_ran_twice(cluster: Cluster) -> None:
    """Look at the traces of the jobs themselves, which know nothing of the history."""
    starts = [line.split() for line in cluster.trace.read_text().splitlines() if line.startswith("+")]
    assert starts
    counts = Counter((job, run_time) for _, job, _, run_time, *_ in starts)
    # What is started again after its process died says so in the history.
    assert [key for key, count in counts.items() if count > 1 and key[0] != "again"] == []


def run_times(cluster: Cluster, job: str) -> list[float]:
    """Return all scheduled times of a job that the history tells of, in order, in seconds."""
    rows = f"Run.objects.filter(job={job!r}, requested_by='').order_by('run_time')"
    return cluster.ask(f"[row.run_time.timestamp() for row in {rows}]")  # type: ignore[no-any-return]


def assert_no_gap(cluster: Cluster, *, lost: bool = False) -> None:
    """Every time of the steady jobs, from the first to the last, ran (or is known to be lost)."""
    for job in STEADY:
        times = run_times(cluster, job)
        assert {round(after - before, 3) for before, after in itertools.pairwise(times)} == {1.0}, job
    found = cluster.ask(f"Run.objects.filter(job__in={STEADY}).values_list('status', flat=True).distinct()")
    assert set(found) <= {"Executed"} | ({"Lost!"} if lost else set())


def assert_times_are_the_databases(cluster: Cluster, begin: str) -> None:
    """Every time in the history lies between two times by the database's clock, and no run is early."""
    rows = cluster.ask(
        "[[t.timestamp() for t in (r.run_time, r.claimed_at, r.started_at, r.finished)]"
        f" for r in Run.objects.filter(status='Executed', claimed_at__gte={begin!r})]"
    )
    first, last = cluster.ask(f"[dt.datetime.fromisoformat({begin!r}).timestamp(), now().timestamp()]")
    for row in rows:
        due, claimed, started, finished = row
        assert first - PATIENCE <= min(row) <= max(row) <= last, row
        # A process knows the database's time as of its last look: a round trip less than the truth.
        assert due <= min(claimed, started) <= started <= finished, row
    late = [max(claimed, started) - due for due, claimed, started, _ in rows]
    print(f"\n{len(rows)} runs, {statistics.median(late):.3f} s late (median), {max(late):.3f} s at most")
    assert max(late) < PATIENCE


@pytest.mark.parametrize("error", [HOUR, -HOUR], ids=["an-hour-ahead", "an-hour-behind"])
@pytest.mark.parametrize("kind", [PostgreSQL, MariaDB])
def test_an_hour_of_error_changes_nothing_and_is_reported(
    request: pytest.FixtureRequest, kind: type[Server], error: int, clock: WallClock, tmp_path: Path
) -> None:
    project = request.getfixturevalue("installed" if kind is PostgreSQL else "installed_for_mariadb")
    clock.set(error)
    with cluster_of(project, tmp_path, kind) as cluster:
        wrong, right = (with_probes(one) for one in cluster.schedulers)
        begin = cluster.ask("now()")
        # It stores the jobs as well, so their first times come from it.
        wrong.start(**clock.environment)
        wait_until(lambda: cluster.active() is wrong)
        wait_for_runs(cluster)

        # Both agree on who is active, and only one of the two clocks is called wrong.
        right.start()
        wait_until(lambda: health(right)["role"] == "standby")
        assert health(right)["holder"].endswith(f":{wrong.pid}")
        assert health(wrong)["role"] == "active"
        assert abs(health(wrong)["clock_skew"] - error) < PATIENCE
        assert abs(health(right)["clock_skew"]) < PATIENCE
        assert warns_of_the_clock(wrong) == ["ahead" if error > 0 else "behind"]
        assert warns_of_the_clock(right) == []

        wait_for_runs(cluster)
        assert cluster.active() is wrong
        assert wrong.stop() == 0
        wait_until(lambda: cluster.active() is right)
        wait_for_runs(cluster)
        stop_all(cluster)
        assert_nothing_ran_twice(cluster)
        assert_no_gap(cluster)
        assert_times_are_the_databases(cluster, begin)


def warns_of_the_clock(scheduler: Scheduler) -> list[str]:
    """Return what the log says of the machine's clock, "ahead" or "behind", once for each warning."""
    lines = [line for line in scheduler.log.read_text().splitlines() if "clock" in line and "WARNING" in line]
    return [word for line in lines for word in ("ahead", "behind") if word in line]


def test_a_clock_that_jumps_while_jobs_run_changes_nothing(
    installed: Baked, clock: WallClock, tmp_path: Path
) -> None:
    with cluster_of(installed, tmp_path, PostgreSQL) as cluster:
        jumping, other = cluster.schedulers
        begin = cluster.ask("now()")
        jumping.start(**clock.environment)
        wait_until(lambda: cluster.active() is jumping)
        other.start()
        for error in (0, HOUR, -HOUR, 0):
            clock.set(error)
            wait_for_runs(cluster)
        # It did not lose the lease in between.
        assert cluster.ask("Lease.objects.get().epoch") == 1
        assert cluster.active() is jumping
        stop_all(cluster)
        assert_nothing_ran_twice(cluster)
        assert_no_gap(cluster)
        assert_times_are_the_databases(cluster, begin)


@pytest.mark.parametrize("error", [HOUR, -HOUR], ids=["an-hour-ahead", "an-hour-behind"])
def test_what_a_machine_with_a_wrong_clock_asks_for_runs_at_once(
    installed: Baked, clock: WallClock, tmp_path: Path, error: int
) -> None:
    """A run asked for, and a job that goes on after a pause: as the web and the shell do it."""
    clock.set(error)
    with cluster_of(installed, tmp_path, PostgreSQL, schedulers=1) as cluster:
        cluster.start()
        begin = cluster.ask("now()")

        def elsewhere(code: str) -> None:
            text = (
                f"from jobstore.models import DjangoJob; job = DjangoJob.objects.get(pk='changed-0'); {code}"
            )
            environment = cluster.environment | clock.environment
            installed.python("manage.py", "shell", "-c", text, **environment)

        elsewhere("assert job.pause()")
        elsewhere("job.request_run('somebody')")
        asked = "Run.objects.filter(requested_by='somebody', status='Executed').count()"
        wait_until(lambda: cluster.ask(asked) == 1, PATIENCE)
        since = f"claimed_at__gt={cluster.ask('now()')!r}"
        elsewhere("assert job.resume()")
        resumed = f"Run.objects.filter(job='changed-0', requested_by='', {since}).count()"
        wait_until(lambda: cluster.ask(resumed) >= 1, PATIENCE)
        stop_all(cluster)
        assert_nothing_ran_twice(cluster)
        assert_times_are_the_databases(cluster, begin)


# --- The database's own clock -------------------------------------------------------------------------


def test_when_the_databases_clock_jumps_ahead_what_became_due_runs_once(
    installed: Baked, clock: WallClock, tmp_path: Path
) -> None:
    """The lease ends at once, for everybody: who is first takes it. What was left out is caught up."""
    with cluster_of(installed, tmp_path, postgresql_by(clock)) as cluster:
        cluster.start()
        wait_for_runs(cluster)
        before = cluster.ask("now()")
        clock.set(JUMP)
        jumped = cluster.ask(f"(now() - dt.datetime.fromisoformat({before!r})).total_seconds()")
        assert jumped >= JUMP
        wait_until(lambda: cluster.ask("Lease.objects.get().epoch") >= 2)
        # Jobs that coalesce run once for the whole jump, the others once for each time of it.
        wait_for_runs(cluster, 5 * JUMP)
        wait_for_runs(cluster)
        stop_all(cluster)
        assert_nothing_ran_twice(cluster)
        # What was under way at the jump may be lost: its process looks as if it had long been silent.
        assert_no_gap(cluster, lost=True)
        assert cluster.ask("Run.objects.filter(status='Missed!').count()") == 0
        times = run_times(cluster, "changed-0")
        assert max(after - before for before, after in itertools.pairwise(times)) > JUMP / 2


def test_when_the_databases_clock_jumps_back_no_time_runs_again(
    installed: Baked, clock: WallClock, tmp_path: Path
) -> None:
    """The lease stays where it is; jobs go on once the clock has come to where it had been."""
    clock.set(JUMP)
    with cluster_of(installed, tmp_path, postgresql_by(clock)) as cluster:
        cluster.start()
        active = cluster.active()
        wait_for_runs(cluster)
        last = cluster.ask("now()")
        clock.set(0)
        began = time.monotonic()
        wait_until(lambda: cluster.ask("Lease.objects.get().renewed_at <= now()"))
        # A run that somebody asks for now is due now, whatever the clock said before.
        cluster.ask("Job.objects.get(pk='changed-0').request_run('somebody').pk")
        asked = "Run.objects.filter(requested_by='somebody', status='Executed').count()"
        wait_until(lambda: cluster.ask(asked) == 1, PATIENCE)
        assert cluster.ask("Lease.objects.get().epoch") == 1
        resumed = f"Run.objects.filter(job__in={STEADY}, run_time__gt={last!r}, status='Executed')"
        wait_until(lambda: cluster.ask(f"{resumed}.count()") >= 5, 2 * JUMP)
        print(f"\njobs went on {time.monotonic() - began:.1f} s after the clock jumped back {JUMP} s")
        assert cluster.active() is active
        stop_all(cluster)
        assert_nothing_ran_twice(cluster)
        assert_no_gap(cluster)


@pytest.mark.parametrize("detector", ["true", "false"])
def test_when_the_databases_clock_jumps_back_a_dead_holder_is_followed_by_the_other(
    installed: Baked, clock: WallClock, tmp_path: Path, detector: str
) -> None:
    """Its lease ends in a future that never comes; whoever waits sees that nobody prolongs it."""
    clock.set(JUMP)
    kind = postgresql_by(clock)
    with cluster_of(installed, tmp_path, kind, SCHEDULER_SESSION_LOCK=detector) as cluster:
        cluster.start()
        wait_until(lambda: cluster.ask("Instance.objects.count()") == 2)
        wait_for_runs(cluster)
        active = cluster.active()
        assert active is not None
        active.freeze()  # so that it does not renew the lease by the new time
        clock.set(0)
        active.kill()
        began = time.monotonic()
        wait_until(lambda: cluster.active() not in (None, active))
        print(f"\ntaken over {time.monotonic() - began:.1f} s after the clock jumped back {JUMP} s")
        stop_all(cluster)
        assert_nothing_ran_twice(cluster)
