"""Functions and deciders that tests of operations use, found by their names."""

from typing import Any

from jobstore.tests import callables


def greet(name: str, times: int = 1, *, loudly: bool = False) -> str:
    """Remember a greeting."""
    text = f"{name} x{times}{'!' if loudly else ''}"
    callables.calls.append(text)
    return text


def log_in(user: str, password: str, options: dict[str, Any] | None = None) -> None:
    """Take something secret."""


def only_mine(user: Any, verb: str, job: Any) -> bool:
    """Let people do something with jobs whose ids begin with "mine"."""
    return bool(job.pk.startswith("mine"))


def broken(user: Any, verb: str, job: Any) -> bool:
    """Fail to decide."""
    raise RuntimeError("no idea")
