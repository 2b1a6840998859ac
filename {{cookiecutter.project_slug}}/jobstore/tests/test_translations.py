"""Every language is complete: what the code marks is in its catalogue, and nothing else is."""

import ast
import gettext
import re
from pathlib import Path

import pytest
from django.contrib import admin, auth

from jobstore.tests import catalogues
from jobstore.tests.catalogues import APP, Entry, Message

LANGUAGES = sorted(path.name for path in (APP / "locale").iterdir())
PLACEHOLDER = re.compile(r"%\(\w+\)[-+.\d]*[a-z]|%%|</?\w+[^>]*>|`[^`]+`")
# What Django says otherwise, of something else.
OTHERWISE = {"Duration"}


def catalogue(language: str, suffix: str = ".po") -> Path:
    return APP / "locale" / language / "LC_MESSAGES" / f"django{suffix}"


def entries(language: str) -> list[Entry]:
    return catalogues.entries(catalogue(language))


def test_german_is_there() -> None:
    assert "de" in LANGUAGES


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_the_messages_of_the_code_and_no_others(language: str) -> None:
    known = {entry.message for entry in entries(language)}
    marked = catalogues.messages()
    assert sorted(marked - known) == []
    assert sorted(known - marked) == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_message_is_translated(language: str) -> None:
    without = [entry.message for entry in entries(language) if not all(entry.texts)]
    assert without == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_translation_is_fuzzy_or_left_over(language: str) -> None:
    comments = [line for entry in entries(language) for line in entry.comments]
    assert [line for line in comments if "fuzzy" in line or line.startswith("#~")] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_translations_have_the_placeholders_and_the_marks_of_their_messages(language: str) -> None:
    for entry in entries(language):
        one, many = entry.message.id, entry.message.plural
        for form, text in enumerate(entry.texts):
            wanted = set(PLACEHOLDER.findall(many if form and many else one))
            assert set(PLACEHOLDER.findall(text)) == wanted, text


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_compiled_catalogue_is_that_of_the_text(language: str) -> None:
    expected: dict[object, str] = {}
    for entry in entries(language):
        key = entry.message.key
        if entry.message.plural:
            expected |= {(key, form): text for form, text in enumerate(entry.texts)}
        else:
            expected[key] = entry.texts[0]
    with catalogue(language, ".mo").open("rb") as file:
        found = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
    assert {key: text for key, text in found.items() if key} == expected


def test_no_message_is_put_together_before_it_is_translated() -> None:
    wrong = []
    for path in catalogues.sources(".py"):
        for _, call in catalogues.calls(ast.parse(path.read_text(encoding="utf-8"))):
            if any(isinstance(one, ast.JoinedStr | ast.BinOp) for one in call.args):
                wrong.append(f"{path}:{call.lineno}")
    assert wrong == []


def test_a_message_has_no_more_than_one_nameless_placeholder() -> None:
    texts = [f"{message.id} {message.plural}" for message in catalogues.messages()]
    assert [text for text in texts if len(re.findall(r"%[sdr]", text)) > 1] == []


def test_german_says_what_django_says() -> None:
    """A message of an app takes the place of Django's own, on every page of the project."""
    catalog: dict[object, str] = {}
    for package in (admin, auth):
        path = Path(package.__path__[0]) / "locale" / "de" / "LC_MESSAGES" / "django.mo"
        with path.open("rb") as file:
            catalog |= gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
    for entry in entries("de"):
        message: Message = entry.message
        said = catalog.get(message.key)
        if said is not None and message.id not in OTHERWISE:
            assert said.lower() == entry.texts[0].lower(), message.id
