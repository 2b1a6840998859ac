"""Makes foreign texts safe for one line of a log or report: ids, arguments, errors.

A line break in a job's id would forge a line, and a terminal obeys the codes in a text that it
shows.
"""

import re

# Characters that a line of a log or a report spends on one text.
MAX_CHARACTERS = 500


def one_line(text: object, limit: int = MAX_CHARACTERS) -> str:
    """Return a text on one line; characters that cannot be printed are escaped as in Python.

    These are line breaks, terminal codes, and marks that change the direction of writing.

    :param limit: characters that are kept; an ellipsis stands for the rest.
    """
    shown = str(text)
    if len(shown) > limit:
        shown = f"{shown[: limit - 1]}…"
    if shown.isprintable():
        return shown
    return "".join(one if one.isprintable() else _escaped(one) for one in shown)


def flattened(value: object, limit: int = MAX_CHARACTERS) -> str:
    """Return the text of any object, such as an error, on one line, with single spaces.

    It is cut as by `one_line`. It never raises, whatever the object's `__str__` does.
    """
    try:
        text = str(value)
    except KeyboardInterrupt:
        raise
    except BaseException:
        text = f"{type(value).__name__} without a text"
    return one_line(" ".join(text.split()), limit)


def described(error: BaseException) -> str:
    """Return the kind and the text of an error on one line, whatever its own methods raise."""
    return f"{type(error).__name__}: {flattened(error)}".removesuffix(": ")


def storable(text: str) -> str:
    """Return a text that every database stores: without NUL and halves of surrogate pairs."""
    return text.replace("\x00", "␀").encode("utf-8", "backslashreplace").decode()


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def requester(text: str) -> str:
    """Return who asked for a run, as text for people; for a start, without the process's id."""
    return re.sub(r" \([0-9a-f-]{36}\)$", "", text)
