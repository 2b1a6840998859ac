"""Sentences that are written in English and shown in the reader's language.

Errors are raised in processes without a language of their own, and their texts are logged and
stored. So `str` of an error is always English. A page translates it when it shows it.

    raise NoSuchJob(said(_("There is no job %(job)r."), job=job_id))  # _ is gettext_noop

    message_user(request, shown(error))
"""

from collections.abc import Callable
from typing import Any, Self

from django.utils.translation import gettext

Change = Callable[[str], str]


class Sentence(str):
    """An English text that knows its message and values, so that it can be translated later."""

    __slots__ = ("_changes", "_msgid", "_values")
    _msgid: str
    _values: dict[str, Any]
    _changes: tuple[Change, ...]

    @classmethod
    def of(cls, msgid: str, values: dict[str, Any], changes: tuple[Change, ...] = ()) -> Self:
        """Return the sentence of a message with its values, changed by functions in turn."""
        sentence = cls(_changed(msgid % values if values else msgid, changes))
        sentence._msgid, sentence._values, sentence._changes = msgid, values, changes
        return sentence

    def translated(self) -> str:
        """Return the sentence in the current language."""
        values = {name: _translated(value) for name, value in self._values.items()}
        text = gettext(self._msgid)
        return _changed(text % values if values else text, self._changes)

    def changed(self, change: Change) -> "Sentence":
        """Return the sentence with a change that also applies to its translations."""
        return Sentence.of(self._msgid, self._values, (*self._changes, change))

    def __reduce__(self) -> Any:
        return str, (str(self),)


def said(msgid: str, **values: Any) -> Sentence:
    """Return a sentence in English that `shown` can translate.

    :param msgid: marked by `gettext_noop`, with named placeholders.
    :param values: those of the placeholders; sentences among them are translated as well.
    """
    return Sentence.of(msgid, values)


def told(error: BaseException) -> str:
    """Return the text of an error: the Sentence that it was raised with, if it was one."""
    first = error.args[0] if len(error.args) == 1 else None
    return first if isinstance(first, Sentence) else str(error)


def shown(text: object) -> str:
    """Return a sentence, or that of an error, in the current language; any other text as it is."""
    text = told(text) if isinstance(text, BaseException) else text
    return str(_translated(text))


def changed(text: str, change: Change) -> str:
    """Return a text changed by a function; a Sentence is changed in every language."""
    return text.changed(change) if isinstance(text, Sentence) else change(text)


def _translated(value: Any) -> Any:
    return value.translated() if isinstance(value, Sentence) else value


def _changed(text: str, changes: tuple[Change, ...]) -> str:
    for change in changes:
        text = change(text)
    return text
