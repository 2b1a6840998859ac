"""Database servers of our own, each in a container that goes with the tests."""

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from layers import needs


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
