"""Scheduler and web processes that tests start, stop, freeze and kill."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from django.db import connection, connections

ROOT = Path(__file__).resolve().parents[2]
SCHEMES = {"postgresql": "postgres", "mysql": "mysql"}


class SchedulerCommand:
    """`manage.py runapscheduler` in a process of its own, on the test's database."""

    def __init__(self, log: Path, *arguments: str, **environment: str) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "runapscheduler", *arguments],
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.everything(**environment),
            )

    @classmethod
    def everything(cls, **environment: str) -> dict[str, str]:
        """Return the environment of a process that works on the test's database."""
        return {**os.environ, **cls.environment(), **environment}

    @staticmethod
    def environment() -> dict[str, str]:
        return {
            "DATABASE_URL": database_url(),
            "DJANGO_SETTINGS_MODULE": "jobstore.tests.jobs_settings",
            "SCHEDULER_HEALTH_ADDRESS": "",
        }

    def is_active(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return "Active:" in self.log.read_text()

    def kill(self) -> None:
        """End it at once, if it has not ended."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


class WebCommand:
    """gunicorn with the project's own configuration, on the test's database."""

    def __init__(self, log: Path, **environment: str) -> None:
        self.log = log
        self.port = free_port()
        variables = {
            "DATABASE_URL": database_url(),
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "WEB_BIND": f"127.0.0.1:{self.port}",
        }
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gunicorn", "config.wsgi", "-c", "config/gunicorn.py"],
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | variables | environment,
            )

    def is_up(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        try:
            return get(self.port, "/health/live")[0] == 200
        except OSError:
            return False

    def end(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


def get(port: int, path: str, timeout: float = 10) -> tuple[int, bytes, float]:
    """Return status, body and seconds of an anonymous GET; raises OSError if there is no answer."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as one:
        one.sendall(f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode())
        reply = b""
        while data := one.recv(65536):
            reply += data
            if time.monotonic() - began > timeout:
                raise TimeoutError(reply)
    head, _, body = reply.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/"):
        raise ConnectionError(f"no answer: {reply!r}")
    return int(head.split()[1]), body, time.monotonic() - began


def database_url() -> str:
    """Return the address of the test's database for another process."""
    database = connections["default"].settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{database['NAME']}"
    place = f"{database['HOST']}:{database['PORT']}/{database['NAME']}"
    return f"{SCHEMES[connection.vendor]}://{database['USER']}:{database['PASSWORD']}@{place}"


def unreachable_url(folder: Path) -> str:
    """Return the address of a database of the same kind that does not answer."""
    if connection.vendor == "sqlite":
        return f"sqlite:///{folder}"
    return f"{SCHEMES[connection.vendor]}://nobody:nothing@127.0.0.1:1/none"
