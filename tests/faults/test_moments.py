"""A scheduler is frozen or killed at each moment that matters; whoever goes on does so rightly.

Each test names a moment (app/load/traps.py): the process freezes or kills itself just there. Another
takes over; the one that was frozen wakes up when the world has moved on. Then the checker compares
all that ran with the history.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from baking import Baked
from faults.cluster import Cluster, Scheduler, is_stopped
from faults.mix import Mix
from layers import needs
from servers import MariaDB, PostgreSQL, Server, wait_until

pytestmark = [pytest.mark.project, pytest.mark.timeout(300)]

JOBS = 20
KINDS: dict[str, type[Server] | None] = {"postgresql": PostgreSQL, "mariadb": MariaDB, "sqlite": None}


@pytest.fixture
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    """Two schedulers with leases of two seconds; the first to come by the trap is caught in it."""
    database, fault = request.param
    if KINDS[database]:
        needs("docker")
    project: Baked = request.getfixturevalue(
        "installed_for_mariadb" if database == "mariadb" else "installed"
    )
    options = {"FAULT": fault, "FAULT_WHEN": str(tmp_path / "trap")} if fault else {}
    with Cluster(project, tmp_path, KINDS[database], schedulers=2, quick=True, jobs=JOBS, **options) as one:
        one.start()
        # The checker wants every job to have run, and the slow ones are due every five seconds.
        slow = "Run.objects.filter(job__in=[f'slow-{n}' for n in range(5)]).values('job').distinct()"
        wait_until(lambda: has_run(one, 20) and one.ask(f"{slow}.count()") == 5)
        yield one


def has_run(cluster: Cluster, number: int, epoch: int = 0) -> bool:
    """Return whether so many runs have finished, under this epoch or a later one."""
    return bool(cluster.ask(f"Run.objects.filter(status='Executed', epoch__gte={epoch}).count()") >= number)


def epoch(cluster: Cluster) -> int:
    return int(cluster.ask("Lease.objects.get().epoch"))


def at(*moments: str, database: str) -> list[object]:
    """Return parameters: a database, and what happens at which moment."""
    return [pytest.param((database, moment), id=f"{database}-{moment}") for moment in moments]


def caught(cluster: Cluster) -> Scheduler | None:
    """Return the scheduler that the trap has caught."""
    for one in cluster.schedulers:
        if not one.is_alive:
            cluster.note("killed", one.name, one.pid)
            return one
        if is_stopped(one.pid or 0):
            cluster.note("frozen", one.name, one.pid)
            return one
    return None


def start_again(cluster: Cluster, one: Scheduler) -> None:
    """Start a process where one has ended, and return when it has begun to work."""
    one.start()
    wait_until(lambda: cluster.ask(f"Instance.objects.filter(pid={one.pid}).exists()"))


def go_on(cluster: Cluster, victim: Scheduler, before: int) -> list[str]:
    """Let another take over, bring the victim back, and return what the checker finds."""
    wait_until(lambda: has_run(cluster, 40, before + 1))
    mix = Mix(cluster, seed=0, jobs=JOBS)
    mix.look_for_lost()
    if victim.is_alive:
        victim.thaw()
    else:
        victim.note_end()
        start_again(cluster, victim)
    later = int(cluster.ask("Run.objects.count()"))
    wait_until(lambda: int(cluster.ask("Run.objects.count()")) > later + 40)
    mix.calm_down()
    return mix.findings + mix.history().findings()


ORDINARY = [
    *at("stop-before-claim", "stop-after-claim", "die-after-claim", database="postgresql"),
    *at("stop-before-renew", "die-before-write", "die-after-write", database="postgresql"),
    *at("stop-inside-claim", "stop-after-claim", "die-after-claim", database="mariadb"),
    *at("die-inside-claim", "stop-before-claim", "die-after-claim", database="sqlite"),
]


@pytest.mark.parametrize("cluster", ORDINARY, indirect=True)
def test_another_goes_on(cluster: Cluster, tmp_path: Path) -> None:
    before = epoch(cluster)
    (tmp_path / "trap").touch()
    wait_until(lambda: caught(cluster) is not None)
    victim = caught(cluster)
    assert victim is not None
    assert go_on(cluster, victim, before) == []


@pytest.mark.parametrize(
    "cluster", at("stop-inside-claim", "die-inside-claim", database="postgresql"), indirect=True
)
def test_another_goes_on_with_a_requested_run(cluster: Cluster, tmp_path: Path) -> None:
    """On PostgreSQL only the claim of runs that somebody asked for has an inside."""
    before = epoch(cluster)
    (tmp_path / "trap").touch()
    cluster.ask("Job.objects.get(pk='steady-001').request_run('test') and None")
    wait_until(lambda: caught(cluster) is not None)
    victim = caught(cluster)
    assert victim is not None
    assert go_on(cluster, victim, before) == []
    assert cluster.ask("list(Run.objects.filter(requested_by='test').values_list('status', flat=True))") == [
        "Executed"
    ]


@pytest.mark.parametrize("cluster", at("stop-before-release", database="postgresql"), indirect=True)
def test_who_freezes_while_it_hands_over_holds_nobody_up(cluster: Cluster, tmp_path: Path) -> None:
    before, active = epoch(cluster), cluster.active()
    assert active is not None
    (tmp_path / "trap").touch()
    active.terminate()
    wait_until(lambda: caught(cluster) is not None)
    wait_until(lambda: has_run(cluster, 40, before + 1))
    mix = Mix(cluster, seed=0, jobs=JOBS)
    active.thaw()
    assert active.wait() == 0
    start_again(cluster, active)
    mix.calm_down()
    assert mix.findings + mix.history().findings() == []


TAKE_OVER = [
    *at("stop-after-acquire", "die-after-acquire", "die-before-lost", database="postgresql"),
    *at("die-after-lost", database="mariadb"),
]


@pytest.mark.parametrize("cluster", TAKE_OVER, indirect=True)
def test_a_take_over_may_fail_halfway(cluster: Cluster, tmp_path: Path) -> None:
    """The active one dies, and its successor is caught while it takes over: the next one goes on."""
    before, first = epoch(cluster), cluster.active()
    assert first is not None
    cluster.ask("Job.objects.get(pk='long').request_run('test') and None")
    (tmp_path / "trap").touch()
    first.kill()
    second = next(one for one in cluster.schedulers if one is not first)
    wait_until(lambda: not second.is_alive or is_stopped(second.pid or 0))
    if second.is_alive:
        cluster.note("frozen", second.name, second.pid)
    else:
        cluster.note("killed", second.name, second.pid)
        second.note_end()
    start_again(cluster, first)
    assert go_on(cluster, second, before + 1) == []


@pytest.mark.parametrize("cluster", at("", database="postgresql"), indirect=True)
def test_an_epoch_is_never_used_twice_when_the_database_forgets_some(cluster: Cluster) -> None:
    """So does a replica that becomes the primary without the last commits."""
    before, active = epoch(cluster), cluster.active()
    # It knows of no epoch that it has not seen; what a claim checks beside it is the holder.
    other = next(one for one in cluster.schedulers if one is not active)
    other.stop()
    cluster.ask("Lease.objects.update(epoch=F('epoch') + 9)")
    wait_until(lambda: has_run(cluster, 40, before + 10))
    highest = epoch(cluster)
    cluster.ask(f"Lease.objects.update(epoch={before}, expires_at=now())")
    wait_until(lambda: has_run(cluster, 40, highest + 1))
    start_again(cluster, other)
    mix = Mix(cluster, seed=0, jobs=JOBS)
    mix.calm_down()
    assert mix.findings + mix.history().findings() == []


@pytest.mark.parametrize("cluster", at("", database="postgresql"), indirect=True)
def test_who_is_told_to_stop_hands_over_and_finishes_what_runs(cluster: Cluster) -> None:
    before, active = epoch(cluster), cluster.active()
    assert active is not None
    running = "Run.objects.filter(status='Started execution', requested_by='test')"
    cluster.ask("[Job.objects.get(pk=f'slow-{n}').request_run('test') for n in range(5)] and None")
    wait_until(lambda: cluster.ask(f"{running}.count()") == 5)
    assert active.stop() == 0
    wait_until(lambda: has_run(cluster, 40, before + 1))
    pid = active.pid
    start_again(cluster, active)
    mix = Mix(cluster, seed=0, jobs=JOBS)
    mix.calm_down()
    assert mix.findings + mix.history().findings() == []
    finished = "Run.objects.filter(requested_by='test').values_list('status', 'instance__pid')"
    assert cluster.ask(f"list({finished})") == [["Executed", pid]] * 5
