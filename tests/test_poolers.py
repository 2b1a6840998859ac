"""The project behind poolers."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from baking import Baked
from layers import needs
from servers import docker, wait_until
from stacks import free_port

pytestmark = [pytest.mark.project, pytest.mark.timeout(900)]

# Everything that claims, hands over, records and asks; test_faults.py kills schedulers.
FILES = (
    "jobstore/tests/claims/test_claim.py",
    "jobstore/tests/leadership/test_lease.py",
    "jobstore/tests/history/test_recorder.py",
    "jobstore/tests/test_jobstores.py",
    "jobstore/tests/claims/test_scheduling.py",
    "jobstore/tests/leadership/test_faults.py",
)
# Processes that are started, stopped and refused.
COMMANDS = "jobstore/tests/process/test_commands.py"


def passed(project: Baked, *files: str, **variables: str) -> int:
    """Run some of the project's own tests, which must succeed, and return how many passed."""
    # A pooler keeps connections, so the test database is not dropped: it goes with its server.
    command = ("-m", "pytest", "-p", "no:cacheprovider", "-q", "-n", "3", "--reuse-db", *files)
    done = project.python(*command, timeout=900, **variables)
    found = re.search(r"(\d+) passed", done.stdout)
    assert found, done.stdout
    return int(found[1])


@pytest.fixture(scope="module")
def database(postgresql: tuple[str, str]) -> str:
    """Make a database of our own and return its URL."""
    container, url = postgresql
    docker("exec", container, "createdb", "-U", "postgres", "pooled")
    return f"{url.rpartition('/')[0]}/pooled"


@pytest.fixture(scope="module")
def pgbouncer(database: str) -> Iterator[tuple[str, Path]]:
    """Put PgBouncer in transaction mode before the server; return its URL and its log."""
    needs("pgbouncer")
    password, host, server_port = database_parts(database)
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as name:
        folder = Path(name)
        (folder / "users").write_text(f'"postgres" "{password}"\n')
        (folder / "pgbouncer.ini").write_text(
            "[databases]\n"
            f"* = host={host} port={server_port}\n"
            "[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
            f"auth_type = scram-sha-256\nauth_file = {folder / 'users'}\n"
            "pool_mode = transaction\nmax_client_conn = 200\ndefault_pool_size = 5\n"
            f"logfile = {folder / 'log'}\n"
        )
        command = [str(shutil.which("pgbouncer")), "--quiet", str(folder / "pgbouncer.ini")]
        if os.geteuid() == 0:  # as which it refuses to work
            for one in (folder, *folder.iterdir()):
                shutil.chown(one, "nobody")
            command[1:1] = ["--user", "nobody"]
        process = subprocess.Popen(command)
        try:
            wait_until(lambda: (folder / "log").exists() and "process up" in (folder / "log").read_text())
            yield f"postgres://postgres:{password}@127.0.0.1:{port}/pooled", folder / "log"
        finally:
            process.terminate()
            process.wait(10)


def database_parts(url: str) -> tuple[str, str, str]:
    """Return the password, host and port of a URL."""
    found = re.fullmatch(r"\w+://\w+:([^@]+)@([\d.]+):(\d+)/\w+", url)
    assert found, url
    return found[1], found[2], found[3]


def test_the_project_works_behind_pgbouncer_in_transaction_mode(
    installed: Baked, pgbouncer: tuple[str, Path]
) -> None:
    url, log = pgbouncer
    assert passed(installed, *FILES, COMMANDS, DATABASE_URL=url, DATABASE_POOLER="true") > 0
    # It was this pooler that they went through, and fewer sessions than there were clients.
    assert "test_pooled" in log.read_text()


def test_a_pooler_that_nobody_declared_is_noticed(
    installed: Baked, database: str, pgbouncer: tuple[str, Path]
) -> None:
    """In its sessions a lock would stay with whoever comes next."""
    code = (
        "import django; django.setup(); from jobstore.leadership.session_lock import SessionLock\n"
        "detector = SessionLock('default'); print(detector.try_hold(), detector.is_on)"
    )
    url, _ = pgbouncer
    asked = {"DATABASE_URL": url, "DJANGO_SETTINGS_MODULE": "config.settings"}
    done = installed.python("-c", code, **asked)
    assert done.stdout.split() == ["False", "False"]
    assert "sessions do not last" in done.stderr
    direct = {**asked, "DATABASE_URL": database}
    assert installed.python("-c", code, **direct).stdout.split() == ["True", "True"]


def test_the_project_works_with_djangos_pool(installed: Baked, database: str) -> None:
    files = (*FILES, "jobstore/tests/process/test_outages.py")
    assert passed(installed, *files, DATABASE_URL=database, DATABASE_POOL_SIZE="15") > 0
