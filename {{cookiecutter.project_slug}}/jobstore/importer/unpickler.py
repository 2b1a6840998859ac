"""Reads the states of django-apscheduler's jobs, which are unsigned pickles, without trusting them.

A pickle may name any function and have it called while it is read, and a job runs the function that
its state names. So only the project's own modules and a few harmless classes are imported, unless
somebody has looked at a name and allowed it.
"""

import datetime as dt
import importlib.util
import io
import pickle
import sysconfig
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from django.conf import settings

# Modules whose classes a state may name: triggers and plain arguments need them.
PLAIN = (
    *("apscheduler.triggers", "collections", "dateutil.tz", "datetime", "decimal", "fractions"),
    *("ipaddress", "pathlib", "tzlocal", "uuid", "zoneinfo"),
)
# Other names that a state may contain: types of values, and calls of older pickle protocols.
HARMLESS = {
    *(("builtins", name) for name in ("bool", "bytearray", "bytes", "complex", "dict", "float")),
    *(("builtins", name) for name in ("frozenset", "int", "list", "object", "range", "set")),
    *(("builtins", name) for name in ("slice", "str", "tuple")),
    *(("copyreg", name) for name in ("_reconstructor", "__newobj__", "__newobj_ex__")),
    ("_codecs", "encode"),
}
# The names of modules in Python 2 and in protocols below 3.
FORMER = {"__builtin__": "builtins", "copy_reg": "copyreg", "backports.zoneinfo": "zoneinfo"}


class Foreign(Exception):
    """A function or class is neither the project's own nor allowed; the text says what to do."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name} is not in one of this project's own modules. If you have looked at this job "
            f"and want it, use --allow {name}"
        )


class Allowed(frozenset[str]):
    """Names, as "module:name", that somebody has looked at and allowed."""

    needed: set[str]

    def __new__(cls, names: Iterable[str]) -> "Allowed":
        """Take the names; none was needed yet."""
        found = super().__new__(cls, names)
        found.needed = set()
        return found

    def __contains__(self, name: object) -> bool:
        """Tell whether a name is allowed, and remember that this was asked."""
        is_allowed = super().__contains__(name)
        if is_allowed:
            self.needed.add(str(name))
        return is_allowed


class Unpickler(pickle.Unpickler):
    """Unpickles states, also those of APScheduler before 3.11, with zones of other packages."""

    ZONES: ClassVar[dict[tuple[str, str], Callable[..., Any]]] = {
        ("pytz", "_UTC"): lambda: ZoneInfo("UTC"),
        ("pytz", "_p"): lambda name, *_: ZoneInfo(name),
        ("pytz", "FixedOffset"): lambda minutes: dt.timezone(dt.timedelta(minutes=minutes)),
        ("pytz_deprecation_shim._impl", "wrap_zone"): lambda zone, _: zone,
    }

    def __init__(self, data: bytes, allowed: Collection[str] = ()) -> None:
        """Prepare to read.

        :param allowed: names, as "module:name", that somebody has looked at and allowed.
        """
        super().__init__(io.BytesIO(data))
        self._allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        """Return the object of a name in the state.

        :raises Foreign: if the name is not known to be harmless; its module is not imported then.
        :raises ModuleNotFoundError: if there is no such module.
        """
        module = FORMER.get(module, module)
        if zone := self.ZONES.get((module, name)):
            return zone
        if (module, name) == ("builtins", "getattr"):
            return _attribute
        if (module, name) in HARMLESS or f"{module}:{name}" in self._allowed:
            return super().find_class(module, name)
        if _is_plain(module) and "." not in name:
            found = super().find_class(module, name)
            # Functions of a module may do anything, and so may names that it has imported.
            if isinstance(found, type) and _is_plain(found.__module__):
                return found
        elif is_own(module):
            found = super().find_class(module, name)
            require_own(found, f"{module}:{name}", self._allowed)
            return found
        elif not _places(module):
            # Allowing a missing module would not help.
            raise ModuleNotFoundError(f"No module named {module!r}", name=module)
        raise Foreign(f"{module}:{name}")


def require_known(reference: str, allowed: Collection[str]) -> None:
    """Refuse a job's function outside the project's own modules. Nothing is imported.

    A missing module is accepted: nothing of it can run.

    :raises Foreign: if the function is in another module and not allowed.
    """
    module = reference.partition(":")[0]
    if reference not in allowed and not is_own(module) and _places(module):
        raise Foreign(reference)


def require_own(found: Any, reference: str, allowed: Collection[str]) -> None:
    """Refuse an object with a name of the project that was imported from elsewhere.

    :raises Foreign: if it was, and the name is not allowed.
    """
    module = getattr(found, "__module__", None)
    # A class of the project has its own module; an instance has the module of its class.
    if reference not in allowed and not (isinstance(module, str) and is_own(module)):
        raise Foreign(reference)


def is_own(module: str) -> bool:
    """Tell whether a module is in the project's folder and not installed there. Imports nothing."""
    places = _places(module)
    installed = [Path(place) for place in sysconfig.get_paths().values()]
    base = Path(settings.BASE_DIR).resolve()
    return bool(places) and all(
        place.is_relative_to(base)
        and not {"site-packages", "dist-packages"} & set(place.parts)
        and not any(place.is_relative_to(one) for one in installed if one != base)
        for place in places
    )


def _attribute(owner: Any, name: str) -> Any:
    """Return an attribute by which zones are pickled; other attributes may lead anywhere."""
    if owner is not ZoneInfo or name != "_unpickle":
        raise Foreign("builtins:getattr")
    return getattr(owner, name)


def _is_plain(module: str) -> bool:
    return any(module == one or module.startswith(f"{one}.") for one in PLAIN)


def _places(module: str) -> list[Path]:
    """Return where a module's outermost package is; none if there is no such package."""
    try:
        spec = importlib.util.find_spec(module.partition(".")[0])
    except (ImportError, ValueError):
        # Without a file of its own, such as __main__: it is not the project's.
        return [Path("/")]
    if spec is None:
        return []
    # Modules built into Python have "built-in" in place of a path.
    alone = [spec.origin if spec.has_location and spec.origin else "/"]
    places = list(spec.submodule_search_locations or alone)
    return [Path(place).resolve() for place in places]
