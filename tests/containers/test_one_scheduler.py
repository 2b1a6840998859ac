"""Exactly one scheduler runs jobs, however many are started."""

import json
from collections.abc import Iterator

import pytest

from stacks import Container, Stack, docker

pytestmark = [pytest.mark.containers, pytest.mark.timeout(400)]

RUNS_BY_HOST = """
    FROM jobstore_djangojobexecution AS run
    JOIN jobstore_schedulerinstance AS process ON process.id = run.instance_id
    WHERE run.job_id = 'heartbeat'
"""


@pytest.fixture(scope="module")
def scaled_stack(shared_stack: Stack) -> Iterator[Stack]:
    """Provide the stack, and leave it without schedulers."""
    yield shared_stack
    shared_stack.compose("rm", "--stop", "--force", "scheduler")


@pytest.fixture
def three(scaled_stack: Stack) -> Stack:
    """Return the stack with three schedulers: one healthy, and two that are not."""
    scaled_stack.compose("up", "--detach", "--no-recreate", "--scale=scheduler=3", timeout=300)
    scaled_stack.wait_for(lambda: health(scaled_stack) == ["healthy", "unhealthy", "unhealthy"], 90)
    return scaled_stack


def health(stack: Stack) -> list[str]:
    """Return what the probes of all schedulers say, sorted."""
    return sorted(one.health for one in stack.containers("scheduler"))


def active(stack: Stack) -> Container | None:
    """Return the one scheduler that runs and is healthy, or None while there is not exactly one."""
    states = [(one, one.state) for one in stack.containers("scheduler")]
    found = [one for one, state in states if state["Running"] and state["Health"]["Status"] == "healthy"]
    return found[0] if len(found) == 1 else None


def surplus(stack: Stack) -> list[Container]:
    """Return the two schedulers that are not healthy."""
    found = [one for one in stack.containers("scheduler") if one.health == "unhealthy"]
    assert len(found) == 2
    return found


def test_surplus_schedulers_name_the_active_one(three: Stack) -> None:
    holder = three.wait_for(lambda: active(three), 10)
    for one in surplus(three):
        assert f"{holder.host}:" in json.loads(one.reason)["reason"]


def test_surplus_schedulers_run_nothing(three: Stack) -> None:
    idle = surplus(three)
    silent = [one.logs.count("jobs.heartbeat: ") for one in idle]
    before = three.runs()
    three.wait_for(lambda: three.runs() >= before + 2, 40)
    assert [one.logs.count("jobs.heartbeat: ") for one in idle] == silent


def test_no_scheduled_time_runs_twice(three: Stack) -> None:
    before = three.runs()
    three.wait_for(lambda: three.runs() >= before + 2, 40)
    three.compose("stop", "scheduler")
    # The sample job writes a line each time it really runs: lines are counted against rows.
    schedulers = three.containers("scheduler")
    lines = sum(one.logs.count("jobs.heartbeat: ") for one in schedulers)
    hosts = ", ".join(f"'{one.host}'" for one in schedulers)
    counted = f"SELECT count(*), count(DISTINCT run_time) {RUNS_BY_HOST} AND host IN ({hosts})"
    assert lines >= 2
    assert three.sql(counted) == [[str(lines), str(lines)]]


def test_surplus_scheduler_takes_over_from_a_killed_one(three: Stack) -> None:
    killed = three.wait_for(lambda: active(three), 10)
    docker("kill", killed.id)
    successor = three.wait_for(lambda: active(three), 40)
    assert successor.id != killed.id
    three.wait_for(lambda: "jobs.heartbeat" in successor.logs, 30)
