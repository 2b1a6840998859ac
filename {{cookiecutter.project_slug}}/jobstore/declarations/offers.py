"""Functions that people may schedule, and what they are called with."""

import dataclasses
import datetime as dt
import decimal
import enum
import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal

from django.utils.functional import Promise
from django.utils.translation import gettext_noop as _

from jobstore.declarations.declaration import Place, Problem, name_of
from jobstore.declarations.fields import Field
from jobstore.sentences import said
from jobstore.texts import flattened

KINDS: dict[Any, str] = {
    str: "text",
    bool: "switch",
    int: "whole",
    float: "number",
    dt.datetime: "moment",
    dt.date: "date",
    decimal.Decimal: "decimal",
}
# Kinds that have a least and a most.
NUMBERS = ("whole", "number", "decimal")
HINTS = ("label", "help", "least", "most")
SUPPORTED = (
    "str, int, float, bool, date, datetime, Decimal, an Enum, Literal, or one of them | None"
)


@dataclasses.dataclass(frozen=True)
class Offer:
    """A function that people may schedule. Its `key`, "module.function", must never change."""

    key: str
    func: Callable[..., Any]
    name: str
    fields: tuple[Field, ...]
    place: Place = dataclasses.field(default=Place(), compare=False)
    # Why it cannot be offered: found when it is declared, reported with all other problems.
    fault: str = ""

    @property
    def doc(self) -> str:
        """The first line of its docstring."""
        return (inspect.getdoc(self.func) or "").partition("\n")[0]

    @property
    def problem(self) -> Problem | None:
        """What is wrong with it."""
        if not self.fault:
            return None
        return Problem(self.key[:255], f"{self.key} is not offered: {self.fault}.", str(self.place))

    def arguments(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a call for the given texts or values.

        :raises ValueError: for the first argument that is wrong, unknown or missing.
        """
        known = {field.name: field for field in self.fields}
        if unknown := next((name for name in values if name not in known), None):
            takes = ", ".join(known) or said(_("no argument"))
            text = _("%(key)s takes %(takes)s, and not %(unknown)r")
            raise ValueError(said(text, key=self.key, takes=takes, unknown=unknown))
        found = {}
        for name, field in known.items():
            if name in values:
                found[name] = field.value_of(values[name])
            elif field.is_required:
                text = _("%(name)s is missing; it must be %(wanted)s")
                raise ValueError(said(text, name=name, wanted=field.wanted))
        return found


def offer_of(
    func: Callable[..., Any],
    name: str | None = None,
    hints: Mapping[str, Any] | None = None,
    place: Place = Place(),  # noqa: B008 - it cannot be changed
    *,
    is_typed: bool = True,
) -> Offer:
    """Return the offer of a function, with its fault if it cannot be offered.

    :param is_typed: whether each argument must have a type that a form can ask for.
    """
    key = flattened(name_of(func), 255)
    fields: list[Field] = []
    fault = ""
    try:
        fields = _fields(func, hints or {}, is_typed)
    except (ValueError, TypeError) as error:
        fault = str(error)
    if name is not None and (not isinstance(name, str | Promise) or not str(name).strip()):
        name, fault = None, fault or "its name is a text that is not empty"
    return Offer(key, func, name or key.rpartition(".")[2], tuple(fields), place, fault)


def _fields(func: Any, hints: Mapping[str, Any], is_typed: bool) -> list[Field]:
    parameters = inspect.signature(func).parameters
    if unknown := next((name for name in hints if name not in parameters), None):
        raise ValueError(f"there is a hint for {unknown!r}, which is not an argument")
    try:
        annotations = _annotations(func)
    except Exception as error:  # a name that only type checkers know
        if is_typed:
            raise ValueError(f"its annotations cannot be read: {flattened(error)}") from error
        annotations = {}
    found = []
    for name, one in parameters.items():
        if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD, one.POSITIONAL_ONLY):
            found.append(_field(one, annotations.get(name), hints.get(name), is_typed))
        elif is_typed:
            raise ValueError(f"a form cannot ask for {one}; give each argument a name")
    return found


def _field(one: inspect.Parameter, annotation: Any, hint: Any, is_typed: bool) -> Field:
    try:
        kind, choices, is_optional = _kind(annotation)
    except ValueError as error:
        if is_typed:
            raise ValueError(f"{one.name}: {error}") from error
        kind, choices, is_optional = "", {}, True
    if not kind and is_typed:
        raise ValueError(f"{one.name} has no type that a form can ask for: {SUPPORTED}")
    has_default = one.default is not one.empty
    field = Field(
        one.name,
        kind or "any",
        not has_default,
        one.default if has_default else None,
        is_optional or not kind or one.default is None,
        choices,
        **_hint(one.name, kind, hint),
    )
    if is_typed and has_default:
        _check_default(field)
    return field


def _annotations(func: Any) -> dict[str, Any]:
    """Return the types of arguments. That of the result may be known to type checkers alone."""
    inner = inspect.unwrap(func)
    given = {name: one for name, one in inspect.get_annotations(inner).items() if name != "return"}
    stand_in = types.SimpleNamespace(
        __annotations__=given, __globals__=getattr(inner, "__globals__", {})
    )
    return typing.get_type_hints(stand_in)


def _check_default(field: Field) -> None:
    """Refuse a default that nobody could fill in: a form shows it, and what it stands for.

    :raises ValueError: with the argument.
    """
    if field.default is None:
        return
    try:
        text = field.text_of(field.default)
        str(text)
        is_right = bool(field.value_of(text) == field.default)
    except Exception:  # methods of anybody's objects
        is_right = False
    if not is_right:
        shown = "a default" if field.is_secret else f"the default {flattened(field.default, 80)!r}"
        raise ValueError(f"{field.name} has {shown}, which must be {field.wanted}")


def _kind(annotation: Any) -> tuple[str, dict[str, Any], bool]:
    """Return a kind, its choices, and whether None is one; no kind if it is unknown."""
    origin, inside = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType) and type(None) in inside and len(inside) == 2:
        [other] = [one for one in inside if one is not type(None)]
        kind, choices, _optional = _kind(other)
        return kind, choices, True
    if origin is Literal:
        given = [one for one in inside if one is not None]
        return "choice", _choices([str(one) for one in given], given), None in inside
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        members = annotation.__members__
        return "choice", _choices([*members], [*members.values()]), False
    if hasattr(annotation, "__supertype__"):  # a NewType
        return _kind(annotation.__supertype__)
    return KINDS.get(annotation, ""), {}, False


def _choices(texts: list[str], values: list[Any]) -> dict[str, Any]:
    if not texts:
        raise ValueError("there is nothing to choose from; list what may be chosen")
    if len(set(texts)) < len(texts) or "" in texts:
        raise ValueError("each choice needs a text of its own that is not empty")
    return dict(zip(texts, values, strict=True))


def _hint(name: str, kind: str, hint: Any) -> dict[str, Any]:
    if hint is None:
        return {}
    if isinstance(hint, str):
        return {"help": hint}
    if not isinstance(hint, Mapping) or set(hint) - set(HINTS):
        raise ValueError(f"the hint for {name!r} is a text, or a dict of {', '.join(HINTS)}")
    for one in ("label", "help"):
        # Texts to be translated are not of the type str.
        if not isinstance(hint.get(one, ""), str | Promise):
            raise ValueError(f"the {one} of {name!r} is a text")
    limits = [hint[one] for one in ("least", "most") if hint.get(one) is not None]
    if limits and kind not in NUMBERS:
        raise ValueError(f"only numbers have least and most, and {name!r} is none")
    is_number = [isinstance(one, int | float) and math.isfinite(one) for one in limits]
    if not all(is_number) or limits != sorted(limits):
        raise ValueError(f"least and most of {name!r} are numbers, the smaller one first")
    return dict(hint)
