"""Exception types by their names, as `retry_on` of a job lists them.

The names are text in a row that people may edit. Nothing is imported because of them: a name is
compared with the names of what a run raised.
"""

import builtins
import difflib
import sys
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from django.utils.translation import gettext_noop as _

from jobstore.sentences import Sentence, said
from jobstore.texts import flattened, quoted

# Characters of all names together, as the column holds them.
LONGEST = 500
BUILTIN = {
    name: one
    for name, one in vars(builtins).items()
    if isinstance(one, type) and issubclass(one, BaseException)
}

RetryOn = str | type[BaseException] | Iterable[str | type[BaseException]] | None


def name_of(kind: type[BaseException]) -> str:
    """Return the name of a class of exceptions: its own for Python's, else with its module."""
    module = kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"


def listed(given: Any) -> str:
    """Return classes of exceptions, or their names, as text: names separated by commas.

    :param given: one or several of them; a text may hold several names. None or "" for all.
    :raises ValueError: with a sentence about the first that is wrong.
    """
    if given is None or given == "":
        return ""
    if isinstance(given, str | type) or not isinstance(given, list | tuple | set | frozenset):
        given = [given]
    names = [name for one in given for name in _names_of(one)]
    if isinstance(given, set | frozenset):
        names.sort()
    if not names:
        text = _("retry_on names no exception; leave it out to retry after each.")
        raise ValueError(said(text))
    text = ", ".join(dict.fromkeys(names))
    if len(text) > LONGEST:
        sentence = _("retry_on has more than %(most)s characters; name a class that they share.")
        raise ValueError(said(sentence, most=LONGEST))
    return text


def _names_of(one: Any) -> list[str]:
    if isinstance(one, str):
        return [_checked(name) for part in one.split(",") if (name := part.strip())]
    shown = quoted(one)
    if isinstance(one, BaseException):
        text = _("retry_on takes classes, and %(value)s is a single exception; write %(name)s.")
        raise ValueError(said(text, value=shown, name=type(one).__name__))
    if not isinstance(one, type) or not issubclass(one, BaseException):
        text = _(
            "retry_on takes classes of exceptions, or their names such as ConnectionError or "
            "requests.exceptions.Timeout, not %(value)s."
        )
        raise ValueError(said(text, value=shown))
    name = name_of(one)
    if "<locals>" in name:
        text = _("retry_on cannot name %(name)s, a class inside of a function; move it out.")
        raise ValueError(said(text, name=flattened(name, 80)))
    return [name]


def _checked(name: str) -> str:
    shown = quoted(name)
    if not all(part.isidentifier() for part in name.split(".")):
        text = _(
            "retry_on holds %(value)s, which is no name of an exception; write it like "
            "ConnectionError or requests.exceptions.Timeout."
        )
        raise ValueError(said(text, value=shown))
    name = name.removeprefix("builtins.")
    if "." in name:
        return name
    if name in BUILTIN:
        return name_of(BUILTIN[name])  # IOError is a second name of OSError
    near = difflib.get_close_matches(name, BUILTIN, n=1, cutoff=0.8)
    if near:
        text = _("retry_on holds %(value)s, which Python does not have; did you mean %(near)s?")
        raise ValueError(said(text, value=shown, near=near[0]))
    text = _(
        "retry_on holds %(value)s, which Python itself does not have; write it with its module, "
        "such as requests.exceptions.Timeout."
    )
    raise ValueError(said(text, value=shown))


def split(text: str) -> list[str]:
    """Return the names of a stored text."""
    return [name for part in text.split(",") if (name := part.strip())]


def is_among(wanted: str, names: Collection[str]) -> bool:
    """Tell whether a stored text names one of these classes.

    A class may be named by a package that passes it on: `django.db.OperationalError` is
    `django.db.utils.OperationalError`.

    :param names: as by `name_of`: of what was raised, and of its bases.
    """
    return any(_is_named(one, name) for one in split(wanted) for name in names)


def _is_named(wanted: str, name: str) -> bool:
    package, dot, last = wanted.rpartition(".")
    return wanted == name or bool(
        dot and name.startswith(f"{package}.") and name.endswith(f".{last}")
    )


def questions(wanted: str) -> Iterator[Sentence]:
    """Return a sentence, without its end, for each name that no exception seems to have."""
    for name in split(wanted):
        package, _dot, last = name.rpartition(".")
        module = sys.modules.get(package)
        if module is None or hasattr(module, "__getattr__"):
            continue  # it is not asked for what it would import then
        found = vars(module).get(last)
        if found is None:
            near = difflib.get_close_matches(last, vars(module), n=1, cutoff=0.8)
            if near:
                text = _("retry_on holds %(name)s, which there is not; write %(near)s")
                yield said(text, name=name, near=f"{package}.{near[0]}")
            else:
                yield said(_("retry_on holds %(name)s, which there is not"), name=name)
        elif not isinstance(found, type) or not issubclass(found, BaseException):
            yield said(_("retry_on holds %(name)s, which is no class of exceptions"), name=name)
        elif not _is_named(name, name_of(found)):
            text = _("retry_on holds %(name)s, which calls itself %(real)s; write that")
            yield said(text, name=name, real=name_of(found))
