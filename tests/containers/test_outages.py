"""What dies is started again, and what depends on it goes on by itself."""

import pytest

from stacks import Stack, docker

pytestmark = [pytest.mark.containers, pytest.mark.timeout(400)]

# The scheduler is the child of Docker's init, which restarts nothing itself.
CRASH = "import os, signal; os.kill(int(open('/proc/1/task/1/children').read().split()[0]), signal.SIGKILL)"


def test_nothing_needs_a_restart_when_the_database_dies(stack: Stack) -> None:
    database, web, scheduler = (stack.the(service) for service in ("db", "web", "scheduler"))
    started = [web.state["StartedAt"], scheduler.state["StartedAt"]]

    docker("kill", database.id)
    stack.wait_for(lambda: {web.health, scheduler.health} == {"unhealthy"}, 60)
    assert "database does not answer" in web.reason
    assert "database does not answer" in scheduler.reason
    docker("start", database.id)

    stack.wait_for(lambda: {web.health, scheduler.health} == {"healthy"}, 60)
    before = stack.runs()
    stack.wait_for(lambda: stack.runs() >= before + 2, 40)
    assert [web.state["StartedAt"], scheduler.state["StartedAt"]] == started


def test_crashed_scheduler_is_started_again_and_goes_on(stack: Stack) -> None:
    scheduler = stack.the("scheduler")
    stack.inside("scheduler", "python", "-c", CRASH, check=False)
    stack.wait_for(lambda: scheduler.inspect()["RestartCount"] == 1, 30)
    stack.wait_for(lambda: scheduler.health == "healthy", 60)
    before = stack.runs()
    stack.wait_for(lambda: stack.runs() > before, 30)
