"""Shows a generated project at work on this machine: `make demo`, and `make stop` ends it.

It generates a project with the default answers in build/demo, installs it, and starts web server and
scheduler under supervisor. It may be interrupted and run again: finished steps are kept.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import sqlite3
import sys
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from machine import Failed, free_port, install, run, step, tail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "build" / "demo"
PROJECT = DEMO / "my_project"
BIN = PROJECT / ".venv" / "bin"
LOGS = PROJECT / "var" / "log"
PASSWORD = DEMO / "admin-password.txt"
SUPERVISOR = ("-c", "deploy/supervisor/supervisord.conf")

# A socket's path may have 107 bytes; supervisor's socket is below the project.
LONGEST_PATH = 80
# The sample job runs every ten seconds; a slow machine takes longer to start everything.
START_SECONDS = 90
# Jobs get 30 seconds to finish, and supervisor waits ten more.
STOP_SECONDS = 60

ADMIN = """
import os
from django.contrib.auth import get_user_model
user, _ = get_user_model().objects.get_or_create(username="admin")
user.is_staff = user.is_superuser = user.is_active = True
if not user.check_password(os.environ["ADMIN_PASSWORD"]):
    user.set_password(os.environ["ADMIN_PASSWORD"])
user.save()
"""


def demo() -> None:
    """Run the demo, from the beginning or from where the last one ended."""
    if len(os.fsencode(PROJECT)) > LONGEST_PATH:
        raise Failed(f"{PROJECT} is too long for supervisor's socket: move this checkout to a shorter path.")
    started = time.monotonic()
    print("Starting the demo; the first time takes about a minute.")
    if running():
        with step("It is running already: stopping it to start afresh"):
            stop()
    prepare()
    url = f"http://127.0.0.1:{start()}"
    place = PROJECT.relative_to(ROOT)
    print(f"""
Ready after {time.monotonic() - started:.0f} s: the sample job has run, and runs every ten seconds.

  Admin     {url}/admin/
  Login     admin   password: {admin_password()}
  History   {url}/admin/jobstore/djangojobexecution/
  Health    {url}/health/scheduler
  Logs      {place}/var/log/
  Status    {place}/.venv/bin/supervisorctl -c {place}/{SUPERVISOR[1]} status
  Stop      make stop
""")


def prepare() -> None:
    """Do everything up to the start."""
    tools = DEMO / "tools"
    with step("Installing cookiecutter"):
        install(tools, ROOT / "tools" / "cookiecutter.txt")
    with step(f"Baking a project into {PROJECT.relative_to(ROOT)}"):
        # An earlier project keeps its .env and its data. The user's own defaults are not used.
        config = DEMO / "cookiecutter.yaml"
        config.write_text(f"replay_dir: {json.dumps(str(DEMO / 'replay'))}\n")
        options = ("--no-input", "--overwrite-if-exists", "--output-dir", DEMO, "--config-file", config)
        run(tools / "bin" / "cookiecutter", ROOT, *options, cwd=DEMO)
    with step("Installing what the project runs on"):
        install(PROJECT / ".venv", PROJECT / "requirements" / "base.txt")
    with step("Migrating its SQLite database"):
        inside("python", "manage.py", "migrate", "--no-input")
    with step("Collecting static files"):
        inside("python", "manage.py", "collectstatic", "--no-input")
    with step("Making sure of the admin user"):
        inside("python", "manage.py", "shell", "-c", ADMIN, ADMIN_PASSWORD=admin_password())


def start() -> int:
    """Start web server and scheduler, wait until both are ready, and return the web server's port."""
    port = free_port(8000)
    probes = free_port(port + 1)
    addresses = {"WEB_BIND": f"127.0.0.1:{port}", "SCHEDULER_HEALTH_ADDRESS": f"127.0.0.1:{probes}"}
    earlier = last_run()
    try:
        with step(f"Starting supervisor (web on port {port}, probes on {probes})"):
            inside("supervisord", *SUPERVISOR, **addresses)
        with step("Waiting for the web server"):
            wait_for("The web server", lambda: ready(f"127.0.0.1:{port}"), LOGS / "web.log")
        with step("Waiting for the sample job to run"):
            wait_for("The sample job", lambda: last_run() > earlier, LOGS / "scheduler.log")
    except BaseException:
        # A failed or interrupted start leaves nothing running; its logs stay.
        with suppress(Failed):
            stop()
        raise
    return port


def wait_for(what: str, condition: Callable[[], bool], log: Path) -> None:
    """Wait until a condition holds.

    :raises Failed: with the end of the log, if it does not hold in time.
    """
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"{what} has shown no sign of life within {START_SECONDS} s.\n{tail(log)}")
        time.sleep(0.3)


def ready(address: str) -> bool:
    """Return whether the process at that address says that it is ready."""
    try:
        inside("python", "jobstore/probe.py", "ready", address)
    except Failed:
        return False
    return True


def last_run() -> int:
    """Return the id of the sample job's last successful run, 0 if there is none."""
    path = PROJECT / "var" / "db.sqlite3"
    query = (
        "SELECT max(id) FROM jobstore_djangojobexecution WHERE job_id = 'heartbeat' AND status = 'Executed'"
    )
    with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=10)) as database:
        return database.execute(query).fetchone()[0] or 0


def admin_password() -> str:
    """Return the password of the demo's admin, made in the first run and kept for its owner's eyes only."""
    with suppress(FileNotFoundError):
        if password := PASSWORD.read_text().strip():
            return password
    password = secrets.token_urlsafe(12)
    with os.fdopen(os.open(PASSWORD, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(password + "\n")
    return password


def running() -> int | None:
    """Return the process id of the demo's supervisor, if it runs."""
    if not (BIN / "supervisorctl").is_file():
        return None
    try:
        return int(inside("supervisorctl", *SUPERVISOR, "pid"))
    except (Failed, ValueError):
        return None


def stop() -> bool:
    """Stop web server and scheduler; return False when nothing ran."""
    pid = running()
    if pid is None:
        return False
    inside("supervisorctl", *SUPERVISOR, "shutdown")
    deadline = time.monotonic() + STOP_SECONDS
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    raise Failed(f"supervisor (process {pid}) has not stopped within {STOP_SECONDS} s.")


def inside(program: str, *arguments: str, **extra: str) -> str:
    """Run a program of the project's own environment in the project's folder."""
    return run(BIN / program, *arguments, cwd=PROJECT, **extra)


@contextmanager
def alone() -> Iterator[None]:
    """Refuse to run beside another `make demo` or `make stop` in this folder."""
    DEMO.mkdir(parents=True, exist_ok=True)
    with (DEMO / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Failed("Another `make demo` or `make stop` is at work here; wait for it to end.") from None
        yield


def main(arguments: list[str]) -> int:
    """Run the demo or stop it; return the exit code."""
    try:
        with alone():
            if arguments == ["stop"]:
                print("Stopped." if stop() else "The demo is not running.")
            else:
                demo()
    except Failed as failure:
        print(f"\nERROR: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "\nInterrupted. `make demo` goes on from here, `make stop` stops what is running.",
            file=sys.stderr,
        )
        return 130
    return 0


if __name__ == "__main__":
    if sys.version_info < (3, 11):  # noqa: UP036 - people run this file first
        sys.exit(
            f"Python 3.11 or newer is needed, this is {sys.version.split()[0]}: make demo PYTHON=python3.13"
        )
    sys.exit(main(sys.argv[1:]))
