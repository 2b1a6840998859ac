"""Schedulers under a random mix of faults: every time of every job still runs exactly once.

The seed is printed, and `make chaos SEED=...` repeats its decisions for as long as wanted.
"""

import itertools
import json
import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from baking import Baked
from faults.cluster import APP, Cluster, is_stopped
from faults.mix import EDITS, NETWORK, PROCESS, Mix, decisions
from faults.report import page
from layers import needs
from servers import MariaDB, PostgreSQL, Server, wait_until


def mixed(baked: Baked, folder: Path, kind: type[Server] | None, seconds: float, jobs: int) -> dict[str, Any]:
    """Run a mix by a seed of its own, or by that of MIX_SEED; print the seed and what was found."""
    seed = int(os.environ.get("MIX_SEED") or random.SystemRandom().randrange(10**6))
    print(f"\nMIX_SEED={seed}")
    with Cluster(baked, folder, kind, jobs=jobs) as cluster:
        result = Mix(cluster, seed, jobs=jobs).run(seconds, take_overs=3)
    (folder / "report.html").write_text(page(result))
    print(json.dumps({name: result[name] for name in ("runs", "rows", "lost", "findings")}, indent=1))
    return result


@pytest.mark.parametrize(
    ("kind", "seconds", "jobs"),
    [
        pytest.param(PostgreSQL, 60, 60, id="postgresql"),
        pytest.param(MariaDB, 45, 60, id="mariadb"),
        pytest.param(None, 45, 30, id="sqlite"),
    ],
)
@pytest.mark.project
@pytest.mark.timeout(900)
def test_every_time_runs_once_whatever_is_done_to_the_schedulers(
    request: pytest.FixtureRequest, tmp_path: Path, kind: type[Server] | None, seconds: float, jobs: int
) -> None:
    if kind is not None:
        needs("docker")
    baked = request.getfixturevalue("installed_for_mariadb" if kind is MariaDB else "installed")
    result = mixed(baked, tmp_path, kind, seconds, jobs)
    assert result["findings"] == []
    # It was a mix: most of what was due ran, under several holders of the lease.
    assert result["runs"] > jobs * seconds / 2
    assert len(result["terms"]) >= 3


# What keeps a process that comes late from claiming: the lease, the times of the jobs, uniqueness.
CLAIM = {
    """SELECT holder, epoch FROM jobstore_schedulerlease
                WHERE name = %(lease)s AND holder = %(holder)s AND epoch = %(epoch)s
                    AND expires_at > clock_timestamp()
                FOR SHARE""": "SELECT %(holder)s::uuid AS holder, %(epoch)s::bigint AS epoch",
    " AND job.version = plan.version\n                    AND job.next_run_time = plan.due": "",
    " AND job.version = free.version\n                    AND job.next_run_time = free.due": "",
    "ON CONFLICT (job_id, run_time) DO NOTHING": "",
    # No guard, but it would save the day whenever the successor happens to claim at the same moment.
    "FOR UPDATE OF job SKIP LOCKED": "FOR UPDATE OF job",
}
UNIQUE = "ALTER TABLE jobstore_djangojobexecution DROP CONSTRAINT jobstore_one_run_per_time"
# What keeps it from writing the result of a run that was declared lost.
WRITE = {
    "run.instance_id = %s": "%s::uuid IS NOT NULL",
    "run.status || '' = %s": "%s::text IS NOT NULL",
}


def unguarded(baked: Baked, folder: Path, name: str, guards: dict[str, str]) -> Baked:
    """Return a copy of a project in which a file of the job store lacks its guards."""
    copy = Baked(folder / "unguarded")
    shutil.copytree(baked.path, copy.path, ignore=shutil.ignore_patterns(".venv"))
    (copy.path / ".venv").symlink_to(baked.path / ".venv")
    file = copy.path / "jobstore" / name
    text = file.read_text()
    for guard, nothing in guards.items():
        assert guard in text, f"{name} has changed: what is the guard now?"
        text = text.replace(guard, nothing)
    file.write_text(text)
    copy.compile()
    return copy


def go_on_late(baked: Baked, folder: Path, moment: str, *statements: str) -> list[str]:
    """Freeze the active process before it claims or writes, thaw it after a take-over; return findings."""
    trap = folder / "trap"
    options: dict[str, Any] = {"quick": True, "jobs": 20}
    with Cluster(
        baked, folder, PostgreSQL, **options, FAULT=f"stop-{moment}", FAULT_WHEN=str(trap)
    ) as cluster:
        for statement in statements:
            cluster.query(statement)
        cluster.start()
        active = cluster.active()
        assert active
        wait_until(lambda: bool(cluster.ask("Run.objects.filter(status='Executed').count() > 20")))
        trap.touch()
        wait_until(lambda: is_stopped(active.pid or 0))
        cluster.note("frozen", active.name, active.pid)
        wait_until(lambda: cluster.active() not in (None, active))
        # The successor has declared the frozen one's runs lost, and has gone on with what was due.
        is_dead = f"Instance.objects.filter(pid={active.pid}, role='lost').exists()"
        wait_until(lambda: bool(cluster.ask(is_dead)))
        since = cluster.ask("Run.objects.count()")
        wait_until(lambda: bool(cluster.ask(f"Run.objects.count() > {since} + 40")))
        mix = Mix(cluster, seed=0, jobs=20)
        mix.look_for_lost()
        active.thaw()
        # What it was about to do is done, and it has noticed that its time is over.
        is_back = f"Instance.objects.filter(pid={active.pid}, role='standby').exists()"
        wait_until(lambda: bool(cluster.ask(is_back)))
        mix.calm_down()
        return mix.history().findings()


@pytest.mark.project
@pytest.mark.timeout(300)
@pytest.mark.parametrize("moment", ["before-claim", "before-write"])
def test_a_process_that_goes_on_after_a_take_over_changes_nothing(
    installed: Baked, tmp_path: Path, moment: str
) -> None:
    needs("docker")
    assert go_on_late(installed, tmp_path, moment) == []


@pytest.mark.project
@pytest.mark.timeout(300)
def test_without_the_guards_of_the_claim_the_checker_sees_runs_twice(
    installed: Baked, tmp_path: Path
) -> None:
    needs("docker")
    baked = unguarded(installed, tmp_path, "claims/claim.py", CLAIM)
    findings = go_on_late(baked, tmp_path, "before-claim", UNIQUE)
    assert any("was started twice" in finding for finding in findings), findings


@pytest.mark.project
@pytest.mark.timeout(300)
def test_without_the_guards_of_the_recorder_the_checker_sees_a_lost_run_overwritten(
    installed: Baked, tmp_path: Path
) -> None:
    needs("docker")
    baked = unguarded(installed, tmp_path, "history/recorder.py", WRITE)
    findings = go_on_late(baked, tmp_path, "before-write")
    assert any("was declared lost and is 'Executed'" in finding for finding in findings), findings


@pytest.mark.project
def test_every_moment_at_which_a_process_can_be_trapped_exists(installed: Baked) -> None:
    code = (
        "import django, os; django.setup(); from load import traps\n"
        "for moment in traps.MOMENTS: os.environ['FAULT'] = f'stop-{moment}'; traps.set_from_environment()"
    )
    installed.python(
        "-c",
        code,
        PYTHONPATH=f"{APP}:{installed.path}",
        DJANGO_SETTINGS_MODULE="load_settings",
        DATABASE_URL="sqlite:///none",
    )


def test_the_same_seed_makes_the_same_decisions() -> None:
    kinds = PROCESS | NETWORK | EDITS
    first, again, other = (list(itertools.islice(decisions(seed, kinds, 2), 50)) for seed in (1, 1, 2))
    assert first == again != other
    assert {decision.kind for decision in first} == set(kinds)
