"""Limits how often a question is asked, however many clients ask and however often."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Throttled(Generic[T]):
    """A question that is asked at most once a second, by one thread at a time.

    All others get the last answer. A thread waits only if there is no recent answer, and then at
    most `patience` seconds.
    """

    def __init__(
        self, ask: Callable[[], T], otherwise: T, *, keep: float = 1.0, patience: float = 3.0
    ) -> None:
        """Prepare; nothing is asked before the first call.

        :param ask: asks, and returns the answer.
        :param otherwise: the answer if `ask` takes longer than `patience`.
        :param keep: seconds for which an answer is valid.
        :param patience: seconds that a caller waits at most.
        """
        self._ask = ask
        self._otherwise = otherwise
        self._keep = keep
        self._patience = patience
        self._answers: list[T] = []
        self._answered_at = 0.0
        self._asking_since: float | None = None
        self._changed = threading.Condition()

    def __call__(self) -> T:
        """Return the answer. What `ask` raises reaches the thread that asked."""
        with self._changed:
            if self._is_younger_than(self._keep):
                return self._answers[0]
            if self._asking_since is not None:
                return self._meanwhile(self._asking_since)
            self._asking_since = time.monotonic()
        answers: list[T] = []
        try:
            answers.append(self._ask())
            return answers[0]
        finally:
            with self._changed:
                self._asking_since = None
                self._answers, self._answered_at = answers, time.monotonic()
                self._changed.notify_all()

    def _meanwhile(self, since: float) -> T:
        """Return the best known answer while another thread asks."""
        left = since + self._patience - time.monotonic()
        if not self._is_younger_than(self._keep + self._patience):
            self._changed.wait_for(lambda: self._is_younger_than(self._keep), max(left, 0.0))
        elif left > 0:
            return self._answers[0]
        return self._answers[0] if self._is_younger_than(self._keep) else self._otherwise

    def _is_younger_than(self, seconds: float) -> bool:
        return bool(self._answers) and time.monotonic() - self._answered_at < seconds
