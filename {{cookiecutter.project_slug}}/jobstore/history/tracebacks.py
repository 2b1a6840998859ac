"""An exception as bounded text: its message, its traceback, and its causes.

Python's own module shows every frame and copies every argument, whatever their size.
"""

import functools
import itertools
import traceback
from collections.abc import Iterable, Iterator
from types import TracebackType

from jobstore.history import bounded

# Frames that are shown of a traceback: of a longer one, such as a deep recursion, both ends.
FIRST, LAST = 25, 75
# Exceptions that are shown: the one that was raised, its causes, and members of groups.
MAX_EXCEPTIONS = 20
# Characters of one frame (a line of minified code), of one exception's text, of its notes.
MAX_FRAME, MAX_MESSAGE, MAX_NOTE = 2_000, 100_000, 10_000
# From this many characters of a traceback on, other loggers get a short stand-in for the exception.
HUGE = 20_000
FRAMES_LEFT_OUT, NO_TEXT = " frames left out …", "(the text could not be made"
# Exceptions' own `__str__`, whose text is known without calling them.
PLAIN = (BaseException.__str__, KeyError.__str__)

CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"


class Failure(Exception):
    """Replaces, for loggers and listeners, an exception whose text is huge or cannot be made.

    It has the traceback of that exception; its text names the exception's class and message.
    """


def describe(error: BaseException, ours: str = "") -> dict[str, str]:
    """Return an exception as the fields of a Result. Never raises.

    :param ours: path of a module whose frames at the top are left out.
    """
    return {
        "exception_type": bounded.attempt(lambda: bounded.clean(type(error).__qualname__, 200)),
        "exception": bounded.attempt(lambda: bounded.clean(message_of(error))),
        "traceback": bounded.attempt(lambda: bounded.clean("".join(_lines(error, ours)))),
    }


def stand_in(error: BaseException, described: dict[str, str]) -> BaseException:
    """Return the exception, or a stand-in if making its text again could do harm.

    A logger copies all of an exception's text, of its frames, and of its causes.
    """
    shown = described["traceback"]
    is_deep = FRAMES_LEFT_OUT in shown
    if len(shown) < HUGE and not is_deep and NO_TEXT not in shown:
        return error
    text = f"{described['exception_type']}: {bounded.cut(described['exception'], 1_000)}"
    return Failure(text).with_traceback(None if is_deep else error.__traceback__)


def message_of(error: BaseException) -> str:
    """Return the message of an exception, bounded if one of Python's own classes makes it."""
    own = type(error).__str__
    if own in PLAIN or (isinstance(error, OSError) and own is OSError.__str__ and not error.errno):
        return bounded.of_args(error, MAX_MESSAGE)
    return bounded.cut(str(error), bounded.MAX_TEXT)


def _lines(error: BaseException, ours: str = "") -> Iterator[str]:
    seen: set[int] = set()
    chain: list[tuple[BaseException, str]] = []
    current: BaseException | None = error
    while current is not None and id(current) not in seen and len(seen) < MAX_EXCEPTIONS:
        seen.add(id(current))
        link = ""
        following: BaseException | None = None
        if current.__cause__ is not None:
            following, link = current.__cause__, CAUSE
        elif current.__context__ is not None and not current.__suppress_context__:
            following, link = current.__context__, CONTEXT
        chain.append((current, link))
        current = following
    if current is not None and id(current) not in seen:
        yield "(further causes are left out)\n"
        yield chain[-1][1]
    for number, (one, link) in enumerate(reversed(chain)):
        yield link if number else ""
        yield from _one(one, ours, seen)


def _one(error: BaseException, ours: str, seen: set[int]) -> Iterator[str]:
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == ours:
        trace = trace.tb_next
    if trace is not None:
        yield "Traceback (most recent call last):\n"
        yield from _frames(trace)
    yield f"{_name(error)}: {bounded.attempt(lambda: _message(error))}".removesuffix(": ") + "\n"
    notes = getattr(error, "__notes__", None)
    for note in notes if isinstance(notes, list) else ():
        yield bounded.attempt(functools.partial(bounded.of_value, note, MAX_NOTE)) + "\n"
    if isinstance(error, BaseExceptionGroup):
        yield from _members(error, ours, seen)


def _message(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        # Which shows the line as well.
        return "".join(traceback.format_exception_only(error)).strip()[:MAX_FRAME]
    return bounded.cut(message_of(error), MAX_MESSAGE)


def _name(error: BaseException) -> str:
    kind = type(error)
    if kind.__module__ in ("builtins", "__main__"):
        return kind.__qualname__[:200]
    return f"{kind.__module__}.{kind.__qualname__}"[:200]


def _members(group: BaseExceptionGroup[BaseException], ours: str, seen: set[int]) -> Iterator[str]:
    for number, member in enumerate(group.exceptions, 1):
        if id(member) in seen or len(seen) >= MAX_EXCEPTIONS:
            yield f"  | {len(group.exceptions) - number + 1} more exceptions are left out\n"
            return
        seen.add(id(member))
        yield f"  +---------------- {number} ----------------\n"
        for line in "".join(_one(member, ours, seen)).splitlines(keepends=True):
            yield f"  | {line}"


def _frames(trace: TracebackType) -> Iterator[str]:
    length = sum(1 for _ in _walk(trace))
    if length <= FIRST + LAST:
        yield from _formatted(trace, None)
        return
    yield from _formatted(trace, FIRST)
    yield f"  … {length - FIRST - LAST}{FRAMES_LEFT_OUT}\n"
    yield from _formatted(next(itertools.islice(_walk(trace), length - LAST, None)), None)


def _walk(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _formatted(trace: TracebackType, limit: int | None) -> Iterable[str]:
    # Python's own, of an exception without arguments: it would make texts of the real one.
    summary = traceback.TracebackException(Exception, Exception(), trace, limit=limit, compact=True)
    return (bounded.cut(frame, MAX_FRAME) for frame in summary.stack.format())
