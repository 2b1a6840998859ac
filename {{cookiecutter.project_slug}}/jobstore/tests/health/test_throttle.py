"""A question that many ask is put to the database once."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from jobstore.health.throttle import Throttled


def test_who_asks_soon_after_gets_the_same_answer() -> None:
    asked: list[int] = []
    question = Throttled(lambda: asked.append(1) or len(asked), 0, keep=0.2)  # type: ignore[func-returns-value]
    assert [question(), question()] == [1, 1]
    time.sleep(0.25)
    assert question() == 2


def test_many_at_once_put_the_question_once() -> None:
    asked: list[int] = []

    def ask() -> str:
        asked.append(1)
        time.sleep(0.2)
        return "well"

    question = Throttled(ask, "late")
    with ThreadPoolExecutor(20) as threads:
        answers = {future.result() for future in [threads.submit(question) for _ in range(20)]}
    assert answers == {"well"}
    assert len(asked) == 1


def test_nobody_waits_longer_than_patience() -> None:
    end = threading.Event()
    question = Throttled(lambda: "well" if end.wait(10) else "ill", "late", patience=0.2)
    with ThreadPoolExecutor(9) as threads:
        first = threads.submit(question)
        time.sleep(0.05)
        began = time.monotonic()
        others = [threads.submit(question) for _ in range(8)]
        assert {one.result() for one in others} == {"late"}
        assert time.monotonic() - began < 5
        end.set()
        assert first.result() == "well"


def test_while_one_asks_the_others_get_the_last_answer_at_once() -> None:
    end = threading.Event()
    end.set()
    question = Throttled(lambda: end.wait(10), False, keep=0.1, patience=5)
    assert question() is True
    end.clear()
    time.sleep(0.15)
    with ThreadPoolExecutor(1) as threads:
        asking = threads.submit(question)
        time.sleep(0.05)
        began = time.monotonic()
        assert question() is True
        assert time.monotonic() - began < 4
        end.set()
        asking.result()


def test_an_answer_of_long_ago_is_not_given() -> None:
    answers = iter(["old", "new"])

    def ask() -> str:
        time.sleep(0.1)
        return next(answers)

    question = Throttled(ask, "late", keep=0.05, patience=2)
    assert question() == "old"
    time.sleep(2.2)
    with ThreadPoolExecutor(2) as threads:
        both = [threads.submit(question) for _ in range(2)]
        assert [one.result() for one in both] == ["new", "new"]


def test_a_question_that_raised_is_put_again() -> None:
    def ask() -> str:
        asked.append(1)
        if len(asked) == 1:
            raise OSError("gone")
        return "well"

    asked: list[int] = []
    question = Throttled(ask, "late")
    with pytest.raises(OSError, match="gone"):
        question()
    assert question() == "well"
