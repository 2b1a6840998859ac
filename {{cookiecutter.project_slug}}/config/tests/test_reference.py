"""docs/settings.md, .env.example and the code say the same of every variable."""

from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command

from config import reference
from jobstore import conf

EXAMPLE = (reference.PROJECT / ".env.example").read_text(encoding="utf-8")
COMPOSE = (reference.PROJECT / "compose.yaml").read_text(encoding="utf-8")
ENTRIES = [entry for entry in reference.parse(EXAMPLE) if isinstance(entry, reference.Entry)]
EXAMPLES = {entry.name: entry.parts["Example"] for entry in ENTRIES if "Example" in entry.parts}


def problems(example: str) -> list[str]:
    return reference.problems(example, COMPOSE)


def test_every_variable_is_explained_with_the_default_of_the_code() -> None:
    assert problems(EXAMPLE) == []


def test_the_page_is_up_to_date() -> None:
    written = reference.PAGE.read_text(encoding="utf-8")
    assert written == reference.page(EXAMPLE), "Run `make settings`, which writes docs/settings.md."


def test_a_setting_that_is_added_to_the_table_must_be_explained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(conf.SETTINGS, "SCHEDULER_NEW", conf.seconds(3))
    assert problems(EXAMPLE) == ["SCHEDULER_NEW is read, but not explained in .env.example."]


def test_a_variable_that_is_not_explained_any_more_is_named() -> None:
    less = EXAMPLE.replace("# LOG_LEVEL=INFO\n", "")
    assert problems(less) == ["LOG_LEVEL is read, but not explained in .env.example."]


def test_another_default_in_the_example_is_named() -> None:
    other = EXAMPLE.replace("# WEB_THREADS=4\n", "# WEB_THREADS=5\n")
    assert problems(other) == ["WEB_THREADS is '4' by default, but '5' in .env.example."]


def test_another_default_in_the_table_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(conf.SETTINGS, "SCHEDULER_HUNG_SECONDS", conf.seconds(31))
    assert problems(EXAMPLE) == [
        "SCHEDULER_HUNG_SECONDS is '31' by default, but '30' in .env.example."
    ]


def test_a_variable_that_nothing_reads_is_named() -> None:
    more = EXAMPLE + "\n# What was once.\n# Example: SCHEDULER_OLD=2\n# SCHEDULER_OLD=1\n"
    assert problems(more) == ["SCHEDULER_OLD is explained in .env.example, but nothing reads it."]


def test_a_variable_without_an_explanation_and_an_example_is_named() -> None:
    bare = EXAMPLE.replace("# WEB_THREADS=4\n", "\n# WEB_THREADS=4\n")
    assert problems(bare) == [
        "WEB_THREADS has no explanation above it in .env.example.",
        'WEB_THREADS has no line "# Example: WEB_THREADS=..." in .env.example.',
    ]


def test_every_example_is_for_its_own_variable() -> None:
    assert [name for name, line in EXAMPLES.items() if not line.startswith(f"{name}=")] == []


def test_every_example_is_accepted() -> None:
    examples = [
        entry.parts["Example"].split("=", 1) for entry in ENTRIES if "Example" in entry.parts
    ]
    assert len(examples) > 40
    reference.variables(**dict(examples))


def test_an_example_that_is_not_accepted_would_be_noticed() -> None:
    with pytest.raises(ImproperlyConfigured, match="WEB_THREADS is 'many'"):
        reference.variables(WEB_THREADS="many")


def test_what_this_machine_says_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_THREADS", "17")
    assert reference.variables()["WEB_THREADS"].default == "4"


def test_the_command_writes_the_page_and_then_finds_it_up_to_date(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "settings.md"
    page.write_text("An earlier one.\n")
    monkeypatch.setattr(reference, "PAGE", page)
    with pytest.raises(CommandError, match=r"not up to date\. Run `make settings`"):
        call_command("settings_reference", "--check")
    assert page.read_text() == "An earlier one.\n"
    call_command("settings_reference")
    assert page.read_text() == reference.page(EXAMPLE)
    call_command("settings_reference", "--check")
    assert "is up to date" in capsys.readouterr().out


def test_the_command_names_what_is_missing_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(reference, "PAGE", tmp_path / "settings.md")
    monkeypatch.setitem(conf.SETTINGS, "SCHEDULER_NEW", conf.seconds(3))
    with pytest.raises(CommandError, match="SCHEDULER_NEW is read, but not explained"):
        call_command("settings_reference")
    assert not (tmp_path / "settings.md").exists()
