"""A job as its code declares it, where that is, and the problems that declarations have."""

import dataclasses
import datetime as dt
import functools
import hashlib
import inspect
import os
import re
import sys
import types
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from apscheduler.job import Job
from django.conf import settings

from jobstore import conf
from jobstore.models import DjangoJob
from jobstore.schedules import trigger_defaults
from jobstore.storage import replacement
from jobstore.texts import flattened, storable

# Characters of the id, or of the module's name, that a problem is stored under.
LONGEST_SUBJECT = 255
# Characters of a problem that are kept: an id or an argument may hold megabytes.
LONGEST_TEXT = 4000
# The part of a default repr that differs in every process.
ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


class DeclarationError(Exception):
    """A declaration that cannot be carried out; its text names the job and what to change."""


class NeverRuns(DeclarationError):
    """A declaration whose trigger has no run time left: a mistake, or a job that has ended."""


class UnstableText(ValueError):
    """A value whose text differs from process to process; its text shows the value."""


@dataclasses.dataclass(frozen=True)
class Place:
    """A line of code that declares a job."""

    module: str = ""
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        return f"{shown_path(self.file)}:{self.line}" if self.file else ""


@dataclasses.dataclass(frozen=True)
class Problem:
    """What is wrong with a declaration, or with a file of jobs, in one sentence.

    A declaration with a fatal problem is skipped; other problems are only reported.
    """

    # The id of the job, or the name of the module.
    subject: str
    text: str
    place: str = ""
    is_fatal: bool = True

    def __post_init__(self) -> None:
        # The report of a mistake is stored, and must not fail because of the same mistake.
        for name in ("subject", "text", "place"):
            object.__setattr__(self, name, storable(getattr(self, name)))
        object.__setattr__(self, "subject", self.subject[:LONGEST_SUBJECT])
        if len(self.text) > LONGEST_TEXT:
            object.__setattr__(self, "text", f"{self.text[:LONGEST_TEXT]}…")

    def __str__(self) -> str:
        return f"{self.place}: {self.text}" if self.place else self.text


@dataclasses.dataclass(frozen=True)
class Declaration:
    """A job as its code declares it, with the arguments of APScheduler's `add_job`."""

    id: str
    func: Callable[..., Any]
    trigger: Any
    options: dict[str, Any]
    on_lost: str = "record"
    run_at_start: bool = False
    place: Place = dataclasses.field(default=Place(), compare=False)
    # A problem found when it was declared. Raising there would end the import of the whole file.
    fault: str = ""
    declared_at: dt.datetime = dataclasses.field(
        default_factory=lambda: dt.datetime.now(dt.UTC), compare=False
    )

    @functools.cached_property
    def digest(self) -> str:
        """A digest that changes when, and only when, the declaration does.

        :raises UnstableText: if the text of an argument differs from process to process.
        """
        options = sorted((name, stable_text(value)) for name, value in self.options.items())
        parts: tuple[Any, ...] = (name_of(self.func), stable_text(self.trigger), options)
        if self.on_lost != DjangoJob.OnLost.RECORD:
            parts += (self.on_lost,)
        if self.run_at_start:
            parts += ("run_at_start",)
        # Values from settings are a part of the declaration: a changed setting takes effect.
        if isinstance(self.trigger, str) and "timezone" not in self.options:
            parts += (settings.TIME_ZONE,)
        if "misfire_grace_time" not in self.options:
            parts += (conf.get("SCHEDULER_MISFIRE_GRACE_SECONDS"),)
        text = repr(parts)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def reference(self) -> str:
        """The content of its job's column `func`: "module:name"."""
        return f"{getattr(self.func, '__module__', '')}:{getattr(self.func, '__qualname__', '')}"

    def problem(self, text: str, *, is_fatal: bool = True) -> Problem:
        """Return a problem of this declaration."""
        return Problem(self.id, text, str(self.place), is_fatal)


def name_of(func: Any) -> str:
    """Return "module.name" of a callable, or its text if it has no name."""
    name = getattr(func, "__qualname__", None)
    return f"{func.__module__}.{name}" if name else flattened(func)


def is_interrupt(error: BaseException) -> bool:
    """Tell whether Ctrl-C was pressed; all other exceptions are faults of the jobs' code."""
    return isinstance(error, KeyboardInterrupt)


def shown_path(file: str) -> str:
    """Return a file's path relative to the project."""
    base = Path(getattr(settings, "BASE_DIR", "") or Path.cwd())
    path = Path(os.path.abspath(file))
    return str(path.relative_to(base)) if path.is_relative_to(base) else str(path)


def place_of_call(func: Any = None) -> Place:
    """Return the line of a jobs file that declares a job. Call it inside of the decorator.

    If a helper of the project uses the decorator, it is the line that calls the helper.
    """
    frame = sys._getframe(1)
    while frame.f_back is not None and _is_ours(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    caller: types.FrameType = frame
    found: types.FrameType | None = frame
    while found is not None:
        is_body = not found.f_code.co_flags & inspect.CO_OPTIMIZED  # of a module, or of a class
        if is_body and getattr(found.f_globals.get("__spec__"), "_initializing", False):
            return _place(found)
        found = found.f_back
    return _place(caller)


def _is_ours(module: str) -> bool:
    return module.startswith("jobstore.") and not module.startswith("jobstore.tests.")


def _place(frame: types.FrameType) -> Place:
    module = str(frame.f_globals.get("__name__", ""))
    return Place(module, frame.f_code.co_filename, frame.f_lineno)


@dataclasses.dataclass(frozen=True)
class Collected:
    """The declared jobs: valid ones in the order of their ids, and what is wrong with others."""

    jobs: dict[str, tuple[Declaration, Job]]
    problems: list[Problem]
    # Declarations that are skipped: their stored jobs stay as they are.
    left_out: list[Declaration]
    # Modules whose declarations are not known.
    failed: list[str]
    # Jobs whose trigger has no run time left; that is no problem if they have run.
    ended: dict[str, Problem]

    @property
    def fatal(self) -> list[Problem]:
        """The problems that keep a job from following its declaration."""
        return [problem for problem in self.problems if problem.is_fatal]


# --- Text that is the same in every process -------------------------------------------------------


def stable_text(value: Any) -> str:
    """Return a text of a value that is the same in every process.

    It is the value's `repr`, if that is the same already.

    :raises UnstableText: if there is none.
    """
    kind = type(value)
    if kind in (str, bytes, int, float, bool, type(None)):
        return repr(value)
    if hasattr(value, "get_next_fire_time"):
        return _without_address(replacement.identity(value))
    if kind is list:
        return f"[{_joined(value)}]"
    if kind is tuple:
        return f"({_joined(value)}{',' if len(value) == 1 else ''})"
    if kind is dict:
        items = (f"{stable_text(key)}: {stable_text(part)}" for key, part in value.items())
        return "{" + ", ".join(items) + "}"
    if kind in (set, frozenset) and value:
        parts = ", ".join(sorted(map(stable_text, value)))
        braced = "{" + parts + "}"
        return braced if kind is set else f"frozenset({braced})"
    if isinstance(value, types.FunctionType | types.BuiltinFunctionType):
        return name_of(value)
    if dataclasses.is_dataclass(value) and value.__dataclass_params__.repr:  # type: ignore[union-attr]
        shown = [field.name for field in dataclasses.fields(value) if field.repr]
        fields = [f"{name}={stable_text(getattr(value, name))}" for name in shown]
        return f"{kind.__qualname__}({', '.join(fields)})"
    return _without_address(repr(value))


def _joined(values: Iterable[Any]) -> str:
    return ", ".join(map(stable_text, values))


def _without_address(text: str) -> str:
    if ADDRESS.search(text):
        raise UnstableText(flattened(text))
    return text


def moments_of(declaration: Declaration) -> list[str]:
    """Return the names of options that hold the time of the import, which always differs."""
    given = [name for name, value in declaration.options.items() if _is_moment(value, declaration)]
    return given + _moments_of_trigger(declaration)


def _moments_of_trigger(declaration: Declaration) -> list[str]:
    """Return the same for a trigger object, except for a moment that it filled in itself."""
    names = ("start_date", "end_date", "run_date")
    return [
        name
        for part in trigger_defaults.parts(declaration.trigger)
        for name in names
        if not (
            trigger_defaults.moment_of(part) == name and trigger_defaults.has_default_moment(part)
        )
        and _is_moment(getattr(part, name, None), declaration)
    ]


def _is_moment(value: Any, declaration: Declaration) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return any(_is_moment(part, declaration) for part in value)
    # Nobody writes microseconds by hand.
    if not isinstance(value, dt.datetime) or not value.microsecond:
        return False
    at = declaration.declared_at
    moments = [at.replace(tzinfo=None), at.astimezone().replace(tzinfo=None)]
    if value.tzinfo is not None:
        moments = [at]
    return any(abs((value - moment).total_seconds()) < 60 for moment in moments)
