"""Which callables can be jobs: those whose name leads to them in every process."""

import functools
import inspect
import sys
from typing import Any

from django.utils.translation import gettext_noop as _

from jobstore.declarations.declaration import shown_path
from jobstore.sentences import said
from jobstore.storage import serializer


def fault_of(func: Any) -> str:
    """Return why a callable cannot be a job, or is not the one that would run; empty if it can."""
    if isinstance(func, functools.partial):
        return said(
            _("a partial has no name by which it could be found; pass args= and kwargs= instead")
        )
    if inspect.isgeneratorfunction(func) or inspect.isasyncgenfunction(func):
        return said(
            _("it is a generator, and calling it runs nothing; remove yield, or loop over it")
        )
    name, module = getattr(func, "__qualname__", None), getattr(func, "__module__", None)
    if inspect.ismethod(func):
        module = func.__self__.__module__
    if name is None or module is None:
        return said(_("it has no name by which another process could find it; declare a function"))
    if "<" in name:
        return said(
            _(
                "lambdas and nested functions cannot be found again by another process; move it to "
                "the top level of a module"
            )
        )
    if module == "__main__":
        return said(_("its module is the program itself, which other processes do not have"))
    return _fault_of_name(func, module, name)


def importable(func: Any) -> Any:
    """Return a callable, or a reference to it if APScheduler would look for its type instead.

    That concerns objects that wrap a function, such as those of `functools.lru_cache`.
    """
    return f"{func.__module__}:{func.__qualname__}" if serializer.is_object(func) else func


def _fault_of_name(func: Any, module: str, name: str) -> str:
    """Return why the name of a function does not lead to it."""
    found: Any = sys.modules.get(module)
    if found is None:
        return said(_("its module %(module)r is not imported under that name"), module=module)
    for part in name.split("."):
        try:
            found = inspect.getattr_static(found, part)
        except AttributeError:
            text = _("%(module)s has nothing named %(name)r; other processes could not find it")
            return said(text, module=module, name=name)
    wanted = getattr(func, "__func__", func)
    seen: list[Any] = []
    while found is not None and not any(found is one for one in seen):
        if found is wanted:
            return ""
        seen.append(found)
        is_wrapper = isinstance(found, staticmethod | classmethod)
        found = found.__func__ if is_wrapper else inspect.getattr_static(found, "__wrapped__", None)
    text = _(
        "the name %(name)s stands for something else%(place)s, which would run in place of the "
        "function declared here%(own_place)s; give one of them another name, or use "
        "functools.wraps in the decorator above"
    )
    return said(text, name=name, place=_line_of(seen[0]), own_place=_line_of(wanted))


def _line_of(func: Any) -> str:
    code = getattr(getattr(func, "__func__", func), "__code__", None)
    if code is None:
        return ""
    text = _(" (line %(line)s of %(file)s)")
    return said(text, line=code.co_firstlineno, file=shown_path(code.co_filename))
