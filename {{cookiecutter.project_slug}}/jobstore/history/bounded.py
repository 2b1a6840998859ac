"""Bounded text of what a job returns or raises, whatever that is.

No value is copied as a whole: of 100 MB only as much is read as is kept. A value's own `__repr__`
or `__str__` may take time, raise anything and use the database. So it is called on the run's
thread, within the run's time.
"""

import array
import collections
import contextlib
import dataclasses
import threading
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, overload

from jobstore import conf
from jobstore.texts import storable

# Characters of one text that are kept.
MAX_TEXT = 1_000_000
# How deep containers within containers are shown.
MAX_DEPTH = 8
# Bits of an integer that are written as digits: more take long, or are refused by Python.
MAX_BITS = 10_000
# Seconds for the text of a value that another process has sent; it is made after the run.
FOREIGN_TEXT_SECONDS = 5.0


def of_result(value: Any) -> dict[str, str]:
    """Return what a job returned as a field of a Result. Never raises."""
    limit = conf.get("JOB_HISTORY_RESULT_LENGTH")
    if value is None or limit <= 0:
        return {}
    return {"result": attempt(lambda: of_value(value, limit))}


def attempt(make: Callable[[], str]) -> str:
    """Return the text that is made, or why it could not be. Never raises, not even SystemExit."""
    try:
        return make()
    except BaseException as error:
        try:
            reason = f"{type(error).__name__}: {of_args(error, 200)}"
        except BaseException:
            reason = "what it raised has no text either"
        return f"(the text could not be made: {clean(reason)})"


def of_value(value: Any, limit: int) -> str:
    """Return a string as it is and anything else as its repr, bounded and storable."""
    if issubclass(type(value), str):
        return clean(cut(value, limit))
    return clean(shown(value, limit))


def of_args(error: BaseException, limit: int) -> str:
    """Return the text that an exception without a `__str__` of its own has, bounded."""
    args = error.args
    if len(args) == 1:
        one = args[0]
        is_key = type(error).__str__ is KeyError.__str__
        return shown(one, limit) if is_key else of_value(one, limit)
    return shown(args, limit) if args else ""


def shown(value: Any, limit: int) -> str:
    """Return the repr of a value, of no more than about `limit` characters."""
    writer = _Writer(limit)
    writer.write(value)
    return writer.text


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """Return text that every database can store: no NUL, no lone surrogates, bounded."""
    return storable(cut(text, limit))


@overload
def cut(text: str, length: int) -> str: ...


@overload
def cut(text: None, length: int) -> None: ...


def cut(text: str | None, length: int) -> str | None:
    """Return text of about this length at most; of a longer text, its beginning and its end."""
    if text is None:
        return None
    # By the methods of `str`: a class derived from it may have others.
    size = str.__len__(text)
    if size <= length:
        return str.__getitem__(text, slice(None))
    half = length // 2
    start, end = str.__getitem__(text, slice(half)), str.__getitem__(text, slice(size - half, None))
    return f"{start}\n… {size - 2 * half} characters left out …\n{end}"


def made_elsewhere(make: Callable[[], dict[str, str]], field: str) -> dict[str, str]:
    """Return texts of a value from another process, made on a thread of its own.

    It waits at most FOREIGN_TEXT_SECONDS, since the calling thread has other work.
    """
    made: list[dict[str, str]] = []

    def work() -> None:
        from jobstore.util import release_connections

        try:
            made.append(make())
        finally:
            release_connections()

    thread = threading.Thread(target=work, name="jobstore-text", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:  # no thread could be started
        return {field: f"(the text could not be made: {error})"}
    thread.join(FOREIGN_TEXT_SECONDS)
    if made:
        return made[0]
    return {field: f"(the text could not be made within {FOREIGN_TEXT_SECONDS:g} s)"}


def is_plain(value: Any) -> bool:
    """Tell whether a value's text is sure to be harmless, so that any thread may make it."""
    return type(value) in (type(None), bool, int, float, str, bytes)


class _Full(Exception):
    """No more characters are wanted."""


class _Writer:
    """Writes the repr of a value until it has as many characters as are wanted."""

    def __init__(self, limit: int) -> None:
        self._parts: list[str] = []
        self._left = limit

    @property
    def text(self) -> str:
        return "".join(self._parts)

    def write(self, value: Any) -> None:
        with contextlib.suppress(_Full):
            self._value(value, 0)

    def _put(self, text: str) -> None:
        if str.__len__(text) > self._left:
            self._parts.append(str.__getitem__(text, slice(self._left)) + "…")
            self._left = 0
            raise _Full
        self._parts.append(str.__getitem__(text, slice(None)))
        self._left -= str.__len__(text)

    def _value(self, value: Any, depth: int) -> None:
        kind = type(value)
        # By the method that would be called: a derived class with a method of its own is asked.
        how = _HOW.get(kind.__repr__)
        if how is not None and depth > MAX_DEPTH:
            self._put("…")
        elif how is not None:
            how(self, value, depth)
        elif fields := _fields_of(value):
            self._named(kind.__qualname__, fields, depth)
        elif not depth:
            self._parts.append(cut(repr(value), self._left))
        else:
            self._put(repr(value))

    def _characters(self, value: str, depth: int) -> None:
        # A little more than fits, so that the end shows that it was cut.
        self._put(repr(str.__getitem__(value, slice(self._left + 1))))

    def _octets(self, value: Any, depth: int) -> None:
        if not depth and len(value) > self._left:
            half = self._left // 2
            left_out = len(value) - 2 * (half // 4)
            start, end = value[: half // 4], value[-(half // 4) :] if half >= 4 else value[:0]
            self._put(f"{start!r}… {left_out} bytes left out …{end!r}"[: self._left])
            return
        self._put(repr(value[: self._left + 1]))

    def _integer(self, value: int, depth: int) -> None:
        bits = int.bit_length(value)
        self._put(int.__repr__(value) if bits <= MAX_BITS else f"<an integer of {bits} bits>")

    def _items(self, start: str, values: Iterable[Any], end: str, depth: int) -> None:
        self._put(start)
        for number, value in enumerate(values):
            self._put(", " if number else "")
            self._value(value, depth + 1)
        self._put(end)

    def _pairs(self, start: str, pairs: Iterable[tuple[Any, Any]], end: str, depth: int) -> None:
        self._put(start)
        for number, (key, value) in enumerate(pairs):
            self._put(", " if number else "")
            self._value(key, depth + 1)
            self._put(": ")
            self._value(value, depth + 1)
        self._put(end)

    def _named(self, name: str, fields: Iterable[tuple[str, Any]], depth: int) -> None:
        self._put(f"{name}(")
        for number, (key, value) in enumerate(fields):
            self._put(f"{', ' if number else ''}{key}=")
            self._value(value, depth + 1)
        self._put(")")

    def _list(self, value: list[Any], depth: int) -> None:
        self._items("[", list.__iter__(value), "]", depth)

    def _tuple(self, value: tuple[Any, ...], depth: int) -> None:
        self._items("(", tuple.__iter__(value), ",)" if tuple.__len__(value) == 1 else ")", depth)

    def _set(self, value: set[Any], depth: int) -> None:
        if value:
            self._items("{", iter(value), "}", depth)
        else:
            self._put(f"{type(value).__name__}()")

    def _collection(self, value: Iterable[Any], depth: int) -> None:
        self._items(f"{type(value).__name__}([", iter(value), "])", depth)

    def _dict(self, value: dict[Any, Any], depth: int) -> None:
        self._pairs("{", _pairs_of(value), "}", depth)

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> None:
        pairs = _pairs_of(value) if isinstance(value, dict) else value.items()
        self._pairs(type(value).__name__ + "({", pairs, "})", depth)

    def _user(self, value: Any, depth: int) -> None:
        self._value(value.data, depth + 1)

    def _namespace(self, value: Any, depth: int) -> None:
        self._named("namespace", vars(value).items(), depth)

    def _exception(self, value: BaseException, depth: int) -> None:
        self._items(f"{type(value).__name__}(", value.args, ")", depth)


def _pairs_of(value: dict[Any, Any]) -> Iterable[tuple[Any, Any]]:
    if isinstance(value, collections.OrderedDict):  # which keeps an order of its own
        return collections.OrderedDict.items(value)
    return dict.items(value)


def _fields_of(value: Any) -> list[tuple[str, Any]]:
    """Return the fields of a dataclass or a named tuple, if its `__repr__` was made for it."""
    kind = type(value)
    code = getattr(kind.__repr__, "__code__", None)
    if code is _NAMEDTUPLE:
        return list(zip(kind._fields, tuple.__iter__(value), strict=False))
    written = getattr(getattr(kind.__repr__, "__wrapped__", None), "__code__", None)
    if dataclasses.is_dataclass(kind) and getattr(written, "co_filename", "") == "<string>":
        fields = dataclasses.fields(kind)
        return [(one.name, getattr(value, one.name)) for one in fields if one.repr]
    return []


_NAMEDTUPLE = collections.namedtuple("_NAMEDTUPLE", "").__repr__.__code__
_HOW: dict[Any, Callable[[_Writer, Any, int], None]] = {
    str.__repr__: _Writer._characters,
    bytes.__repr__: _Writer._octets,
    bytearray.__repr__: _Writer._octets,
    array.array.__repr__: _Writer._octets,
    int.__repr__: _Writer._integer,
    list.__repr__: _Writer._list,
    tuple.__repr__: _Writer._tuple,
    set.__repr__: _Writer._set,
    frozenset.__repr__: _Writer._collection,
    collections.deque.__repr__: _Writer._collection,
    type({}.keys()).__repr__: _Writer._collection,
    type({}.values()).__repr__: _Writer._collection,
    type({}.items()).__repr__: _Writer._collection,
    dict.__repr__: _Writer._dict,
    collections.OrderedDict.__repr__: _Writer._mapping,
    collections.defaultdict.__repr__: _Writer._mapping,
    collections.Counter.__repr__: _Writer._mapping,
    types.MappingProxyType.__repr__: _Writer._mapping,
    collections.UserDict.__repr__: _Writer._user,
    collections.UserList.__repr__: _Writer._user,
    collections.UserString.__repr__: _Writer._user,
    types.SimpleNamespace.__repr__: _Writer._namespace,
    BaseException.__repr__: _Writer._exception,
}
