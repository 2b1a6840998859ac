"""With SCHEDULER_SURPLUS=standby a further scheduler is healthy, and takes over at once."""

import json
from collections.abc import Iterator

import pytest

from stacks import Container, Stack, docker

pytestmark = [pytest.mark.containers, pytest.mark.timeout(400)]

PROBE = ("python", "-I", "-S", "-E", "jobstore/probe.py")


@pytest.fixture(scope="module")
def two(shared_stack: Stack) -> Iterator[Stack]:
    """Return the stack with two schedulers that know of each other; leave it without any."""
    shared_stack.up()
    env = shared_stack.path / ".env"
    before = env.read_text()
    env.write_text(before + "\nSCHEDULER_SURPLUS=standby\n")
    try:
        # Waits until both are healthy, and fails if one is not.
        scale = ("--scale=scheduler=2", "--force-recreate", "--no-deps")
        shared_stack.compose("up", "--detach", "--wait", *scale, "scheduler", timeout=300)
        yield shared_stack
    finally:
        env.write_text(before)
        shared_stack.compose("rm", "--stop", "--force", "scheduler")


def roles(stack: Stack) -> dict[str, Container]:
    """Return the running schedulers by what they say they are."""
    running = [one for one in stack.containers("scheduler") if one.state["Running"]]
    answers = [(docker("exec", one.id, *PROBE, "live", check=False), one) for one in running]
    return {json.loads(said.stdout)["role"]: one for said, one in answers if not said.returncode}


def test_both_are_healthy_and_one_is_active(two: Stack) -> None:
    assert set(roles(two)) == {"active", "standby"}
    assert {one.health for one in two.containers("scheduler")} == {"healthy"}


def test_the_status_command_shows_both(two: Stack) -> None:
    seen = json.loads(two.inside("web", "python", "manage.py", "scheduler_status", "--json"))
    assert seen["status"] == "ok"
    assert sorted(one["role"] for one in seen["processes"]) == ["active", "standby"]


def test_the_standby_goes_on_when_the_active_one_is_killed(two: Stack) -> None:
    before = roles(two)
    docker("kill", before["active"].id)
    two.wait_for(lambda: roles(two).get("active", before["active"]).id == before["standby"].id, 30)
    runs = two.runs()
    two.wait_for(lambda: two.runs() > runs, 30)
    # Docker does not start again what somebody killed.
    docker("start", before["active"].id)
    two.wait_for(lambda: set(roles(two)) == {"active", "standby"}, 60)
    two.wait_for(lambda: {one.health for one in two.containers("scheduler")} == {"healthy"}, 60)
