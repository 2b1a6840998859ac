"""Database servers of our own, each in a container that goes with the tests."""

import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from layers import needs
from stacks import free_port


@contextmanager
def server(
    port: int, *options: str, image: tuple[str, ...], ready: tuple[str, ...]
) -> Iterator[tuple[str, str]]:
    """Run a database server as long as the block lasts; yield its container and its host and port."""
    needs("docker")
    container = docker("run", "--detach", "--rm", "--publish", f"127.0.0.1::{port}", *options, *image)
    try:
        wait_until(lambda: answers("exec", container, *ready))
        yield container, docker("port", container, f"{port}/tcp").splitlines()[0]
    finally:
        docker("rm", "--force", "--volumes", container)


def docker(*arguments: str) -> str:
    """Run docker, which must succeed, and return what it says."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def answers(*arguments: str) -> bool:
    """Return whether docker succeeds."""
    return subprocess.run(["docker", *arguments], capture_output=True, timeout=60).returncode == 0


def wait_until(condition: Callable[[], bool], timeout: float = 60) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not so within {timeout} s"
        time.sleep(0.2)


class Server:
    """A database server whose data and port outlive its restarts."""

    port = 0
    image: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    # What a client says first, and where in the answer to it is what.
    hello = b""
    welcome: tuple[int, bytes] = (0, b"")
    url = ""
    client: tuple[str, ...] = ()
    now = ""

    def __init__(self) -> None:
        self.password = secrets.token_urlsafe(16)
        self.host_port = free_port()
        options = [option.format(password=self.password) for option in self.options]
        publish = f"127.0.0.1:{self.host_port}:{self.port}"
        self.container = docker("run", "--detach", "--publish", publish, *options, *self.image)
        self.url = self.url.format(password=self.password, place=f"127.0.0.1:{self.host_port}")

    def answers(self) -> bool:
        """Return whether it serves whoever comes over the network.

        While their images prepare a folder, servers listen on their socket alone. This asks often, and
        a process in the container for each time would keep the processor from the tests.
        """
        place, right = self.welcome
        try:
            with socket.create_connection(("127.0.0.1", self.host_port), timeout=5) as one:
                one.sendall(self.hello)
                said = one.recv(64)
        except OSError:
            return False
        return said[place : place + 1] == right

    def remove(self) -> None:
        """Remove it with its data."""
        docker("rm", "--force", "--volumes", self.container)

    def ask(self, question: str) -> list[str]:
        """Return the lines that a question in SQL is answered with."""
        client = [part.format(password=self.password) for part in self.client]
        return docker("exec", self.container, *client, question).splitlines()

    def go(self, how: signal.Signals) -> None:
        """End with this signal."""
        docker("kill", "--signal", how.name, self.container)
        docker("wait", self.container)

    def come_back(self) -> str:
        """Start again; return the server's time when it answers."""
        docker("start", self.container)
        deadline = time.monotonic() + 60
        while not self.answers():
            assert time.monotonic() < deadline, docker("logs", self.container)
            time.sleep(0.05)
        return self.ask(f"SELECT {self.now}")[0]


class PostgreSQL(Server):
    port = 5432
    image: tuple[str, ...] = ("postgres:17-trixie",)
    options = ("--env", "POSTGRES_PASSWORD={password}", "--env", "POSTGRES_DB=app")
    # A protocol of version 3 and a user, as pg_isready says it; the answer asks for the password. It
    # would be an error while the server recovers.
    hello = b"\0\0\0\x17\0\x03\0\0user\0postgres\0\0"
    welcome = (0, b"R")
    url = "postgres://postgres:{password}@{place}/app"
    client = ("psql", "-U", "postgres", "-d", "app", "-tAc")
    now = "clock_timestamp()"


class MariaDB(Server):
    port = 3306
    image = ("mariadb:11.8",)
    options = ("--env", "MARIADB_ROOT_PASSWORD={password}", "--env", "MARIADB_DATABASE=app")
    # It speaks first, in version 10 of its protocol, or of an error.
    welcome = (4, b"\x0a")
    url = "mysql://root:{password}@{place}/app"
    client = ("mariadb", "-uroot", "-p{password}", "-N", "-D", "app", "-e")
    now = "utc_timestamp(6)"
