"""Reads the file `.env`, and refuses what Docker Compose would read differently.

Compose reads the same file, and replaces `$name`, drops what follows ` #`, and takes a backslash
for the beginning of an escape. If they read a value differently, programs
disagree: with another secret key, a scheduler in a container would reject the signature of every
job. So only values that both read alike are accepted. `manage.py`, gunicorn and the scheduler all
say which line is wrong.
"""

import re
from collections.abc import Container
from pathlib import Path

LINE = re.compile(r"(?:export[ \t]+)?([A-Za-z_][A-Za-z_0-9]*)[ \t]*=(.*)", re.DOTALL)


def read(file: Path, but: Container[str] = ()) -> tuple[dict[str, str], list[str]]:
    """Return the variables of a file, and one sentence for each line that is not accepted.

    A missing file has none.

    :param but: names to leave out, because the environment sets them.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}, []
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        return {}, [f"The file {file} cannot be read: {reason}."]
    values: dict[str, str] = {}
    problems: list[str] = []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        found = LINE.fullmatch(line)
        if not found:
            problems.append(f"Line {number} of {file.name} is not NAME=value.")
            continue
        name, value = found[1], found[2].strip()
        if name in but:
            continue
        if reason := refusal(value):
            # Never the value: it may be a secret.
            problems.append(f"{name} in line {number} of {file.name} {reason}")
        values[name] = value[1:-1] if value[:1] in ("'", '"') else value
    return values, problems


def refusal(value: str) -> str:
    """Return why a value is not accepted, in words that follow its name; empty if it is."""
    quote = value[0] if value[:1] in ("'", '"') else ""
    if quote and (len(value) == 1 or value.find(quote, 1) != len(value) - 1):
        return (
            "has a quote that is not closed at its end: write the value without quotes, and "
            "put no comment behind it."
        )
    if not quote and ("'" in value or '"' in value):
        return "contains a quote: choose a value without one."
    if "$" in value and quote != "'":
        return (
            "contains a $, which Docker Compose would replace: choose a value without it, or put "
            "the whole value in single quotes."
        )
    if "\\" in value and quote != "'":
        return "contains a backslash: choose a value without one."
    if not quote and re.search(r"(^|\s)#", value):
        return "has a comment behind it, or a # after a space: put comments on lines of their own."
    return ""
