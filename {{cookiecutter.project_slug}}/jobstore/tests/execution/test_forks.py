"""Signals around a fork: a child obeys those that reach it at once, and nobody's stay blocked."""

import subprocess
import sys

from jobstore.tests.processes import ROOT

# What was registered before the store's own part runs before it in the child.
PROGRAM = """
import os, signal, sys
from jobstore import forks

def stop_the_scheduler(*args):
    pass

def blocked():
    return signal.pthread_sigmask(signal.SIG_BLOCK, ())

signal.signal(signal.SIGTERM, stop_the_scheduler)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
if "early" in sys.argv:
    os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGTERM))
forks.guard_handler(stop_the_scheduler)
pid = os.fork()
if not pid:
    os._exit(0 if blocked() == {signal.SIGUSR1} else 1)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print(code, sorted(one.name for one in blocked()))
"""


def fork(*arguments: str) -> str:
    """Return how the child ended, and which signals its parent blocks then."""
    command = [sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert not done.stderr
    return done.stdout.strip()


def test_a_signal_that_reaches_a_child_at_once_ends_it() -> None:
    assert fork("early").startswith("-15 ")


def test_parent_and_child_block_what_they_blocked_before() -> None:
    assert fork() == "0 ['SIGUSR1']"
