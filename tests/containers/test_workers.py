"""Celery's workers in containers: runs go there, and survive the broker, not their worker."""

import json
from collections.abc import Callable, Iterator

import pytest

from documents import Block
from stacks import NewStack, Stack, docker

pytestmark = [pytest.mark.containers, pytest.mark.timeout(300)]

JOBS = '''
"""Jobs for workers."""

import socket
import time

from jobstore.registry import scheduled


# Several at a time: a message that a killed worker had taken is sent again after a minute only.
@scheduled("interval", id="where", seconds=1, executor="celery", max_instances=90)
def where() -> str:
    """Tell in which container it runs."""
    return socket.gethostname()


@scheduled("cron", id="busy", year=2199, executor="celery", max_instances=90)
def busy() -> str:
    """Keep one of a worker's two processes for a while."""
    time.sleep(4)
    return socket.gethostname()


@scheduled("cron", id="slow", year=2199, executor="celery")
def slow() -> None:
    """Run until somebody ends it."""
    time.sleep(600)
'''


@pytest.fixture(scope="module")
def stack(new_stack: NewStack) -> Iterator[Stack]:
    """A project with workers, up and healthy; its tests leave it so."""
    with new_stack("postgresql", "none", "celery") as stack:
        (stack.path / "jobs" / "elsewhere.py").write_text(JOBS)
        stack.up()
        yield stack


def hosts(stack: Stack, job: str = "where") -> set[str]:
    """Return where the last runs ran, as they say themselves."""
    # Its result is the text of a Python value.
    query = (
        f"SELECT result FROM jobstore_djangojobexecution WHERE job_id='{job}' "  # noqa: S608 - our own
        "AND status='Executed' AND finished > now() - interval '8 seconds'"
    )
    return {line[0].strip("'\"") for line in stack.sql(query)}


def statuses(stack: Stack, job: str) -> list[str]:
    """Return how the runs of a job stand, the latest first."""
    table = "jobstore_djangojobexecution"
    query = f"SELECT status FROM {table} WHERE job_id='{job}' ORDER BY id DESC"  # noqa: S608 - our own
    return [line[0] for line in stack.sql(query)]


def test_jobs_run_in_the_worker_s_container(stack: Stack) -> None:
    stack.wait_for(lambda: hosts(stack) == {stack.the("worker").host}, 30)


def test_who_may_not_send_messages_does_not_reach_the_broker(stack: Stack) -> None:
    code = "import socket; socket.create_connection(('broker', 6379), 3)"
    assert "OK" in stack.inside("scheduler", "python", "-c", f"{code}; print('OK')")
    done = stack.compose("exec", "-T", "web", "python", "-c", code, check=False)
    assert "gaierror" in done.stderr
    broker = stack.the("broker").inspect()
    assert not any(broker["NetworkSettings"]["Ports"].values())
    assert broker["HostConfig"]["ReadonlyRootfs"]
    assert broker["Config"]["User"].split(":")[0] not in ("", "0", "root")
    assert [mount for mount in broker["Mounts"] if mount["Type"] == "volume"] == []


def test_runs_wait_while_the_broker_is_away_and_run_when_it_is_back(stack: Stack) -> None:
    stack.compose("stop", "--timeout=1", "broker")
    # It begins again while no message can be sent.
    stack.wait_for(lambda: statuses(stack, "where")[:1] != ["Executed"], 10)
    waiting = stack.sql("SELECT max(id) FROM jobstore_djangojobexecution WHERE status='Queued'")[0][0]
    # Nothing else suffers.
    before = stack.runs()
    stack.wait_for(lambda: stack.runs() > before, 25)
    assert stack.the("scheduler").health == "healthy"
    stack.compose("start", "broker")
    done = f"SELECT status FROM jobstore_djangojobexecution WHERE id = {waiting}"  # noqa: S608 - our own
    stack.wait_for(lambda: stack.sql(done) == [["Executed"]], 60)
    stack.wait_for(lambda: stack.the("worker").health == "healthy", 30)


def test_the_run_of_a_killed_worker_is_lost(stack: Stack) -> None:
    stack.inside("web", "python", "manage.py", "jobs", "run", "slow")
    stack.wait_for(lambda: statuses(stack, "slow") == ["Started execution"], 20)
    worker = stack.the("worker")
    docker("kill", worker.id)
    stack.wait_for(lambda: statuses(stack, "slow") == ["Lost!"], 40)
    docker("start", worker.id)
    stack.wait_for(lambda: hosts(stack) == {worker.host}, 30)
    stack.wait_for(lambda: worker.health == "healthy", 20)
    assert statuses(stack, "slow") == ["Lost!"]


def test_further_workers_take_their_share(stack: Stack, documented: Callable[[str, str], Block]) -> None:
    first = stack.the("worker").host
    documented("project/docs/workers.md", "docker compose up --detach --wait --scale").run(
        stack.path, stack.environment
    )
    documented("project/README.md", "docker compose up --detach --wait --scale").run(
        stack.path, stack.environment
    )
    workers = {one.host for one in stack.containers("worker")}
    assert len(workers) == 3
    assert first in workers
    # As many as all of them can carry out at a time: a worker takes no more than it can start.
    code = "from jobstore import api; [api.run_now('busy') for _ in range(6)]"
    stack.inside("web", "python", "manage.py", "shell", "-v0", "-c", code)
    stack.wait_for(lambda: hosts(stack, "busy") == workers, 30)


def test_workers_stop_cleanly(stack: Stack) -> None:
    stack.compose("stop", "worker")
    assert {one.state["ExitCode"] for one in stack.containers("worker")} == {0}
    status = json.loads(stack.inside("web", "python", "manage.py", "scheduler_status", "--json"))
    assert [one for one in status["processes"] if one["role"] == "worker"] == []
