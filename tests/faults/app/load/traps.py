"""Traps: a scheduler process freezes (SIGSTOP) or kills (SIGKILL) itself at a chosen moment, once.

FAULT is `stop-MOMENT` or `die-MOMENT`, with a moment of MOMENTS. The trap snaps when the process
comes by and the file that FAULT_WHEN names exists; it takes the file away, so that of several
processes with the same trap one is caught, and a thawed one goes on.
"""

import functools
import importlib
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

# The moment, and where it is: module of the job store, name, and on which side of the call.
MOMENTS = {
    # The claim is decided, and nothing of it has been sent.
    "before-claim": ("claims.claim", "claim", "before"),
    # The lease is locked and the transaction open: claims on MariaDB and SQLite, and requested
    # runs everywhere. (On PostgreSQL a claim is one statement, which has no inside.)
    "inside-claim": ("claims.claim", "assert_holder", "after"),
    # Committed, and no job has been started.
    "after-claim": ("claims.claim", "claim", "after"),
    "before-renew": ("leadership.lease", "renew", "before"),
    "after-renew": ("leadership.lease", "renew", "after"),
    "after-acquire": ("leadership.lease", "acquire", "after"),
    "before-release": ("leadership.lease", "release", "before"),
    # Jobs have run, and their results are not written.
    "before-write": ("history.recorder", "write", "before"),
    # Results are committed, and the recorder does not know yet.
    "after-write": ("history.recorder", "write", "after"),
    # Runs of dead processes are about to be, or have been, declared lost.
    "before-lost": ("leadership.losses", "mark_lost", "before"),
    "after-lost": ("leadership.losses", "mark_lost", "after"),
}
SIGNALS = {"stop": signal.SIGSTOP, "die": signal.SIGKILL}


def set_from_environment() -> None:
    """Set the trap that FAULT describes; raise KeyError if there is no such moment."""
    if fault := os.environ.get("FAULT"):
        action, _, moment = fault.partition("-")
        module, name, side = MOMENTS[moment]
        catch(importlib.import_module(f"jobstore.{module}"), name, side, SIGNALS[action])


def catch(module: Any, name: str, side: str, number: signal.Signals) -> None:
    """Replace a function by itself with a trap before or after it."""
    original: Callable[..., Any] = getattr(module, name)

    @functools.wraps(original)
    def trapped(*args: Any, **kwargs: Any) -> Any:
        if side == "before" and would_do_something(*args[:1]):
            snap(number)
        result = original(*args, **kwargs)
        if side == "after" and did_something(result):
            snap(number)
        return result

    setattr(module, name, trapped)


def would_do_something(rows: Any = None) -> bool:
    """Tell whether a call has anything to claim and start, to write or to mark."""
    return not isinstance(rows, list) or any(getattr(row, "start", True) for row in rows)


def did_something(result: Any) -> bool:
    """Tell whether there was a claim, a win or a loss: a call that changed nothing is no moment."""
    return bool(result.term) if hasattr(result, "term") else result not in ([], 0)


def snap(number: signal.Signals) -> None:
    """Send this process a signal if it is time, and only the first that takes the file away."""
    try:
        Path(os.environ["FAULT_WHEN"]).unlink()
    except FileNotFoundError:
        return
    # To this very thread: another one would take a moment to stop it, in which it would go on.
    signal.pthread_kill(threading.get_ident(), number)
