"""Which callables can be jobs: those whose name leads to them in every process."""

import functools
import inspect
import sys
from typing import Any

from jobstore.declarations.declaration import shown_path
from jobstore.storage import serializer


def fault_of(func: Any) -> str:
    """Return why a callable cannot be a job, or is not the one that would run; empty if it can."""
    if isinstance(func, functools.partial):
        return "a partial has no name by which it could be found; pass args= and kwargs= instead"
    if inspect.isgeneratorfunction(func) or inspect.isasyncgenfunction(func):
        return "it is a generator, and calling it runs nothing; remove yield, or loop over it"
    name, module = getattr(func, "__qualname__", None), getattr(func, "__module__", None)
    if inspect.ismethod(func):
        module = func.__self__.__module__
    if name is None or module is None:
        return "it has no name by which another process could find it; declare a function"
    if "<" in name:
        return (
            "lambdas and nested functions cannot be found again by another process; move it to "
            "the top level of a module"
        )
    if module == "__main__":
        return "its module is the program itself, which other processes do not have"
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
        return f"its module {module!r} is not imported under that name"
    for part in name.split("."):
        try:
            found = inspect.getattr_static(found, part)
        except AttributeError:
            return f"{module} has nothing named {name!r}; other processes could not find it"
    wanted = getattr(func, "__func__", func)
    seen: list[Any] = []
    while found is not None and not any(found is one for one in seen):
        if found is wanted:
            return ""
        seen.append(found)
        is_wrapper = isinstance(found, staticmethod | classmethod)
        found = found.__func__ if is_wrapper else inspect.getattr_static(found, "__wrapped__", None)
    return (
        f"the name {name} stands for something else{_line_of(seen[0])}, which would run in place "
        f"of the function declared here{_line_of(wanted)}; give one of them another name, or use "
        "functools.wraps in the decorator above"
    )


def _line_of(func: Any) -> str:
    code = getattr(getattr(func, "__func__", func), "__code__", None)
    return f" (line {code.co_firstlineno} of {shown_path(code.co_filename)})" if code else ""
