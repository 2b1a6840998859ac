"""One host without Docker: supervisor keeps the web server and the scheduler running."""

import contextlib
import functools
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from baking import Baked, clean_environment
from documents import Block
from stacks import Browser, free_port

pytestmark = [pytest.mark.supervisor, pytest.mark.timeout(180)]

T = TypeVar("T")

PASSWORD = "correct-horse-7"

Documented = Callable[[str, str], Block]


class Supervisor:
    """supervisord for one baked project, started from a folder that is not the project's."""

    def __init__(self, project: Baked) -> None:
        """Prepare; nothing is started."""
        self.path = project.path
        self.process: subprocess.Popen[bytes] | None = None
        self.web = f"127.0.0.1:{free_port()}"
        self.console = self.path / "console.txt"
        # The project's environment is not in PATH: nobody activated it.
        self.environment = clean_environment(
            PATH="/usr/bin:/bin", WEB_BIND=self.web, SCHEDULER_HEALTH_ADDRESS=f"127.0.0.1:{free_port()}"
        )

    def command(self, name: str, *arguments: str) -> list[str]:
        """Return the command line of supervisord or supervisorctl."""
        configuration = self.path / "deploy" / "supervisor" / "supervisord.conf"
        return [str(self.path / ".venv" / "bin" / name), "-c", str(configuration), *arguments]

    def manage(self, *arguments: str) -> None:
        """Run manage.py of the project."""
        command = [".venv/bin/python", "manage.py", *arguments]
        subprocess.run(command, cwd=self.path, env=self.environment, check=True, capture_output=True)

    def start(self) -> None:
        """Start in the foreground, and return when commands are answered."""
        with self.console.open("ab") as console:
            command = self.command("supervisord", "-n")
            self.process = subprocess.Popen(
                command, cwd="/", env=self.environment, stdout=console, stderr=console
            )
        self.wait_for(lambda: self.control("pid").strip().isdigit(), 20)

    def start_in_background(self) -> None:
        """Start as a daemon."""
        subprocess.run(self.command("supervisord"), cwd="/", env=self.environment, check=True, timeout=30)

    def stop(self) -> None:
        """Shut everything down, and see to it that nothing is left."""
        self.control("shutdown")
        if self.process:
            assert self.process.wait(60) == 0
            self.process = None
        self.wait_for(lambda: not self.processes() and not self.marks(), 60)

    def marks(self) -> list[Path]:
        """Return the files by which a running supervisord is known: its socket and its pid."""
        return list((self.path / "var" / "run").glob("supervisor*"))

    def control(self, *arguments: str) -> str:
        """Return what supervisorctl answers."""
        command = self.command("supervisorctl", *arguments)
        return subprocess.run(
            command, cwd="/", env=self.environment, capture_output=True, text=True, timeout=90
        ).stdout

    def state(self, program: str) -> str:
        """Return RUNNING, BACKOFF, STOPPED and so on."""
        return [*self.control("status", program).split(), "", ""][1]

    def is_running(self, program: str) -> bool:
        """Return whether the program has lived for longer than startsecs."""
        return self.state(program) == "RUNNING"

    def pid(self, program: str) -> int:
        """Return the process id of a running program."""
        return int(self.control("pid", program))

    def runs(self) -> int:
        """Return how often the sample job has run, as the database says."""
        query = (
            "SELECT count(*) FROM jobstore_djangojobexecution WHERE job_id='heartbeat' AND status='Executed'"
        )
        with contextlib.closing(sqlite3.connect(self.path / "var" / "db.sqlite3", timeout=20)) as database:
            return int(database.execute(query).fetchone()[0])

    def log(self, name: str) -> str:
        """Return the text of a log file, which is empty before the first line."""
        file = self.path / "var" / "log" / f"{name}.log"
        return file.read_text() if file.exists() else ""

    def processes(self) -> list[str]:
        """Return every process that runs in the project's folder."""
        here = []
        for link in Path("/proc").glob("[0-9]*/cwd"):
            with contextlib.suppress(OSError):
                if link.readlink() == self.path:
                    here.append(link.parent.name)
        return here

    def wait_for(self, question: Callable[[], T | None], seconds: float) -> T:
        """Ask again until the answer is true, and return it."""
        deadline = time.monotonic() + seconds
        while not (answer := question()):
            if time.monotonic() > deadline:
                pytest.fail(
                    f"After {seconds:g} s it was still {answer!r}.\n{self.console.read_text()[-3000:]}"
                )
            time.sleep(0.3)
        return answer


NewSupervisor = Callable[[], contextlib.AbstractContextManager[Supervisor]]


@pytest.fixture(scope="module")
def new_supervisor(bake: Callable[..., Baked], installed: Baked) -> NewSupervisor:
    """Return a function that provides a supervisor of a new project, and stops it in the end."""

    @contextlib.contextmanager
    def new_supervisor() -> Iterator[Supervisor]:
        project = bake(database="sqlite", proxy="none", ci="none")
        # A path with all that people put into one; hooks say what supervisor cannot read.
        odd = project.path.parent / "it's; ü #1 $x"
        odd.mkdir()
        project = Baked(project.path.rename(odd / project.path.name))
        (project.path / ".venv").symlink_to(installed.path / ".venv")
        supervisor = Supervisor(project)
        try:
            yield supervisor
        finally:
            supervisor.stop()

    return new_supervisor


@pytest.fixture(scope="module")
def shared_supervisor(new_supervisor: NewSupervisor) -> Iterator[Supervisor]:
    """Provide the supervisor of a project with tables and static files."""
    with new_supervisor() as supervisor:
        supervisor.manage("migrate", "--no-input")
        supervisor.manage("collectstatic", "--no-input")
        yield supervisor


@pytest.fixture
def supervisor(shared_supervisor: Supervisor) -> Supervisor:
    """Return the supervisor, in the foreground and with both programs running."""
    if not shared_supervisor.processes():
        shared_supervisor.start()
    shared_supervisor.control("start", "all")
    for program in ("web", "scheduler"):
        shared_supervisor.wait_for(functools.partial(shared_supervisor.is_running, program), 30)
    return shared_supervisor


def test_web_and_scheduler_do_their_work(supervisor: Supervisor) -> None:
    supervisor.wait_for(supervisor.runs, 30)
    with urllib.request.urlopen(f"http://{supervisor.web}/admin/login/", timeout=10) as answer:
        assert answer.status == 200


def test_the_commands_of_the_pages_on_operating_find_nothing_wrong(
    supervisor: Supervisor, documented: Documented
) -> None:
    path = f"{supervisor.path / '.venv' / 'bin'}:{supervisor.environment['PATH']}"
    environment = supervisor.environment | {"PATH": path}
    supervisor.wait_for(supervisor.runs, 30)
    asked = documented("project/docs/operating.md", "python jobstore/probe.py ready")
    assert "active" in asked.run(supervisor.path, environment)
    looked = documented("project/docs/when-a-job-does-not-run.md", "python manage.py scheduler_status")
    assert "no issues" in looked.run(supervisor.path, environment)


def test_killed_scheduler_is_started_again_and_runs_go_on(supervisor: Supervisor) -> None:
    supervisor.wait_for(supervisor.runs, 30)
    killed = supervisor.pid("scheduler")
    os.kill(killed, signal.SIGKILL)
    supervisor.wait_for(lambda: supervisor.pid("scheduler") not in (0, killed), 20)
    before = supervisor.runs()
    supervisor.wait_for(lambda: supervisor.runs() > before, 60)


def test_killed_web_server_is_started_again(supervisor: Supervisor) -> None:
    killed = supervisor.pid("web")
    os.kill(killed, signal.SIGKILL)
    supervisor.wait_for(lambda: supervisor.pid("web") not in (0, killed), 20)
    supervisor.wait_for(lambda: supervisor.is_running("web"), 30)


def test_scheduler_stops_cleanly(supervisor: Supervisor) -> None:
    assert "scheduler: stopped" in supervisor.control("stop", "scheduler")
    assert "stopped: scheduler (exit status 0)" in supervisor.log("supervisord")
    assert supervisor.log("scheduler").rstrip().endswith("Stopped.")
    assert supervisor.is_running("web")


def test_restart_brings_a_new_process(supervisor: Supervisor) -> None:
    before = supervisor.pid("scheduler")
    supervisor.control("restart", "scheduler")
    assert supervisor.pid("scheduler") != before
    assert supervisor.is_running("scheduler")


def test_output_goes_to_files_and_to_the_console(supervisor: Supervisor) -> None:
    supervisor.wait_for(supervisor.runs, 30)
    assert "jobs.heartbeat" in supervisor.log("scheduler")
    assert "Listening at" in supervisor.log("web")
    supervisor.wait_for(lambda: "scheduler | " in supervisor.console.read_text(), 10)
    assert "web       | " in supervisor.console.read_text()


def test_nobody_else_can_command_it(supervisor: Supervisor) -> None:
    assert (supervisor.path / "var" / "run" / "supervisor.sock").stat().st_mode & 0o777 == 0o700


def test_shutdown_leaves_nothing_behind(supervisor: Supervisor) -> None:
    # gunicorn and its two workers, the scheduler.
    assert len(supervisor.processes()) >= 4
    assert len(supervisor.marks()) == 2
    supervisor.stop()
    assert supervisor.processes() == []
    assert supervisor.marks() == []


def test_background_is_the_default(shared_supervisor: Supervisor) -> None:
    shared_supervisor.stop()
    before = shared_supervisor.runs()
    # It returns at once, and the programs keep running.
    shared_supervisor.start_in_background()
    shared_supervisor.wait_for(lambda: shared_supervisor.runs() > before, 40)
    shared_supervisor.stop()


def test_scheduler_that_cannot_start_is_tried_again_until_it_can(new_supervisor: NewSupervisor) -> None:
    with new_supervisor() as unmigrated:
        unmigrated.start()
        unmigrated.wait_for(lambda: unmigrated.log("supervisord").count("spawned: 'scheduler'") >= 3, 60)
        assert "migrate" in unmigrated.log("scheduler")
        unmigrated.manage("migrate", "--no-input")
        unmigrated.wait_for(lambda: unmigrated.is_running("scheduler"), 60)


def probe(supervisor: Supervisor) -> subprocess.CompletedProcess[str]:
    """Ask the project's scheduler whether it is ready, as a monitor on this host does."""
    return subprocess.run(
        [str(supervisor.path / ".venv" / "bin" / "python"), "jobstore/probe.py", "ready"],
        cwd=supervisor.path,
        env=supervisor.environment,
        capture_output=True,
        text=True,
    )


def test_another_project_on_the_host_does_not_answer_for_this_one(
    supervisor: Supervisor, new_supervisor: NewSupervisor
) -> None:
    address = supervisor.environment["SCHEDULER_HEALTH_ADDRESS"]
    supervisor.wait_for(lambda: probe(supervisor).returncode == 0, 30)
    with new_supervisor() as second:
        second.environment["SCHEDULER_HEALTH_ADDRESS"] = address
        second.manage("migrate", "--no-input")
        second.start()
        # Its jobs run all the same, and everybody can see what is wrong.
        second.wait_for(second.runs, 60)
        answer = probe(second)
        assert answer.returncode == 1
        assert "is not this project" in answer.stdout
        assert "cannot be used" in second.log("scheduler")
    assert probe(supervisor).returncode == 0


def test_the_readme_s_commands_start_a_fresh_project_without_docker(
    bake: Callable[..., Baked], documented: Documented
) -> None:
    supervisor = Supervisor(bake(database="sqlite"))
    # The README's python3 is the one of these tests.
    supervisor.environment["PATH"] = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    answers = [
        ("Username", "ada"),
        ("Email", ""),
        ("Password: ", PASSWORD),
        (r"Password \(again\): ", PASSWORD),
    ]
    block = documented("project/README.md", "python3 -m venv .venv")
    try:
        said = block.run(supervisor.path, supervisor.environment, answers=answers)
        assert "Superuser created successfully." in said
        assert re.search(r"^scheduler +(STARTING|RUNNING)", said, re.M)
        supervisor.wait_for(supervisor.runs, 60)
        page = Browser().login(f"http://{supervisor.web}/admin/login/?next=/admin/", "ada", PASSWORD)
        assert "Log out" in page
    finally:
        supervisor.stop()
