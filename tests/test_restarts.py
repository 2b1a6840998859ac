"""The project on real servers that are restarted under it."""

# ruff: noqa: S608 - the SQL here is made of constants
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from baking import Baked, clean_environment
from layers import needs
from servers import MariaDB, PostgreSQL, Server, docker, wait_until

pytestmark = [pytest.mark.project, pytest.mark.timeout(900)]

RUNS = "jobstore_djangojobexecution"
FAST, IMMEDIATE, SMART, CRASH = signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGKILL


@contextmanager
def scheduler(project: Baked, server: Server, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the project's scheduler with leases of two seconds, and some more jobs."""
    variables = {
        "DATABASE_URL": server.url,
        "DJANGO_SETTINGS_MODULE": "jobstore.tests.jobs_settings",
        "SCHEDULER_HEALTH_ADDRESS": "",
        "TICK_TRACE": str(folder / "trace"),
    }
    project.python("manage.py", "migrate", **variables)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [project.path / ".venv" / "bin" / "python", "manage.py", "runapscheduler"],
            cwd=project.path,
            env=clean_environment(**variables),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("kind", "how", "seconds"),
    [
        pytest.param(PostgreSQL, FAST, 1, id="postgresql-fast-1s"),
        pytest.param(PostgreSQL, IMMEDIATE, 5, id="postgresql-immediate-5s"),
        pytest.param(PostgreSQL, CRASH, 15, id="postgresql-crash-15s"),
        pytest.param(MariaDB, SMART, 1, id="mariadb-shutdown-1s"),
        pytest.param(MariaDB, CRASH, 15, id="mariadb-crash-15s"),
    ],
)
def test_the_same_scheduler_goes_on_when_its_server_is_restarted(
    request: pytest.FixtureRequest, kind: type[Server], how: signal.Signals, seconds: float, tmp_path: Path
) -> None:
    needs("docker")
    fixture = "installed" if kind is PostgreSQL else "installed_for_mariadb"
    project: Baked = request.getfixturevalue(fixture)
    server = kind()
    try:
        wait_until(server.answers)
        with scheduler(project, server, tmp_path) as process:
            go_through_an_outage(server, how, seconds)
            process.terminate()
            assert process.wait(30) == 0, (tmp_path / "log").read_text()
        check_history(server, (tmp_path / "trace").read_text().split())
    finally:
        docker("rm", "--force", "--volumes", server.container)


def go_through_an_outage(server: Server, how: signal.Signals, seconds: float) -> None:
    """Restart the server while a job runs, and wait until jobs run again."""
    done = f"SELECT count(*) FROM {RUNS} WHERE job_id = 'tick' AND status = 'Executed'"
    wait_until(lambda: int(server.ask(done)[0]) >= 2)
    # Due now: it takes a second and a half, and ends while the server is away.
    server.ask(f"UPDATE jobstore_djangojob SET next_run_time = {server.now} WHERE id = 'nap'")
    begun = f"SELECT count(*) FROM {RUNS} WHERE job_id = 'nap' AND status = 'Started execution'"
    wait_until(lambda: int(server.ask(begun)[0]) == 1)
    server.go(how)
    time.sleep(seconds)
    back = server.come_back()
    since = f"FROM {RUNS} WHERE job_id = 'tick' AND status = 'Executed' AND claimed_at > '{back}'"
    wait_until(lambda: int(server.ask(f"SELECT count(*) {since}")[0]) >= 2)
    print(f"\nserver back at {back}, claims resumed at", *server.ask(f"SELECT min(claimed_at) {since}"))


def check_history(server: Server, traces: list[str]) -> None:
    """Nothing ran twice, nothing was lost, and the epochs grew."""
    assert server.ask(f"SELECT DISTINCT status FROM {RUNS} WHERE job_id IN ('tick', 'nap')") == ["Executed"]
    assert server.ask(f"SELECT count(*) FROM {RUNS} WHERE job_id = 'nap'") == ["1"]
    assert server.ask(f"SELECT count(*) FROM {RUNS} WHERE job_id = 'tick'") == [str(len(traces))]
    epochs = [int(epoch) for epoch in server.ask(f"SELECT epoch FROM {RUNS} ORDER BY claimed_at, id")]
    assert epochs == sorted(epochs)
    assert server.ask("SELECT count(*) FROM jobstore_schedulerinstance") == ["1"]
