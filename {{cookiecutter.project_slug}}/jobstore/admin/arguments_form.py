"""The arguments of a job's function as a form.

Functions that the code offers with types have a field for each argument. The arguments of all
others are written as JSON. Secret values are never sent to the browser: a mask stands for them, and
a masked value stays as it is stored.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, gettext_noop

from jobstore.declarations.fields import Field
from jobstore.declarations.offers import Offer
from jobstore.sentences import said, shown
from jobstore.storage import masking
from jobstore.texts import flattened

MAX_LENGTH = 100_000
PREFIX = "arg_"


SWITCH = {"true": gettext_lazy("true"), "false": gettext_lazy("false")}


class NotJson(Exception):
    """Arguments that JSON cannot hold, such as dates."""


class JsonField(forms.CharField):
    """A list or an object of JSON."""

    widget = forms.Textarea(attrs={"rows": 4, "spellcheck": "false", "class": "vLargeTextField"})

    def __init__(self, kind: type, **options: Any) -> None:
        self._kind = kind
        super().__init__(required=False, max_length=MAX_LENGTH, **options)

    def to_python(self, value: Any) -> Any:
        """Return the value; an empty one for nothing."""
        text = (super().to_python(value) or "").strip()
        if not text:
            return self._kind()
        try:
            found = json.loads(text, parse_constant=_refuse, object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            why = flattened(shown(error), 120).rstrip(".") or _("it is nested too deeply")
            raise ValidationError(_("This is not JSON: %(why)s.") % {"why": why}) from None
        if not isinstance(found, self._kind):
            raise ValidationError(
                _("Write a list, such as [1].")
                if self._kind is list
                else _('Write an object, such as {"n": 1}.')
            )
        return found

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compare values, not texts."""
        try:
            return bool(self.to_python(data) != self.to_python(initial))
        except ValidationError:
            return True


class ArgumentsForm(forms.Form):
    """The arguments of a job."""

    def __init__(
        self,
        data: Any = None,
        *,
        func: Any,
        offer: Offer | None,
        stored: tuple[Sequence[Any], Mapping[str, Any]] | None = None,
    ) -> None:
        """Ask for the arguments of a function.

        :param data: what was filled in; None if nothing was yet.
        :param func: what is called; None if it cannot be found.
        :param offer: how the code offers it; None if it does not.
        :param stored: the arguments that the job has, or is to have at first.
        """
        super().__init__(data)
        self._stored = stored or ((), {})
        self._offer = offer
        # Arguments that the fields cannot show stay as they are.
        self.is_fixed = False
        typed = offer is not None and all(one.kind != "any" for one in offer.fields)
        self.is_typed = typed and not self._stored[0]
        if self.is_typed and offer is not None:
            for one in offer.fields:
                self.fields[f"{PREFIX}{one.name}"] = self._typed(one)
            return
        try:
            texts = _texts(func, *self._stored)
        except NotJson:
            self.is_fixed = True
            return
        kept = _kept() if masking.MASK in "".join(texts) else ""
        help_texts = [f"{text} {kept}" for text in (_("A list of JSON."), _("An object of JSON."))]
        self.fields["args"] = JsonField(
            list, label=_("Positional"), initial=texts[0], help_text=help_texts[0]
        )
        self.fields["kwargs"] = JsonField(
            dict, label=_("By name"), initial=texts[1], help_text=help_texts[1]
        )

    @property
    def shown(self) -> str:
        """The stored arguments as people may see them."""
        return masking.shown(None, *self._stored)

    def call(self) -> tuple[list[Any], dict[str, Any]]:
        """Return the filled-in arguments, with the stored values of masked secrets."""
        if self.is_fixed:
            return list(self._stored[0]), dict(self._stored[1])
        if self.is_typed:
            return [], self.cleaned_data["kwargs"]
        return self.cleaned_data["args"], self.cleaned_data["kwargs"]

    def has_changed(self) -> bool:
        """Tell whether the arguments differ from the stored ones. Call it on a valid form."""
        return self.call() != (list(self._stored[0]), dict(self._stored[1]))

    def clean(self) -> dict[str, Any]:
        """Read typed values, and put stored secrets in place of their masks."""
        values = super().clean() or self.cleaned_data
        if self.is_typed:
            values["kwargs"] = self._read(values)
        elif not self.errors and not self.is_fixed:
            for name, stored in (("args", list(self._stored[0])), ("kwargs", self._stored[1])):
                try:
                    values[name] = unmasked(values[name], stored)
                except ValueError as error:
                    self.add_error(name, shown(error))
        return values

    def place(self, error: Exception) -> None:
        """Show an operation's error about the arguments at the field that it concerns."""
        text = str(error)
        names = [name for name in self.fields if f"{name.removeprefix(PREFIX)!r}" in text]
        self.add_error(next(iter([*names, *reversed(self.fields)]), None), shown(error))

    def _typed(self, one: Field) -> forms.Field:
        stored = self._stored[1]
        is_kept = one.is_secret and one.name in stored
        value = stored.get(one.name)
        wanted = shown(one.wanted)
        help_text = one.help or ("" if one.kind == "text" else f"{wanted[:1].upper()}{wanted[1:]}.")
        if not one.is_required and (one.default is None or not one.is_secret):
            default = (
                _("Empty for nothing, as in the code.")
                if one.default is None
                else _("Empty for %(default)s, as in the code.")
                % {"default": one.text_of(one.default)}
            )
            help_text = f"{help_text} {default}".strip()
        options: dict[str, Any] = {
            "label": one.label or one.name.replace("_", " ").capitalize(),
            "required": False,
            "help_text": f"{help_text} {_kept()}".strip() if is_kept else help_text,
            "initial": masking.MASK if is_kept else _text_of(one, value),
        }
        if one.kind in ("choice", "switch"):
            texts = {text: text for text in one.choices} if one.kind == "choice" else SWITCH
            choices = [("", "---------"), *texts.items()]
            return forms.ChoiceField(choices=choices, **options)
        kinds = {"moment": "datetime-local", "date": "date", "whole": "number"}
        attributes = {"type": kinds[one.kind]} if one.kind in kinds and not is_kept else {}
        widget = forms.TextInput(attrs=attributes | {"class": "vTextField"})
        return forms.CharField(widget=widget, max_length=MAX_LENGTH, strip=False, **options)

    def _read(self, values: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for one in self._offer.fields if self._offer else ():
            name = f"{PREFIX}{one.name}"
            text = values.get(name, "")
            if one.is_secret and text == masking.MASK and one.name in self._stored[1]:
                found[one.name] = self._stored[1][one.name]
            elif text == masking.MASK:
                text = _("There is nothing stored that could be kept; write the value.")
                self.add_error(name, text)
            elif text == "" and not one.is_required and not (one.kind == "text" and self._has(one)):
                continue
            elif text == "" and one.is_required and one.kind == "text":
                found[one.name] = ""
            else:
                try:
                    found[one.name] = one.value_of(text)
                except ValueError as error:
                    sentence = shown(error)
                    self.add_error(name, f"{sentence[:1].upper()}{sentence[1:]}.")
        return found

    def _has(self, one: Field) -> bool:
        """Tell whether the stored value of an argument is an empty text."""
        return bool(self._stored[1].get(one.name) == "")


def unmasked(value: Any, stored: Any) -> Any:
    """Return a value in which each mask is replaced by the stored value at the same place.

    :raises ValueError: for a mask where nothing is stored.
    """
    if value == masking.MASK:
        if stored is None:
            text = gettext_noop(
                "%(mask)s stands for a stored value, and there is none at this place; write the "
                "value."
            )
            raise ValueError(said(text, mask=masking.MASK))
        return stored
    if isinstance(value, dict):
        inside = stored if isinstance(stored, Mapping) else {}
        return {name: unmasked(one, inside.get(name)) for name, one in value.items()}
    if isinstance(value, list):
        beside = list(stored) if isinstance(stored, list | tuple) else []
        beside += [None] * (len(value) - len(beside))
        return [unmasked(one, other) for one, other in zip(value, beside, strict=False)]
    return value


def _texts(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[str, str]:
    """Return arguments as JSON, secret ones masked.

    :raises NotJson: if JSON cannot hold them.
    """
    try:
        for value in (list(args), dict(kwargs)):
            if json.loads(json.dumps(value, allow_nan=False)) != value:
                raise NotJson
        masked_args, masked_kwargs = masking.masked_arguments(func, args, kwargs)
        return _json(masked_args), _json(masked_kwargs)
    except (TypeError, ValueError, RecursionError) as error:
        raise NotJson from error


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=_mask) if value else ""


def _mask(value: Any) -> str:
    if isinstance(value, masking.Masked):
        return masking.MASK
    raise TypeError


def _kept() -> str:
    return _("Leave %(mask)s to keep what is stored.") % {"mask": masking.MASK}


def _text_of(one: Field, value: Any) -> str:
    if value is None:
        return ""
    if one.kind == "switch":
        return "true" if value else "false"
    if one.kind == "moment" and hasattr(value, "isoformat"):
        return str(value.isoformat())
    return str(one.text_of(value))


def _refuse(name: str) -> Any:
    raise ValueError(said(gettext_noop("%(name)s is not a number"), name=name))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(said(gettext_noop("a name is given twice")))
    return found
