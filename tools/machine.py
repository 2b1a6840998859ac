"""Helpers for tools: commands, virtual environments, free ports, and the time that steps take."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Variables that a shell may hold for another project, and that must not reach this one.
FOREIGN = ("DATABASE_", "DJANGO_", "JOB_", "PIP_REQUIRE", "PYTHON", "SCHEDULER_", "WEB_")
FOREIGN_NAMES = ("FORWARDED_ALLOW_IPS", "LOG_LEVEL", "TIME_ZONE", "VIRTUAL_ENV")

NO_VENV = "On Debian and Ubuntu virtual environments need a package of their own: apt install python3-venv"


class Failed(Exception):
    """A step failed; the message is for the person who ran it."""


@contextmanager
def step(title: str) -> Iterator[None]:
    """Print what is being done, and how long it took."""
    started = time.monotonic()
    print(f"  {title:<58}", end="", flush=True)
    try:
        yield
    except BaseException:
        print(" not done")
        raise
    print(f"{time.monotonic() - started:6.1f} s")


def run(*command: str | Path, cwd: Path, **extra: str) -> str:
    """Run a command with `extra` in its environment; return its output.

    :raises Failed: if its exit code is not 0.
    """
    own = {k: v for k, v in os.environ.items() if not k.startswith(FOREIGN) and k not in FOREIGN_NAMES}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**own, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **extra},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    if done.returncode != 0:
        shown = " ".join(map(str, command))
        raise Failed(f"This command ended with {done.returncode}:\n    {shown}\n{indented(done.stdout, 25)}")
    return done.stdout


def install(environment: Path, *locks: Path) -> None:
    """Make a virtual environment with exactly these lock files, unless it exists already.

    :raises Failed: if a command fails.
    """
    digest = fingerprint(*locks)
    # Written last: an environment without it was interrupted, or has other lock files.
    marker = environment / "installed"
    if marker.is_file() and marker.read_text() == digest:
        return
    folder = environment.parent
    try:
        run(sys.executable, "-m", "venv", "--clear", environment, cwd=folder)
    except Failed as failure:
        raise Failed(f"{failure}\n{NO_VENV}") from None
    pip = (environment / "bin" / "python", "-m", "pip", "install", "--quiet", "--require-hashes")
    run(*pip, *(f"--requirement={lock}" for lock in locks), cwd=folder)
    marker.write_text(digest)


def fingerprint(*locks: Path) -> str:
    """Return the content of the marker of an environment with these lock files."""
    content = b"".join(lock.read_bytes() for lock in locks) + sys.version.encode()
    return hashlib.sha256(content).hexdigest()


def free_port(first: int) -> int:
    """Return the first free port from `first` on.

    :raises Failed: if 200 ports in a row are taken.
    """
    for port in range(first, first + 200):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise Failed(f"No port between {first} and {first + 199} is free on 127.0.0.1.")


def tail(log: Path) -> str:
    """Return the end of a log, with its name."""
    text = log.read_text(errors="replace") if log.is_file() else "(nothing)"
    return f"{log}:\n{indented(text, 15)}\n"


def indented(text: str, lines: int) -> str:
    """Return the last lines of a text, indented."""
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])
