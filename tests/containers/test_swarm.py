"""A real Swarm of one node: releases of the scheduler go by what its probe says, and no run is lost."""

import itertools
import json
import os
from collections.abc import Callable, Iterator

import pytest

from stacks import Container, Stack, docker

pytestmark = [pytest.mark.containers, pytest.mark.timeout(400)]

PROBE = ("python", "-I", "-S", "-E", "jobstore/probe.py")
SECRETS = ("django_secret_key", "database_password")
# What the sample job writes each time it really runs, and what is known of each of its runs.
LINE = "jobs.heartbeat: "
RUNS = """
    SELECT process.version, extract(epoch FROM run.run_time), run.status
    FROM jobstore_djangojobexecution AS run
    JOIN jobstore_schedulerinstance AS process ON process.id = run.instance_id
    WHERE run.job_id = 'heartbeat' AND process.host IN ({hosts})
    ORDER BY run.run_time
"""


class Service:
    """The scheduler as a Swarm runs it, on the database of a stack."""

    def __init__(self, stack: Stack, network: str) -> None:
        """Prepare; nothing is started before `release`."""
        self.stack = stack
        self.network = network
        self.name = f"{network}_scheduler"

    def release(self, version: str, replicas: int, order: str, extra: str) -> None:
        """Start the service, or update it to this version."""
        scheduler = {
            "image": f"{self.stack.name}-app",
            "command": ["python", "manage.py", "runapscheduler"],
            "init": True,
            "env_file": ".env",
            "environment": {
                "DATABASE_URL": "postgres://app@db:5432/app",
                **{f"{name.upper()}_FILE": f"/run/secrets/{name}" for name in SECRETS},
                # There are none, and a Swarm keeps no empty secret.
                "DJANGO_SECRET_KEY_FALLBACKS_FILE": "",
                "SCHEDULER_SURPLUS": extra,
                "SCHEDULER_VERSION": version,
            },
            "networks": ["net"],
            "secrets": list(SECRETS),
            "healthcheck": {
                "test": ["CMD", *PROBE, "live"],
                "start_period": "20s",
                "interval": "2s",
                "timeout": "5s",
                "retries": 3,
            },
            "stop_grace_period": "40s",
            # Nobody calls a scheduler, so it needs no address of its own, which not every kernel can give.
            "deploy": {"replicas": replicas, "endpoint_mode": "dnsrr", "update_config": {"order": order}},
        }
        networks = {"net": {"external": True, "name": self.network}}
        # The Swarm's own secrets, filled from the files of the project.
        secrets = {name: {"file": f".secrets/{name}"} for name in SECRETS}
        services = {"scheduler": scheduler}
        text = json.dumps({"version": "3.8", "services": services, "networks": networks, "secrets": secrets})
        deploy = ("stack", "deploy", "--resolve-image=never", "--detach=true", "--compose-file=-")
        docker(*deploy, self.network, input=text, cwd=self.stack.path)

    def remove(self) -> None:
        """Remove the service, and return when its containers are gone."""
        docker("stack", "rm", self.network, check=False)
        self.stack.wait_for(lambda: not self.containers(), 60)

    def update(self) -> str:
        """Return how the last update goes: updating, completed, paused..., or nothing."""
        inspected = json.loads(docker("service", "inspect", self.name).stdout)[0]
        return str((inspected.get("UpdateStatus") or {}).get("State", ""))

    def tasks(self) -> list[str]:
        """Return the state of every task that ever was, sorted.

        Running; Shutdown, for a newer version; Complete or Failed if it ended for another reason,
        of which ill health is one.
        """
        listed = docker("service", "ps", "--format={{.CurrentState}}", self.name).stdout
        return sorted(line.split()[0] for line in listed.splitlines())

    def containers(self) -> list[Container]:
        """Return the container of every task, ended ones included."""
        mine = f"label=com.docker.swarm.service.name={self.name}"
        listed = docker("ps", "--all", "--quiet", "--no-trunc", f"--filter={mine}").stdout
        return [Container(identity) for identity in listed.split()]

    def roles(self) -> list[tuple[str, str]]:
        """Return role and version of each scheduler that runs and is healthy, sorted."""
        states = [(one, one.state) for one in self.containers()]
        well = [one for one, state in states if state["Running"] and state["Health"]["Status"] == "healthy"]
        asked = [docker("exec", one.id, *PROBE, "ready", check=False) for one in well]
        answers = [json.loads(one.stdout) for one in asked if one.returncode == 0]
        return sorted((answer["role"], answer["version"]) for answer in answers)

    def history(self) -> list[tuple[str, float, str]]:
        """Return version, scheduled time and status of the sample job's runs, earliest first."""
        hosts = ", ".join(f"'{one.host}'" for one in self.containers())
        found = self.stack.sql(RUNS.format(hosts=hosts))
        return [(version, float(time), status) for version, time, status in found]

    def settled(self) -> tuple[list[tuple[str, float, str]], int] | None:
        """Return the history and the number of lines written, or None if a run began or ended meanwhile."""
        before = self.history()
        lines = sum(one.logs.count(LINE) for one in self.containers())
        done = all(status == "Executed" for _, _, status in before)
        return (before, lines) if done and self.history() == before else None


@pytest.fixture(scope="module")
def network(shared_stack: Stack) -> Iterator[str]:
    """Provide a network of a Swarm that reaches the stack's database, which has no other scheduler."""
    is_ours = docker("info", "--format={{.Swarm.LocalNodeState}}").stdout.strip() == "inactive"
    # Leaving a Swarm makes Docker forget the names by which running containers find each other.
    if is_ours and (others := neighbours(shared_stack)):
        refuse = pytest.fail if os.environ.get("REQUIRE_ALL_LAYERS") == "1" else pytest.skip
        refuse(f"A Swarm that comes and goes would cut these off from each other: {', '.join(others)}")
    shared_stack.up()
    shared_stack.compose("rm", "--stop", "--force", "scheduler")
    networks = docker("network", "ls", "--format={{.Name}}").stdout.split()
    if is_ours:
        docker("swarm", "init", "--advertise-addr=127.0.0.1", "--listen-addr=127.0.0.1")
    name = f"{shared_stack.name}-swarm"
    database = shared_stack.the("db").id
    try:
        docker("network", "create", "--driver=overlay", "--attachable", name)
        docker("network", "connect", "--alias=db", name, database)
        yield name
    finally:
        docker("network", "disconnect", "--force", name, database, check=False)
        shared_stack.wait_for(lambda: not docker("network", "rm", name, check=False).returncode, 30)
        if is_ours:
            shared_stack.compose("down")  # the next test that needs it starts it again, with its data
            docker("swarm", "leave", "--force")
        if "docker_gwbridge" not in networks:
            docker("network", "rm", "docker_gwbridge", check=False)


def neighbours(stack: Stack) -> list[str]:
    """Return the running containers of others that find each other by name: not on Docker's own networks."""
    listed = docker("ps", "--format={{.Names}} {{.Networks}}").stdout.splitlines()
    pairs = [line.partition(" ")[::2] for line in listed]
    plain = {"bridge", "host", "none"}
    return [name for name, on in pairs if not set(on.split(",")) <= plain and stack.name not in name]


@pytest.fixture
def service(shared_stack: Stack, network: str) -> Iterator[Service]:
    """Return the scheduler's service, which is removed afterwards."""
    service = Service(shared_stack, network)
    try:
        yield service
    finally:
        service.remove()


def test_two_replicas_are_replaced_one_by_one_and_no_scheduled_time_is_left_out(service: Service) -> None:
    wait_for = service.stack.wait_for
    service.release("one", 2, "start-first", "standby")
    wait_for(lambda: service.roles() == [("active", "one"), ("standby", "one")], 60)
    wait_for(ran(service, "one"), 30)
    service.release("two", 2, "start-first", "standby")
    wait_for(lambda: service.update() not in ("", "updating"), 120)
    assert service.update() == "completed"
    wait_for(lambda: service.roles() == [("active", "two"), ("standby", "two")], 30)
    wait_for(ran(service, "two"), 30)
    history, lines = wait_for(service.settled, 30)
    times = [time for _, time, _ in history]
    assert {later - earlier for earlier, later in itertools.pairwise(times)} == {10.0}
    assert lines == len(history)
    assert service.tasks() == ["Running", "Running", "Shutdown", "Shutdown"]


def test_a_single_replica_is_replaced_without_being_taken_for_ill(service: Service) -> None:
    wait_for = service.stack.wait_for
    service.release("one", 1, "stop-first", "refuse")
    wait_for(lambda: service.roles() == [("active", "one")], 60)
    wait_for(ran(service, "one"), 30)
    service.release("two", 1, "stop-first", "refuse")
    wait_for(lambda: service.update() not in ("", "updating"), 120)
    assert service.update() == "completed"
    wait_for(lambda: service.roles() == [("active", "two")], 30)
    wait_for(ran(service, "two"), 30)
    history, lines = wait_for(service.settled, 30)
    assert lines == len(history)
    assert service.tasks() == ["Running", "Shutdown"]


def ran(service: Service, version: str) -> Callable[[], bool]:
    """Return the question whether this version has run the sample job."""
    return lambda: any(one == version and status == "Executed" for one, _, status in service.history())
