"""Arguments as text for people, in which values with secret names are masked.

They are masked when a job is stored, by the names of parameters and of keys. The texts of jobs that
were stored before that are masked when they are shown, as well as a text can be.
"""

import functools
import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any

from jobstore import conf

MASK = "********"
# How deep dictionaries and lists are looked into.
MAX_DEPTH = 8
# A name before its value: a keyword, or a key of a dictionary.
NAME = re.compile(r"\b(?P<keyword>\w+)=|'(?P<key>[^'\\]{1,100})': ?")
# The parts of a value: texts in quotes, brackets, and all else up to a comma.
PIECE = re.compile(
    r"""'(?:[^'\\]|\\.)*'?|"(?:[^"\\]|\\.)*"?|[(\[{]|[)\]}]|,|[^'"()\[\]{},]+""", re.DOTALL
)


class Masked:
    """Stands for a secret value, with a mask as its text."""

    def __repr__(self) -> str:
        return MASK


MASKED = Masked()


def is_secret(name: object) -> bool:
    """Tell whether a name matches one of JOB_SECRET_ARGUMENTS, in upper or lower case."""
    return isinstance(name, str) and any(
        one.search(name) for one in _patterns(tuple(conf.get("JOB_SECRET_ARGUMENTS")))
    )


def masked(name: object, value: Any, depth: int = 0) -> Any:
    """Return a value in which everything is masked whose name or key is secret."""
    if is_secret(name) and value is not None:
        return MASKED
    if depth > MAX_DEPTH:
        return value
    if type(value) is dict:
        return {key: masked(key, one, depth + 1) for key, one in value.items()}
    if type(value) in (list, tuple):
        return type(value)(masked(None, one, depth + 1) for one in value)
    return value


def masked_arguments(
    func: Any, args: Iterable[Any], kwargs: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of a call, the secret ones masked.

    :param func: gives the names of positional arguments; None if it is not known.
    """
    args = list(args)
    names = _positional(func, len(args))
    return (
        [masked(name, value) for name, value in zip(names, args, strict=True)],
        {name: masked(name, value) for name, value in kwargs.items()},
    )


def shown(func: Any, args: Iterable[Any], kwargs: Mapping[str, Any]) -> str:
    """Return arguments as they would be written in a call, the secret ones masked."""
    positional, named = masked_arguments(func, args, kwargs)
    parts = [repr(value) for value in positional]
    parts += [f"{name}={value!r}" for name, value in named.items()]
    return ", ".join(parts)


def masked_text(text: str) -> str:
    """Return a text of arguments in which the values of secret names are masked."""
    parts, begin = [], 0
    while found := NAME.search(text, begin):
        parts.append(text[begin : found.end()])
        begin = found.end()
        if is_secret(found["keyword"] or found["key"]):
            end = _end_of_value(text, begin)
            value = text[begin:end]
            parts.append(value if value == "None" else MASK)
            begin = end
    return "".join(parts) + text[begin:]


def _end_of_value(text: str, begin: int) -> int:
    depth = 0
    for piece in PIECE.finditer(text, begin):
        if not depth and piece[0] in (",", ")", "]", "}"):
            return piece.start()
        depth += (piece[0] in ("(", "[", "{")) - (piece[0] in (")", "]", "}"))
    return len(text)


def _positional(func: Any, number: int) -> list[str | None]:
    names: list[str | None] = []
    try:
        parameters = list(inspect.signature(func).parameters.values()) if func else []
    except (ValueError, TypeError):
        parameters = []
    for one in parameters:
        if one.kind is one.VAR_POSITIONAL:
            names += [one.name] * (number - len(names))
        elif one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD):
            names.append(one.name)
    return (names + [None] * number)[:number]


@functools.lru_cache(maxsize=8)
def _patterns(texts: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(text, re.IGNORECASE) for text in texts)
