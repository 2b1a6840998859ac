"""One database and several scheduler processes of a baked project, with verbs for what befalls them.

    with Cluster(project, folder, PostgreSQL) as cluster:
        cluster.start()
        active = cluster.active()
        active.freeze()
        wait_until(lambda: cluster.active() not in (None, active))
        active.thaw()
        assert cluster.ask("Run.objects.filter(status='Lost!').count()") == 0

Each scheduler reaches a database server through a TCP proxy of its own, so that its network alone
can be cut. The jobs are those of app/load/jobs.py; what they did is in `cluster.trace`. Every fault
is noted in `cluster.events` with the time by this host's clock, for the checker and the report.
"""

import dataclasses
import importlib.util
import json
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from baking import Baked, clean_environment
from faults.deployed import prepare
from servers import Server, wait_until

APP = Path(__file__).resolve().parent / "app"


@dataclasses.dataclass(frozen=True)
class Event:
    """Something that was done, at a time of this host's clock, to a scheduler or the database.

    `what` is a past tense: started, killed, told to stop, ended, frozen, thawed, cut, stalled,
    healed, database down, database up. `pid` is that of the scheduler process, if there was one.
    """

    at: float
    what: str
    name: str
    pid: int | None = None


class Sqlite:
    """A file, where others have a server; it has no network that could be cut."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder / 'db.sqlite3'}"

    def answers(self) -> bool:
        return True

    def remove(self) -> None:
        """Leave the file to whoever made the folder."""


class Scheduler:
    """One place in which a scheduler process runs, again and again; `name` is s1, s2 and so on."""

    def __init__(self, cluster: "Cluster", name: str, **environment: str) -> None:
        """Prepare; `environment` is added to every process that is started here."""
        self.cluster = cluster
        self.name = name
        self.environment = environment
        self.log = cluster.folder / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.is_frozen = False
        self.is_cut_off = False
        self.proxy: Any = None
        self.url = cluster.database.url
        if isinstance(cluster.database, Server):
            self.proxy = load_proxy(cluster.project)("127.0.0.1", cluster.database.host_port)
            self.url = self.url.replace(f"127.0.0.1:{cluster.database.host_port}", self.proxy.address)

    @property
    def pid(self) -> int | None:
        """The process id, of the last process if it has ended."""
        return self.process.pid if self.process else None

    @property
    def is_alive(self) -> bool:
        """Whether there is a process, frozen or not."""
        return self.process is not None and self.process.poll() is None

    def start(self, **environment: str) -> None:
        """Start a process; the log goes on where that of the last one ended."""
        assert not self.is_alive, f"{self.name} is running"
        variables = self.environment | {"DATABASE_URL": self.url} | environment
        with self.log.open("ab") as log:
            self.process = self.cluster.popen(
                "manage.py", "runapscheduler", stdout=log, stderr=subprocess.STDOUT, **variables
            )
        self.is_frozen = False
        self._note("started")

    def kill(self) -> None:
        """SIGKILL; wait for the end."""
        self._signal(signal.SIGKILL, "killed")
        self.wait()

    def terminate(self) -> None:
        """SIGTERM; do not wait for the end."""
        self._signal(signal.SIGTERM, "told to stop")

    def stop(self, timeout: float = 60) -> int:
        """SIGTERM; wait for the end and return the exit code."""
        self.terminate()
        return self.wait(timeout)

    def wait(self, timeout: float = 60) -> int:
        """Wait for the process to end by itself and return the exit code."""
        assert self.process is not None
        code = self.process.wait(timeout)
        self.note_end()
        return code

    def note_end(self) -> None:
        """Write down that the process has ended, once."""
        if all(event.pid != self.pid or event.what != "ended" for event in self.cluster.events):
            self._note("ended")

    def freeze(self) -> None:
        """SIGSTOP: it does nothing, and its connections stay open."""
        self._signal(signal.SIGSTOP, "frozen")
        self.is_frozen = True

    def thaw(self) -> None:
        """SIGCONT: it goes on where it was."""
        self.is_frozen = False
        self._signal(signal.SIGCONT, "thawed")

    def cut(self) -> None:
        """Break its connections to the database (RST) and refuse new ones."""
        self._network("cut")
        self.proxy.leave()

    def stall(self) -> None:
        """Keep its connections to the database and pass nothing on, either way."""
        self._network("stalled")
        self.proxy.stall()

    def heal(self) -> None:
        """End `cut` and `stall`."""
        self.proxy.come_back()
        self.proxy.resume()
        self.is_cut_off = False
        self._note("healed")

    def close(self) -> None:
        """End it for good, however it is."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.proxy is not None:
            self.proxy.close()

    def _network(self, what: str) -> None:
        assert self.proxy is not None, "a file has no network"
        self.is_cut_off = True
        self._note(what)

    def _signal(self, number: signal.Signals, what: str) -> None:
        assert self.process is not None, f"{self.name} was never started"
        self._note(what)
        self.process.send_signal(number)

    def _note(self, what: str) -> None:
        self.cluster.note(what, self.name, self.pid)


class Cluster:
    """A migrated database and its schedulers, all gone at the end of the `with` block."""

    def __init__(
        self,
        project: Baked,
        folder: Path,
        kind: type[Server] | None = None,
        *,
        schedulers: int = 3,
        quick: bool = False,
        jobs: int = 100,
        **environment: str,
    ) -> None:
        """Start the database and migrate it. No scheduler runs before `start`.

        :param project: baked and installed, for this kind of database.
        :param folder: of our own: logs, the trace, the file of SQLite.
        :param kind: PostgreSQL or MariaDB (servers.py), or None for a SQLite file.
        :param quick: leases of 2 s; otherwise production's timings, 10 s.
        :param jobs: how many jobs run each second, beside some others (app/load/jobs.py).
        :param environment: for all schedulers, such as SCHEDULER_SURPLUS, FAULT and FAULT_WHEN.
        """
        self.project = project
        self.folder = folder
        self.trace = folder / "trace"
        self.trace.touch()
        self.events: list[Event] = []
        self._lock = threading.Lock()
        self._operator: subprocess.Popen[str] | None = None
        self.environment = {
            "DJANGO_SETTINGS_MODULE": "load_settings",
            "DJANGO_SECRET_KEY": secrets.token_urlsafe(48),
            "PYTHONPATH": f"{APP}:{prepare(folder)}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "SCHEDULER_HEALTH_ADDRESS": "",
            "SCHEDULER_SURPLUS": "standby",
            "SCHEDULER_THREADS": "20",
            "LOAD_TRACE": str(self.trace),
            "LOAD_JOBS": str(jobs),
            "LOAD_QUICK": "1" if quick else "0",
            **environment,
        }
        self.database: Server | Sqlite = kind() if kind else Sqlite(folder)
        self.schedulers: list[Scheduler] = []
        try:
            wait_until(self.database.answers)
            self.environment["DATABASE_URL"] = self.database.url
            self.project.python("manage.py", "migrate", "-v0", **self.environment)
            self.schedulers = [Scheduler(self, f"s{number + 1}") for number in range(schedulers)]
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every process and remove the database."""
        for one in self.schedulers:
            one.close()
        self._end_operator()
        self.database.remove()

    # --- Schedulers ------------------------------------------------------------------------------

    def start(self) -> None:
        """Start those schedulers that do not run, and wait until one is active."""
        for one in self.schedulers:
            if not one.is_alive:
                one.start()
        wait_until(lambda: self.active() is not None)

    def active(self) -> Scheduler | None:
        """Return the scheduler that holds a valid lease by the database's clock, if any."""
        pid = self.ask(
            "Instance.objects.filter(pk__in=Lease.objects.filter(expires_at__gt=now())"
            ".values('holder')).values_list('pid', flat=True).first()"
        )
        return next((one for one in self.schedulers if one.pid == pid and pid is not None), None)

    # --- The database ----------------------------------------------------------------------------

    def database_down(self, how: signal.Signals) -> None:
        """End the server by a signal: PostgreSQL knows SIGINT (fast) and SIGQUIT (immediate)."""
        assert isinstance(self.database, Server)
        self.note("database down", "database")
        self.database.go(how)

    def database_up(self) -> None:
        """Start the server again and return when it answers."""
        assert isinstance(self.database, Server)
        self.database.come_back()
        self.note("database up", "database")

    def ask(self, expression: str) -> Any:
        """Return what a Python expression gives in a process of the project, with its models.

        Names: Job, Run, Lease, Instance (models), F, now() (the database's time), sql(query).
        The result comes as JSON, times as ISO text. It bypasses the proxies.

        :raises RuntimeError: with the error's text, if the expression raised.
        """
        with self._lock:
            if self._operator is None or self._operator.poll() is not None:
                self._operator = self.popen(
                    str(APP / "operator_process.py"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
            assert self._operator.stdin
            assert self._operator.stdout
            self._operator.stdin.write(json.dumps(expression) + "\n")
            self._operator.stdin.flush()
            answer = json.loads(self._operator.stdout.readline())
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["value"]

    def is_signed_anew(self) -> bool:
        """Whether the present secret key alone has signed every job; False if nobody can tell now."""
        try:
            return bool(self.ask("signed_by_others()") == 0)
        except RuntimeError:
            return False

    def query(self, statement: str) -> list[list[Any]]:
        """Return the rows of a statement in SQL."""
        rows: list[list[Any]] = self.ask(f"sql({statement!r})")
        return rows

    def forget_operator(self) -> None:
        """Have the next question answered by a process with the present environment."""
        with self._lock:
            self._end_operator()
            self._operator = None

    # --- How it works ----------------------------------------------------------------------------

    def popen(self, *arguments: str, **options: Any) -> Any:
        """Start the project's Python in its folder; upper-case options are environment variables."""
        variables = self.environment | {k: options.pop(k) for k in list(options) if k.isupper()}
        return subprocess.Popen(
            [self.project.interpreter, *arguments],
            cwd=self.project.path,
            env=clean_environment(**variables),
            # Ctrl-C at the terminal is for us: we end them.
            start_new_session=True,
            **({"stdin": subprocess.DEVNULL} | options),
        )

    def note(self, what: str, name: str, pid: int | None = None) -> None:
        """Write an event down, now."""
        self.events.append(Event(time.time(), what, name, pid))

    def _end_operator(self) -> None:
        if self._operator is not None:
            self._operator.kill()
            self._operator.communicate()


def load_proxy(project: Baked) -> Callable[[str, int], Any]:
    """Return the class of the TCP proxy that the project's own tests use."""
    name = "project_proxy"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, project.path / "jobstore" / "tests" / "proxy.py")
        assert spec
        assert spec.loader
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    proxy: Callable[[str, int], Any] = sys.modules[name].Proxy
    return proxy


def memory_and_threads(pid: int) -> tuple[float, int] | None:
    """Return the resident memory in MB and the number of threads of a process, None if it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    if "VmRSS" not in fields:
        return None
    return int(fields["VmRSS"].split()[0]) / 1024, int(fields["Threads"])


def is_stopped(pid: int) -> bool:
    """Return whether a process is stopped by a signal, its own included."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False
