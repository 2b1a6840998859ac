"""The text of docs/settings.md: what `.env.example` explains, and what the code says of it.

`manage.py settings_reference` writes the page; a test fails when the page, `.env.example`,
`config/settings.py`, `jobstore/conf.py` and `compose.yaml` disagree.
"""

import dataclasses
import os
import re
import runpy
import shutil
import tempfile
from pathlib import Path
from unittest import mock

from config.env import Variable

PROJECT = Path(__file__).resolve().parent.parent
PAGE = PROJECT / "docs" / "settings.md"

SECTION = re.compile(r"# --- (.+?) -+")
LINE = re.compile(r"(# )?([A-Z][A-Z_0-9]*)=(.*)")
# Lines of an explanation that begin with such a word get a place of their own on the page.
PART = re.compile(r"(Default|Production|Example): (.+)")
READ_BY_COMPOSE = re.compile(r"\$\{([A-Z_]+)")
# Variables without which the settings cannot be read; nothing is opened.
LEAST = {"DJANGO_SECRET_KEY": "x" * 50, "DATABASE_URL": "postgres://app@localhost/app"}

INTRODUCTION = """\
# Settings

Every variable of the project. Set them in `.env`, or in the environment, which wins. After a change
restart what runs: `docker compose up --wait`, or under supervisor
`supervisorctl -c deploy/supervisor/supervisord.conf restart all`.

A wrong value stops the start with one sentence that says what would be right. `manage.py check`
warns about names that nothing reads. Every variable but those under *Docker Compose* may come from
a file: set `NAME_FILE` to its path, and leave `NAME` unset.

`make settings` writes this page. To add a variable, read it in `config/settings.py` with `env`, or
add it to `jobstore/conf.py`; explain it in `.env.example`; then run that command.
"""


@dataclasses.dataclass
class Entry:
    """What `.env.example` says of one variable, as it stands there."""

    name: str
    text: list[str] = dataclasses.field(default_factory=list)
    parts: dict[str, str] = dataclasses.field(default_factory=dict)
    shown: str = ""
    is_default: bool = True


def variables(**environment: str) -> dict[str, Variable]:
    """Return what config/settings.py reads, with the defaults of an environment like this.

    Neither `.env` nor the variables of this process count.

    :raises ImproperlyConfigured: if a value is not accepted.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.dict(os.environ, LEAST | environment, clear=True),
    ):
        copy = Path(folder, "config", "settings.py")
        copy.parent.mkdir()
        shutil.copy(PROJECT / "config" / "settings.py", copy)
        known: dict[str, Variable] = runpy.run_path(str(copy))["env"].known
    return known


def parse(example: str) -> list[str | Entry]:
    """Return what `.env.example` consists of: titles of sections, entries, and lines of Jinja.

    Lines of Jinja exist in the template only. They are kept, so that a generated project has the
    page that it would write itself.
    """
    found: list[str | Entry] = []
    comment: list[str] = []
    for line in example.splitlines():
        if title := SECTION.fullmatch(line):
            found.append(f"## {title[1]}")
        elif line.startswith("#%"):
            found.append(line)
        elif variable := LINE.fullmatch(line):
            entry = Entry(variable[2], shown=variable[3], is_default=bool(variable[1]))
            _explain(entry, comment)
            found.append(entry)
        elif line.startswith("# "):
            comment.append(line[2:])
            continue
        comment = []
    first = next(
        (n for n, item in enumerate(found) if isinstance(item, str) and item.startswith("##")), 0
    )
    return found[first:]


def _explain(entry: Entry, comment: list[str]) -> None:
    part = ""
    for line in comment:
        if begins := PART.fullmatch(line):
            part = begins[1]
            entry.parts[part] = begins[2]
        elif part:
            entry.parts[part] += f"\n  {line}"
        else:
            entry.text.append(line)


def problems(example: str, compose: str) -> list[str]:
    """Return one sentence for each variable of which `.env.example` and the code disagree.

    :param compose: the text of compose.yaml, which reads some variables itself.
    """
    known = variables()
    entries = {
        entry.name.removesuffix("_FILE"): entry
        for entry in parse(example)
        if isinstance(entry, Entry)
    }
    wrong = [
        f"{name} is read, but not explained in .env.example." for name in known.keys() - entries
    ]
    for name, entry in entries.items():
        if not entry.text:
            wrong.append(f"{name} has no explanation above it in .env.example.")
        if "Example" not in entry.parts and entry.is_default:
            wrong.append(f'{name} has no line "# Example: {name}=..." in .env.example.')
        if name not in known:
            if name not in {*READ_BY_COMPOSE.findall(compose), "COMPOSE_PROJECT_NAME"}:
                wrong.append(f"{name} is explained in .env.example, but nothing reads it.")
        elif entry.is_default and entry.shown != known[name].default:
            default = known[name].default
            wrong.append(f"{name} is {default!a} by default, but {entry.shown!a} in .env.example.")
    return sorted(wrong)


def page(example: str) -> str:
    """Return the text of docs/settings.md."""
    known, items = variables(), parse(example)
    text = INTRODUCTION
    for number, item in enumerate(items):
        text += "\n" if _stands_apart(items, number) else ""
        text += f"{item}\n" if isinstance(item, str) else _described(item, known)
    return text


def _stands_apart(items: list[str | Entry], number: int) -> bool:
    """Whether an empty line precedes an item. A line of Jinja takes those below it along."""
    item, before = items[number], items[number - 1]
    if number and isinstance(before, str) and before.startswith("#%"):
        return False
    if item in ("#% else", "#% endif"):
        return "#% endif" in items[number:-1]
    return True


def _described(entry: Entry, known: dict[str, Variable]) -> str:
    variable = known.get(entry.name.removesuffix("_FILE"))
    if variable is None:
        variable = Variable("read by Docker Compose alone", entry.shown)
    default = entry.parts.get("Default") or (
        f"`{variable.default}`" if variable.default else "none"
    )
    lines = [f"### {entry.name.removesuffix('_FILE')}", "", *entry.text, ""]
    lines += [f"- Value: {variable.wanted}", f"- Default: {default}"]
    if "Production" in entry.parts:
        lines.append(f"- In production: {entry.parts['Production']}")
    lines.append(f"- Example: `{entry.parts.get('Example') or f'{entry.name}={entry.shown}'}`")
    return "\n".join(lines) + "\n"
