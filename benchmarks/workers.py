"""Where this template's jobs can run besides threads, and Celery alone as the limit of one of these."""

import json
from typing import Any

import bakery
from contenders import CONTENDERS, PROGRAMS, Contender, Ours
from peers import BROKERS, CeleryBeat, broker, start_broker
from stacks import free_port

# Two cores: as many processes carry out runs, for all of them.
PROCESSES = 2


class OursProcesses(Ours):
    """The same project with worker processes."""

    name = "ours-processes"
    title = "this template, worker processes"
    home = "ours"

    @property
    def environment(self) -> dict[str, str]:
        """Switches them on."""
        return super().environment | {"SCHEDULER_PROCESSES": str(PROCESSES)}

    def store(self, scenario: dict[str, Any]) -> None:
        """Store jobs that run there, if they do not say where."""
        super().store(elsewhere(scenario, "processes"))


class OursCelery(Ours):
    """The same project with Celery's workers and a broker."""

    name = "ours-celery"
    title = "this template, Celery"
    databases = ("postgresql", "mariadb")

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._port = free_port()

    @classmethod
    def obstacle(cls) -> str:
        """A broker is needed."""
        return "" if broker() else f"none of {', '.join(BROKERS)} is installed, of which it needs one"

    def install(self) -> None:
        """Bake and install the project with workers."""
        self.project = bakery.project(self.folder, self.database.kind, workers="celery")

    @property
    def environment(self) -> dict[str, str]:
        """Names the broker."""
        return super().environment | {
            "SCHEDULER_EXECUTORS": "celery",
            "CELERY_BROKER_URL": f"redis://127.0.0.1:{self._port}/0",
        }

    def store(self, scenario: dict[str, Any]) -> None:
        """Store jobs that run there."""
        super().store(elsewhere(scenario, "celery"))

    def start(self, scenario: dict[str, Any], **extra: str) -> None:
        """Start the broker first, empty."""
        self._port = free_port()
        self.processes.append(start_broker(self.folder, self._port))
        super().start(scenario, **extra)

    def commands(self, scenario: dict[str, Any]) -> list[tuple[str, ...]]:
        """Return the project's own commands."""
        return [
            *super().commands(scenario),
            ("-m", "celery", "-A", "config", "worker", "--concurrency", str(PROCESSES)),
        ]

    def stop(self) -> None:
        """End the broker last: the others would wait for it."""
        stop_broker_last(self, super().stop)


class CeleryProcesses(CeleryBeat):
    """celery-beat with results in the database, and a worker of as many processes as the others."""

    name = "celery-beat-processes"
    title = "django-celery-beat 2.9 with django-celery-results, a worker of processes"
    home = "celery-beat"
    apps = "django_celery_beat django_celery_results"
    note = "a run is written to the database when it has ended, not before"
    table = "django_celery_results_taskresult"
    finished_sql = f"SELECT count(*) FROM {table}"  # noqa: S608
    durable_sql = f"SELECT extract(epoch FROM max(pg_xact_commit_timestamp(xmin))) FROM {table}"  # noqa: S608

    @property
    def environment(self) -> dict[str, str]:
        """Names the store of results."""
        return super().environment | {"BENCH_RESULTS": "django-db"}

    def commands(self, scenario: dict[str, Any]) -> list[tuple[str, ...]]:
        """Return the two commands of its documentation."""
        _worker, beat = super().commands(scenario)
        return [("-m", "celery", "-A", "beat_app", "worker", "--concurrency", str(PROCESSES)), beat]


class BareCelery(CeleryBeat):
    """Celery alone: messages are sent at the instant, and nothing is written."""

    name = "bare-celery"
    title = "Celery alone (limit)"
    home = "celery-beat"
    align_seconds = 1
    makes_every_run = True
    note = "nothing is written to the database"

    def store(self, scenario: dict[str, Any]) -> None:
        """Do nothing: the program that sends them knows the jobs."""

    def commands(self, scenario: dict[str, Any]) -> list[tuple[str, ...]]:
        """Return a worker, and the program that sends."""
        worker = ("-m", "celery", "-A", "beat_app", "worker", "--concurrency", str(PROCESSES))
        return [worker, (str(PROGRAMS / "bare_celery.py"), json.dumps(scenario))]


def elsewhere(scenario: dict[str, Any], executor: str) -> dict[str, Any]:
    """Return a scenario whose jobs run with this executor, unless they name one."""
    return scenario | {"options": scenario["options"] | {"executor": executor}}


def stop_broker_last(contender: Contender, stop: Any) -> None:
    """End what uses the broker first."""
    first, contender.processes = contender.processes[:1], contender.processes[1:]
    try:
        stop()
    finally:
        contender.processes = first
        stop()


WORKERS: tuple[type[Contender], ...] = (OursProcesses, OursCelery, CeleryProcesses, BareCelery)
CONTENDERS.update({one.name: one for one in WORKERS})
