"""Arguments of functions that people may schedule: how they are asked for and read.

The admin's form, `manage.py jobs` and files of jobs take the same values, and refuse the same ones.
"""

import dataclasses
import datetime as dt
import decimal
import math
from collections.abc import Callable, Mapping
from typing import Any

from django.utils.translation import gettext_noop as _

from jobstore.sentences import said
from jobstore.storage import masking
from jobstore.texts import flattened

TRUE, FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
WANTED = {
    "text": _("text"),
    "whole": _("a whole number"),
    "number": _("a number"),
    "switch": _("true or false"),
    "date": _("a date such as 2030-01-31"),
    "moment": _("a moment such as 2030-01-31 08:00"),
    "decimal": _("a decimal number such as 12.50"),
    "any": _("a value"),
}


@dataclasses.dataclass(frozen=True)
class Field:
    """An argument as people see it. `kind` is a key of WANTED, or "choice".

    `choices` maps the shown choices to the values that the function gets.
    """

    name: str
    kind: str
    is_required: bool = True
    default: Any = None
    is_optional: bool = False
    choices: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    label: str = ""
    help: str = ""
    least: float | None = None
    most: float | None = None

    @property
    def wanted(self) -> str:
        """The accepted values, in words that follow "must be"."""
        if self.kind not in WANTED:
            return _chosen([*self.choices])
        wanted = said(WANTED[self.kind])
        if self.least is None and self.most is None:
            return wanted
        if self.most is None:
            text = _("%(wanted)s of at least %(least)g")
        elif self.least is None:
            text = _("%(wanted)s of at most %(most)g")
        else:
            text = _("%(wanted)s from %(least)g to %(most)g")
        return said(text, wanted=wanted, least=self.least, most=self.most)

    @property
    def is_secret(self) -> bool:
        """Whether its value is shown nowhere."""
        return masking.is_secret(self.name)

    def value_of(self, given: Any) -> Any:
        """Return the value that the function gets for a given text or value.

        :raises ValueError: with what would be accepted.
        """
        if given is None or (given == "" and self.kind != "text"):
            if self.is_optional:
                return None
            text = _("%(name)s is missing; it must be %(wanted)s")
            raise ValueError(said(text, name=self.name, wanted=self.wanted))
        try:
            value = self._read(given)
        except (ValueError, TypeError, KeyError, ArithmeticError):
            raise ValueError(self._refused(given)) from None
        return value

    def _refused(self, given: Any) -> str:
        if self.is_secret:
            text = _("%(name)s is what was given; it must be %(wanted)s")
            return said(text, name=self.name, wanted=self.wanted)
        text = _("%(name)s is %(value)r; it must be %(wanted)s")
        return said(text, name=self.name, value=flattened(given, 80), wanted=self.wanted)

    def text_of(self, value: Any) -> Any:
        """Return a value as a file of jobs holds it; `value_of` reads it back."""
        if self.kind == "choice":
            return next((text for text, one in self.choices.items() if one == value), value)
        if isinstance(value, dt.date | decimal.Decimal):
            return str(value)
        return value

    def _read(self, given: Any) -> Any:
        if self.kind == "choice":
            same = [
                one for one in self.choices.values() if (type(one), one) == (type(given), given)
            ]
            return same[0] if same else self.choices[str(given)]
        value = READERS[self.kind](given)
        if self.kind in ("whole", "number", "decimal") and not self._is_within(value):
            raise ValueError
        return value

    def _is_within(self, value: Any) -> bool:
        is_enough = self.least is None or value >= self.least
        return math.isfinite(value) and is_enough and (self.most is None or value <= self.most)


def _text(given: Any) -> str:
    if not isinstance(given, str):
        raise TypeError
    return given


def _switch(given: Any) -> bool:
    text = str(given).strip().lower()
    if text not in TRUE + FALSE:
        raise ValueError
    return text in TRUE


def _whole(given: Any) -> int:
    value = int(given) if isinstance(given, str) else given
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    return value


def _number(given: Any) -> float:
    if isinstance(given, bool):
        raise TypeError
    return float(given)


def _decimal(given: Any) -> decimal.Decimal:
    if isinstance(given, bool):
        raise TypeError
    return decimal.Decimal(str(given).strip())


def _moment(given: Any) -> dt.datetime:
    return given if isinstance(given, dt.datetime) else dt.datetime.fromisoformat(given)


def _date(given: Any) -> dt.date:
    if isinstance(given, dt.date) and not isinstance(given, dt.datetime):
        return given
    return dt.date.fromisoformat(given)


def _chosen(names: list[str]) -> str:
    """Return choices as people list them."""
    found = names[0] if names else ""
    for name in names[1:]:
        found = said(_("%(first)s or %(second)s"), first=found, second=name)
    return found


READERS: dict[str, Callable[[Any], Any]] = {
    "any": lambda given: given,
    "text": _text,
    "switch": _switch,
    "whole": _whole,
    "number": _number,
    "decimal": _decimal,
    "moment": _moment,
    "date": _date,
}
