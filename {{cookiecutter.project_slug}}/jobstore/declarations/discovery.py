"""Finds and imports the files that declare jobs, and reports those that cannot be used.

Jobs live in an app's `jobs` module or package, or anywhere in an app that is named "jobs".
"""

import importlib
import keyword
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from django.apps import apps
from django.utils.module_loading import module_has_submodule

from jobstore.declarations.declaration import Problem, is_interrupt, shown_path
from jobstore.texts import described, flattened

# Names in an app that have a meaning for Django or a test runner.
RESERVED = {"apps", "models", "admin", "tests", "migrations", "management", "templatetags"}
OF_TESTS = re.compile(r"test_.*|.*_test|conftest")
DECLARES = re.compile(r"^\s*@\s*(\w+\.)*schedul(ed|able)\b", re.MULTILINE)
# Bytes of a file that is not imported, but searched for declarations.
MAX_FILE_BYTES = 1_000_000


def import_jobs() -> list[Problem]:
    """Import the jobs of every installed app; return what could not be imported, or is not read.

    The subject of a problem is the name of the module.
    """
    problems: list[Problem] = []
    for app in apps.get_app_configs():
        if app.module is None:
            continue
        if app.name.rpartition(".")[2] == "jobs":
            problems += _import_package(app.name, RESERVED)
        elif module_has_submodule(app.module, "jobs"):
            problems += _import_package(f"{app.name}.jobs", set())
            problems += _hidden_module(app.module)
    return problems


def failed(problems: list[Problem]) -> list[str]:
    """Return the names of modules whose declarations are not known, by their problems."""
    return [problem.subject for problem in problems]


def is_of(module: str, failed: list[str]) -> bool:
    """Tell whether a module is one of those that cannot be imported, or lies in one."""
    return any(module == one or module.startswith(f"{one}.") for one in failed)


def _import_package(name: str, reserved: set[str]) -> Iterator[Problem]:
    problem = _import(name)
    if problem is not None:
        yield problem
        return
    seen: set[str] = set()
    for folder in list(getattr(sys.modules[name], "__path__", [])):
        yield from _import_folder(Path(folder), name, reserved, seen)


def _import_folder(
    folder: Path, package: str, reserved: set[str], seen: set[str]
) -> Iterator[Problem]:
    """Import the modules in a folder and below it, whether or not it is a package."""
    if (real := os.path.realpath(folder)) in seen:
        return
    seen.add(real)
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        yield Problem(package, f"The folder cannot be read: {flattened(error)}", shown_path(real))
        return
    for entry in entries:
        name = entry.stem if entry.suffix == ".py" else entry.name
        if name.startswith((".", "__")) and name != "__main__":
            continue
        if entry.suffix == ".py" or (entry.is_dir() and _holds_code(entry)):
            yield from _import_entry(entry, f"{package}.{name}", _why_not(name, reserved), seen)


def _import_entry(entry: Path, module: str, why_not: str, seen: set[str]) -> Iterator[Problem]:
    if why_not:
        if module not in sys.modules:  # otherwise its declarations are known already
            yield from _told(entry, module, why_not)
    elif entry.is_dir():
        yield from _import_subfolder(entry, module, seen)
    elif (problem := _import(module, entry)) is not None:
        yield problem


def _import_subfolder(folder: Path, package: str, seen: set[str]) -> Iterator[Problem]:
    problem = _import(package, folder / "__init__.py")
    if problem is not None:
        yield problem
        return
    yield from _import_folder(folder, package, set(), seen)


def _why_not(name: str, reserved: set[str]) -> str:
    """Return why a file or folder of this name is not searched for jobs; empty if it is."""
    if not name.isidentifier() or keyword.iskeyword(name):
        return f"{name!r} is not a name that Python can import"
    if name == "__main__":
        return "importing it would run a program"
    if name in reserved:
        return f"Django uses the name {name!r} for something else"
    if name in ("tests", "migrations") or OF_TESTS.fullmatch(name):
        return f"the name {name!r} is one for other code than jobs"
    return ""


def _told(entry: Path, module: str, why: str) -> Iterator[Problem]:
    files = sorted(entry.rglob("*.py")) if entry.is_dir() else [entry]
    for file in files:
        try:
            found = DECLARES.search(file.read_bytes()[:MAX_FILE_BYTES].decode(errors="replace"))
        except OSError:
            continue
        if found:
            line = found.string.count("\n", 0, found.end()) + 1
            text = f"The jobs in this file are skipped, because {why}; move them to another file."
            yield Problem(module, text, f"{shown_path(str(file))}:{line}")
            return


def _hidden_module(app: ModuleType) -> Iterator[Problem]:
    """Report a jobs.py beside a folder jobs, which Python imports instead."""
    for folder in app.__path__:
        file = Path(folder) / "jobs.py"
        if file.exists() and (file.with_suffix("") / "__init__.py").exists():
            yield from _told(file, f"{app.__name__}.jobs.py", "Python imports the folder beside it")


def _holds_code(folder: Path) -> bool:
    return next(folder.rglob("*.py"), None) is not None


def _import(name: str, file: Path | None = None) -> Problem | None:
    try:
        importlib.import_module(name)
    except BaseException as error:  # SystemExit as well
        if is_interrupt(error):
            raise
        text = described(error)
        return Problem(
            name,
            f"The module {name} cannot be imported, so its jobs are skipped: {text}",
            _place_in(error, name, file),
        )
    return None


def _place_in(error: BaseException, name: str, file: Path | None) -> str:
    """Return the line of the module itself that failed, not of a module that it imports."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{shown_path(error.filename)}:{error.lineno or 1}"
    found, trace = "", error.__traceback__
    while trace is not None:
        frame, line = trace.tb_frame, trace.tb_lineno
        if frame.f_globals.get("__name__") == name and frame.f_code.co_name == "<module>":
            found = f"{shown_path(frame.f_code.co_filename)}:{line}"
        trace = trace.tb_next
    return found or (shown_path(str(file)) if file else "")
