"""What others wrote stays on its line, and no terminal obeys it."""

import pytest

from jobstore.texts import flattened, one_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("report", "report", id="plain"),
        pytest.param("tägliche Grüße 日本 🎉", "tägliche Grüße 日本 🎉", id="any language"),
        pytest.param("a\nINFO b", "a\\nINFO b", id="line break"),
        pytest.param("a\r\nb", "a\\r\\nb", id="carriage return"),
        pytest.param("a\x85b\x0bc", "a\\x85b\\x0bc", id="old line breaks"),
        pytest.param("a\u2028b\u2029c", "a\\u2028b\\u2029c", id="line breaks of Unicode"),
        pytest.param("\x1b[2Jgone", "\\x1b[2Jgone", id="terminal code"),
        pytest.param("\x9b2J", "\\x9b2J", id="eight-bit terminal code"),
        pytest.param("abc\u202etxt.exe", "abc\\u202etxt.exe", id="direction of writing"),
        pytest.param("half \ud800", "half \\ud800", id="half of a surrogate pair"),
        pytest.param("nul\x00", "nul\\x00", id="NUL"),
    ],
)
def test_a_text_stays_on_its_line(text: str, shown: str) -> None:
    assert one_line(text) == shown


def test_a_long_text_is_cut() -> None:
    assert one_line("x" * 20, limit=5) == "xxxx…"


def test_what_is_no_text_is_shown_as_one() -> None:
    assert one_line(ValueError("one\ntwo")) == "one\\ntwo"


class WithoutText:
    """Has no text."""

    def __str__(self) -> str:
        raise SystemExit(1)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (ValueError("one\n\n  two\t"), "one two"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("x" * 501, "x" * 499 + "…"),
        (WithoutText(), "WithoutText without a text"),
    ],
    ids=["white space", "terminal code", "too long", "without a text"],
)
def test_the_text_of_anything_is_flattened(value: object, shown: str) -> None:
    assert flattened(value) == shown
