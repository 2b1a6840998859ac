"""The jobs' functions, which move to the new project with them."""

import os
import time
from pathlib import Path


def note(text: str) -> None:
    """Leave a trace, after long enough for the old scheduler to have written that it began."""
    time.sleep(0.3)
    with Path(os.environ["SHOP_TRACE"]).open("a", encoding="utf-8") as trace:
        trace.write(f"{text}\n")


def fail() -> None:
    """Raise what has characters of its own."""
    time.sleep(0.3)
    raise ValueError("kaputt: ✗")


def wait(seconds: float) -> None:
    """Take some time."""
    time.sleep(seconds)


class Greeter:
    """Has a method that is a job."""

    def __init__(self, name: str) -> None:
        """Remember whom to greet."""
        self.name = name

    def greet(self, greeting: str) -> None:
        """Greet in the trace."""
        note(f"{greeting} {self.name}")
