"""Texts of values and exceptions are bounded before anything is copied, and never do harm."""

import collections
import dataclasses
import sys
import threading
import tracemalloc
import types
from collections.abc import Callable
from typing import Any

import pytest

from jobstore.history import bounded, tracebacks
from jobstore.tests import misdeeds
from jobstore.tests.misdeeds import Hostile, HostileError, HostileText


@dataclasses.dataclass
class Report:
    rows: Any
    name: str = "r"
    secret: str = dataclasses.field(default="s", repr=False)


class Plain(dict):  # type: ignore[type-arg]
    """Has no text of its own."""


Pair = collections.namedtuple("Pair", "first second")

SMALL: list[Any] = [
    1,
    -1.5,
    True,
    10**40,
    [1, "x", {2: [3]}],
    (1,),
    (1, 2),
    (),
    {1},
    set(),
    {},
    Plain(a=1),
    Pair(1, [2]),
    Report([1], "x"),
    collections.Counter("aab"),
    ValueError("x", 1),
    ValueError("x"),
    b"abc",
    bytearray(b"abc"),
    {}.keys(),
    collections.deque([1]),
    collections.UserDict(a=1),
    types.SimpleNamespace(a=1),
    range(5),
    object,
]


@pytest.mark.parametrize("value", SMALL, ids=repr)
def test_the_text_of_what_is_small_is_its_repr(value: object) -> None:
    assert bounded.shown(value, 1000) == repr(value)


@pytest.fixture(scope="module")
def huge() -> bytes:
    return b"x" * misdeeds.HUGE


def peak(work: Callable[[], object]) -> int:
    """Return how many bytes of memory something takes at most, beyond what is there."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        work()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


HOLDERS: dict[str, Callable[[bytes], Any]] = {
    "bytes": lambda huge: huge,
    "list": lambda huge: [huge, huge],
    "nested": lambda huge: {"a": [{"b": (huge,)}]},
    "dataclass": lambda huge: Report(huge),
    "named tuple": lambda huge: Pair(huge, huge),
    "exception": lambda huge: KeyError(huge),
    "namespace": lambda huge: types.SimpleNamespace(data=huge),
    "view": lambda huge: {1: huge}.values(),
    "dict of a class": lambda huge: Plain(a=huge),
    "ordered": lambda huge: collections.OrderedDict(a=huge),
    "many": lambda _: range(10**9).__iter__() and dict.fromkeys(range(100_000), "value"),
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_huge_result_is_not_copied(holder: str, huge: bytes) -> None:
    value = HOLDERS[holder](huge)
    assert len(bounded.of_result(value)["result"]) < 1200
    assert peak(lambda: bounded.of_result(value)) < 200_000


def test_a_huge_text_shows_both_ends_and_is_not_copied() -> None:
    value = "start" + "x" * misdeeds.HUGE + "end"
    text = bounded.of_result(value)["result"]
    assert text.startswith("start") and text.endswith("end") and "left out" in text
    assert peak(lambda: bounded.of_result(value)) < 200_000


def test_a_huge_number_is_not_written_out() -> None:
    assert bounded.shown([10**1_000_000], 1000) == "[<an integer of 3321929 bits>]"


def test_what_contains_itself_ends() -> None:
    value: list[Any] = []
    value.append(value)
    assert "…" in bounded.shown(value, 1000)


KINDS = ["MemoryError", "SystemExit", "KeyboardInterrupt", "GeneratorExit", "ValueError"]


@pytest.mark.parametrize("kind", [*KINDS, "number", "recursion"])
def test_a_text_that_cannot_be_made_is_said(kind: str) -> None:
    for value in (Hostile(kind), [Hostile(kind)], Report(Hostile(kind))):
        assert "could not be made" in bounded.of_result(value)["result"]
    described = tracebacks.describe(HostileError(kind))
    assert "could not be made" in described["exception"]
    assert described["exception_type"] == "HostileError"


def test_methods_of_a_derived_text_are_not_called() -> None:
    assert bounded.of_result(HostileText("fair"))["result"] == "fair"
    described = tracebacks.describe(ValueError(HostileText("fair")))
    assert described["exception"] == "fair"
    assert "ValueError: fair" in described["traceback"]


def test_a_class_that_lies_about_itself_is_shown() -> None:
    class Liar:
        @property
        def __class__(self) -> Any:
            raise SystemExit

        @__class__.setter
        def __class__(self, value: Any) -> None: ...

    assert "result" in bounded.of_result(Liar())


def test_text_is_cleaned_of_what_databases_refuse() -> None:
    cleaned = bounded.clean("a\x00b\udc80c")
    assert cleaned == "a␀b\\udc80c"
    assert cleaned.encode("utf-8")


def test_endless_text_is_cut_in_the_middle() -> None:
    cleaned = bounded.clean("start" + "x" * 2_000_000 + "end")
    assert len(cleaned) < bounded.MAX_TEXT + 100
    assert cleaned.startswith("start") and cleaned.endswith("end")


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise error from cause
    except BaseException as caught:
        return caught


def test_a_traceback_reads_as_pythons_own() -> None:
    error = raised(ValueError("odd"), raised(KeyError("key")))
    error.add_note("a note")
    text = tracebacks.describe(error)["traceback"]
    assert (
        text.index("KeyError: 'key'") < text.index("direct cause") < text.index("ValueError: odd")
    )
    assert "in raised" in text and text.endswith("a note\n")


@pytest.mark.parametrize("kind", [ValueError, KeyError, OSError])
def test_an_exception_with_huge_arguments_is_not_copied(kind: Any, huge: bytes) -> None:
    error = raised(kind(huge), raised(kind("y" * misdeeds.HUGE)))
    assert peak(lambda: tracebacks.describe(error)) < 6_000_000
    described = tracebacks.describe(error)
    assert sum(len(text) for text in described.values()) < 500_000


def test_causes_that_go_round_in_a_circle_end() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    text = tracebacks.describe(first)["traceback"]
    assert (text.count("ValueError: first"), text.count("ValueError: second")) == (1, 1)


def test_endless_causes_and_groups_are_cut() -> None:
    error: BaseException = ValueError(0)
    for number in range(1, 10_000):
        further = ValueError(number)
        further.__cause__, error = error, further
    group = ExceptionGroup("many", [ValueError(number) for number in range(10_000)])
    for one in (error, group):
        text = tracebacks.describe(one)["traceback"]
        assert text.count("ValueError") <= tracebacks.MAX_EXCEPTIONS
        assert "left out" in text


def test_a_deep_traceback_shows_both_ends_and_costs_little() -> None:
    def descend(depth: int) -> None:
        if depth % 2:
            return descend(depth - 1)
        return descend(depth - 1) if depth else int("x")  # type: ignore[return-value]

    texts: list[str] = []

    def work() -> None:
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(120_000)
        try:
            descend(100_000)
        except ValueError as error:
            texts.append(tracebacks.describe(error)["traceback"])
        finally:
            sys.setrecursionlimit(limit)

    threading.stack_size(512 * 1024 * 1024)
    try:
        thread = threading.Thread(target=work)
        thread.start()
    finally:
        threading.stack_size(0)
    thread.join()
    assert "in work" in texts[0] and "frames left out" in texts[0] and "invalid literal" in texts[0]
    assert len(texts[0]) < 50_000


def test_what_loggers_get_is_bounded_as_well(huge: bytes) -> None:
    error = raised(RuntimeError("small"), raised(ValueError(huge)))
    stand_in = tracebacks.stand_in(error, tracebacks.describe(error))
    assert isinstance(stand_in, tracebacks.Failure)
    assert str(stand_in) == "RuntimeError: small" and stand_in.__cause__ is None
    usual = raised(RuntimeError("small"))
    assert tracebacks.stand_in(usual, tracebacks.describe(usual)) is usual


def test_text_of_what_another_process_sent_is_not_waited_for_without_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bounded, "FOREIGN_TEXT_SECONDS", 0.2)
    from jobstore.tests.callables import release

    made = bounded.made_elsewhere(lambda: bounded.of_result(Hostile("block")), "result")
    assert "within 0.2 s" in made["result"]
    release.set()
