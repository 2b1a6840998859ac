"""Which outside tools a test needs, and what happens where one is missing."""

import functools
import os
import shutil
import subprocess

import pytest


def answers(*command: str) -> bool:
    """Return whether a command exists and succeeds within a minute."""
    if shutil.which(command[0]) is None:
        return False
    try:
        return subprocess.run(command, capture_output=True, timeout=60).returncode == 0
    except subprocess.TimeoutExpired:
        return False


PROBES = {
    "docker": lambda: answers("docker", "info") and answers("docker", "compose", "version"),
    "git": lambda: answers("git", "--version"),
    "make": lambda: answers("make", "--version"),
    # What the MariaDB driver is built with.
    "libmariadb": lambda: answers("pkg-config", "--exists", "libmariadb"),
    "chromium": lambda: answers("chromium", "--version"),
    "npm": lambda: answers("npm", "--version"),
    # Builds the wall clock that is wrong.
    "cc": lambda: answers("cc", "--version"),
    # Root, and the kernel's packet filter in a network of one's own.
    "netfilter": lambda: answers("unshare", "--net", "iptables", "--append", "OUTPUT", "--jump", "DROP"),
    "nginx": lambda: answers("nginx", "-v") and answers("openssl", "version"),
    "pgbouncer": lambda: answers("pgbouncer", "--version"),
}


@functools.cache
def present(tool: str) -> bool:
    """Return whether a tool of PROBES works here; asked once a session."""
    return PROBES[tool]()


def needs(tool: str) -> None:
    """Skip the test that asks when the tool is missing.

    With REQUIRE_ALL_LAYERS=1 a missing tool fails the test instead, so that continuous
    integration cannot turn green by skipping.
    """
    if present(tool):
        return
    if os.environ.get("REQUIRE_ALL_LAYERS") == "1":
        pytest.fail(f"{tool} does not work here, and REQUIRE_ALL_LAYERS=1 allows no skipping", pytrace=False)
    pytest.skip(f"{tool} does not work here")
