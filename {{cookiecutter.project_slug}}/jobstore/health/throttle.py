"""Keeps those who ask a question often, or all at once, from being a load to whoever answers it."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Throttled(Generic[T]):
    """A question that is put at most once a second, by one thread at a time.

    Everybody else gets the last answer. Threads wait only where there is no recent one, and then
    `patience` seconds at the most.
    """

    def __init__(
        self, ask: Callable[[], T], otherwise: T, *, keep: float = 1.0, patience: float = 3.0
    ) -> None:
        """Prepare; nothing is asked before the first call.

        :param ask: puts the question, and returns the answer.
        :param otherwise: what is answered if `ask` takes longer than `patience`.
        :param keep: seconds for which an answer is good.
        :param patience: seconds after which nobody waits any more.
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
        """Return the best that is known while another thread asks."""
        left = since + self._patience - time.monotonic()
        if not self._is_younger_than(self._keep + self._patience):
            self._changed.wait_for(lambda: self._is_younger_than(self._keep), max(left, 0.0))
        elif left > 0:
            return self._answers[0]
        return self._answers[0] if self._is_younger_than(self._keep) else self._otherwise

    def _is_younger_than(self, seconds: float) -> bool:
        return bool(self._answers) and time.monotonic() - self._answered_at < seconds
