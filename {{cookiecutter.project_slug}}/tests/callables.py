"""Functions that the tests use as jobs; a stored job must find its function by name."""

import threading
import time

calls: list[str] = []
release = threading.Event()


def note(text: str = "ran") -> str:
    """Remember the call."""
    calls.append(text)
    return text


def fail(message: str = "broken") -> None:
    """Raise."""
    calls.append("failed")
    raise ValueError(message)


def block() -> None:
    """Run until the test lets go."""
    calls.append("blocked")
    release.wait(20)


def sleep(seconds: float) -> None:
    """Take some time."""
    calls.append("slept")
    time.sleep(seconds)


async def note_later() -> None:
    """Remember the call, from a coroutine."""
    calls.append("awaited")


class Greeter:
    """Has a method that can be a job."""

    def __init__(self, name: str) -> None:
        self.name = name

    def greet(self, greeting: str) -> None:
        """Remember the greeting."""
        calls.append(f"{greeting} {self.name}")


def query() -> None:
    """Use the database."""
    from jobstore.models import DjangoJob

    DjangoJob.objects.count()
