"""Whoever carries runs out is frozen or killed at each moment that matters, and so is the broker.

As in test_moments.py: a process freezes or kills itself just there (app/load/traps.py), others go on,
and the checker compares all that ran with the history. Each message is sent twice, to begin with.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from baking import Baked
from faults.cluster import Cluster, Scheduler, is_stopped
from faults.mix import Mix
from faults.test_mix import unguarded
from layers import needs
from servers import PostgreSQL, Valkey, wait_until

pytestmark = [pytest.mark.project, pytest.mark.timeout(300)]

JOBS = 10


@pytest.fixture
def cluster(request: pytest.FixtureRequest, installed: Baked, tmp_path: Path) -> Iterator[Cluster]:
    """Two schedulers, and two workers for Celery; the first process to come by the trap is caught."""
    needs("docker")
    executor, fault = request.param
    with started(installed, tmp_path, executor, fault) as one:
        yield one


def started(project: Baked, folder: Path, executor: str, fault: str) -> Cluster:
    """Start a cluster, and return it when jobs have run."""
    options: dict[str, Any] = {"FAULT": fault, "FAULT_WHEN": str(folder / "trap")} if fault else {}
    one = Cluster(
        project,
        folder,
        PostgreSQL,
        schedulers=2,
        quick=True,
        jobs=JOBS,
        executor=executor,
        LOAD_CONCURRENCY="2",
        SCHEDULER_PROCESSES="4" if executor == "processes" else "0",
        **options,
    )
    try:
        one.start()
        slow = "Run.objects.filter(job__in=[f'slow-{n}' for n in range(5)]).values('job').distinct()"
        wait_until(lambda: executed(one) > 20 and one.ask(f"{slow}.count()") == 5)
    except BaseException:
        one.close()
        raise
    return one


def executed(cluster: Cluster) -> int:
    return int(cluster.ask("Run.objects.filter(status='Executed').count()"))


def in_trap(cluster: Cluster) -> tuple[Scheduler, int] | None:
    """Return whose process the trap has caught, and that process."""
    for one in cluster.processes:
        for pid in [one.pid or 0, *one.children]:
            if is_stopped(pid):
                return one, pid
    return None


def findings(cluster: Cluster) -> list[str]:
    """Let more jobs run, stop everything, and return what the checker finds."""
    later = executed(cluster)
    wait_until(lambda: executed(cluster) > later + 40)
    mix = Mix(cluster, seed=0, jobs=JOBS)
    mix.look_for_lost()
    mix.calm_down()
    return mix.findings + mix.history().findings()


def spring(cluster: Cluster, folder: Path) -> tuple[Scheduler, int]:
    """Set the trap, and return who was caught, frozen."""
    (folder / "trap").touch()
    wait_until(lambda: in_trap(cluster) is not None)
    found = in_trap(cluster)
    assert found is not None
    one, pid = found
    cluster.note("frozen", one.name if pid == one.pid else f"{one.name} child", pid)
    return one, pid


def at(executor: str, *moments: str) -> list[object]:
    """Return parameters: an executor, and the moment at which a process freezes."""
    return [pytest.param((executor, f"stop-{moment}"), id=f"{executor}-{moment}") for moment in moments]


BY_WORKERS = ("before-take", "after-take", "before-result", "after-result")


@pytest.mark.parametrize("cluster", at("celery", *BY_WORKERS), indirect=True)
def test_a_worker_that_is_killed_loses_at_most_its_run(cluster: Cluster, tmp_path: Path) -> None:
    one, pid = spring(cluster, tmp_path)
    cluster.note("killed", f"{one.name} child", pid)
    os.kill(pid, signal.SIGKILL)
    assert findings(cluster) == []


@pytest.mark.parametrize("cluster", at("celery", *BY_WORKERS), indirect=True)
def test_a_worker_that_wakes_up_after_it_was_given_up_changes_nothing(
    cluster: Cluster, tmp_path: Path
) -> None:
    one, pid = spring(cluster, tmp_path)
    wait_until(lambda: cluster.ask(f"Instance.objects.filter(pid={pid}, role='lost').exists()"))
    one.thaw_child(pid)
    wait_until(lambda: cluster.ask(f"Instance.objects.filter(pid={pid}, role='worker').exists()"))
    assert findings(cluster) == []


BY_SCHEDULERS = ("after-claim", "before-publish", "before-mark")


@pytest.mark.parametrize("cluster", at("celery", *BY_SCHEDULERS), indirect=True)
def test_what_a_scheduler_that_is_killed_has_queued_runs_once(cluster: Cluster, tmp_path: Path) -> None:
    one, pid = spring(cluster, tmp_path)
    one.kill()
    one.start()
    assert pid != one.pid
    assert findings(cluster) == []
    # What waits in the database is not lost with whoever claimed it.
    threads = ["deployed", "fork"]
    assert cluster.ask(f"Run.objects.filter(status='Lost!').exclude(job__in={threads}).count()") == 0


@pytest.mark.parametrize("cluster", [pytest.param(("celery", ""), id="celery")], indirect=True)
def test_a_broker_that_forgets_everything_loses_no_run(cluster: Cluster) -> None:
    assert isinstance(cluster.broker, Valkey)
    for worker in cluster.workers:
        worker.freeze()
    queued = "Run.objects.filter(status='Queued', published_at__isnull=False).count()"
    wait_until(lambda: cluster.ask(queued) > 10)
    cluster.broker.forget()
    for worker in cluster.workers:
        worker.thaw()
    assert findings(cluster) == []


@pytest.mark.parametrize("cluster", at("processes", "before-begin", "after-end"), indirect=True)
def test_a_worker_process_that_is_killed_loses_at_most_its_run(cluster: Cluster, tmp_path: Path) -> None:
    one, pid = spring(cluster, tmp_path)
    cluster.note("killed", f"{one.name} child", pid)
    os.kill(pid, signal.SIGKILL)
    assert findings(cluster) == []


@pytest.mark.parametrize("cluster", at("processes", "before-begin", "after-end"), indirect=True)
def test_a_worker_process_ends_with_its_scheduler_and_is_never_in_two_minds(
    cluster: Cluster, tmp_path: Path
) -> None:
    one, pid = spring(cluster, tmp_path)
    one.kill()
    wait_until(lambda: not Path(f"/proc/{pid}").exists())
    one.start()
    assert findings(cluster) == []


# What keeps a message that comes twice from running twice; a late result from being written.
TAKING = {"WHERE id = %s AND status = %s AND attempt = %s": "WHERE id = %s AND %s <> '' AND attempt = %s"}
WRITE = {
    "run.instance_id = %s": "%s::uuid IS NOT NULL",
    "run.status || '' = %s": "%s::text IS NOT NULL",
}


def test_without_the_compare_and_set_of_the_taking_the_checker_sees_runs_twice(
    installed: Baked, tmp_path: Path
) -> None:
    needs("docker")
    baked = unguarded(installed, tmp_path, "executors/queued_rows.py", TAKING)
    with started(baked, tmp_path, "celery", "stop-before-take") as cluster:
        one, pid = spring(cluster, tmp_path)
        # Another worker has carried the run out, for its message came twice.
        later = executed(cluster)
        wait_until(lambda: executed(cluster) > later + 40)
        one.thaw_child(pid)
        found = findings(cluster)
    assert any("was started twice" in finding for finding in found), found


def test_without_the_guards_of_the_result_the_checker_sees_a_lost_run_overwritten(
    installed: Baked, tmp_path: Path
) -> None:
    needs("docker")
    baked = unguarded(installed, tmp_path, "history/recorder.py", WRITE)
    with started(baked, tmp_path, "celery", "stop-before-result") as cluster:
        one, pid = spring(cluster, tmp_path)
        lost = f"Run.objects.filter(instance__pid={pid}, status='Lost!')"
        wait_until(lambda: cluster.ask(f"{lost}.exists()"))
        mix = Mix(cluster, seed=0, jobs=JOBS)
        mix.look_for_lost()
        one.thaw_child(pid)
        wait_until(lambda: not cluster.ask(f"{lost}.exists()"))
        mix.calm_down()
        found = mix.history().findings()
    assert any("was declared lost and is 'Executed'" in finding for finding in found), found
