"""Celery's workers in containers: runs go there, and survive the broker, not their worker."""

import json
from collections.abc import Iterator

import pytest

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


def hosts(stack: Stack) -> set[str]:
    """Return where the last runs ran, as they say themselves."""
    # Its result is the text of a Python value.
    query = (
        "SELECT result FROM jobstore_djangojobexecution WHERE job_id='where' AND status='Executed' "
        "AND finished > now() - interval '8 seconds'"
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
    stack.wait_for(lambda: stack.runs(f"id={waiting}, status='Executed'") == 1, 60)
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


def test_a_second_worker_takes_its_share(stack: Stack) -> None:
    stack.compose("up", "--detach", "--wait", "--no-recreate", "--scale=worker=2", "worker", timeout=90)
    both = {one.host for one in stack.containers("worker")}
    assert len(both) == 2
    stack.wait_for(lambda: hosts(stack) == both, 40)


def test_workers_stop_cleanly(stack: Stack) -> None:
    stack.compose("stop", "worker")
    assert [one.state["ExitCode"] for one in stack.containers("worker")] == [0, 0]
    status = json.loads(stack.inside("web", "python", "manage.py", "scheduler_status", "--json"))
    assert [one for one in status["processes"] if one["role"] == "worker"] == []
