"""Messages that the code marks for translation, and catalogues of them, without GNU gettext.

`makemessages` finds the same, with tools that need not be installed where tests run.
"""

import ast
import dataclasses
import functools
import re
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

from django.utils.translation.template import templatize

APP = Path(__file__).resolve().parent.parent
# How many texts a function takes before its other arguments, and whether the first is a context.
FUNCTIONS = {
    **dict.fromkeys(("gettext", "gettext_lazy", "gettext_noop"), (1, False)),
    **dict.fromkeys(("ngettext", "ngettext_lazy"), (2, False)),
    **dict.fromkeys(("pgettext", "pgettext_lazy"), (2, True)),
    **dict.fromkeys(("npgettext", "npgettext_lazy"), (3, True)),
}
TEXT = r"""u?("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
IN_TEMPLATE = re.compile(
    rf"\b(_|gettext|ngettext|pgettext|npgettext)\({TEXT}(?:, {TEXT})?(?:, {TEXT})?"
)
LINE = re.compile(r'(?:(msgctxt|msgid_plural|msgid|msgstr)(?:\[(\d)\])? )?(".*")')
BETWEEN_CONTEXT_AND_ID = "\x04"


@dataclasses.dataclass(frozen=True, order=True)
class Message:
    """What is looked up: a text, its plural if it has one, and a context that tells two apart."""

    id: str
    plural: str = ""
    context: str = ""

    @property
    def key(self) -> str:
        """How a compiled catalogue names it."""
        return f"{self.context}{BETWEEN_CONTEXT_AND_ID}{self.id}" if self.context else self.id


@dataclasses.dataclass
class Entry:
    """A message of a catalogue with its translations, one for each form of the plural."""

    message: Message
    texts: list[str]
    comments: list[str]


def sources(suffix: str) -> Iterator[Path]:
    """Give the files of the app, without its tests."""
    for path in sorted(APP.rglob(f"*{suffix}")):
        if "tests" not in path.relative_to(APP).parts:
            yield path


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Give the calls that mark messages in a module, with the names of Django's functions."""
    names = dict[str, str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "django.utils.translation":
            names |= {one.asname or one.name: one.name for one in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            name = names.get(node.func.id, "")
            if name in FUNCTIONS:
                yield name, node


@functools.cache
def messages() -> frozenset[Message]:
    """Return all messages of the app's code and templates."""
    found = set()
    for path in sources(".py"):
        for name, call in calls(ast.parse(path.read_text(encoding="utf-8"))):
            texts = [str(one.value) for one in call.args if isinstance(one, ast.Constant)]
            number, has_context = FUNCTIONS[name]
            if len(texts) >= number:
                found.add(_message(texts[:number], has_context))
    for path in sources(".html"):
        for marked in IN_TEMPLATE.finditer(templatize(path.read_text(encoding="utf-8"))):
            name, *quoted = marked.groups()
            number, has_context = FUNCTIONS["gettext" if name == "_" else name]
            texts = [ast.literal_eval(one) for one in quoted[:number]]
            found.add(_message(texts, has_context))
    return frozenset(found)


def _message(texts: list[str], has_context: bool) -> Message:
    context = texts.pop(0) if has_context else ""
    return Message(texts[0], texts[1] if len(texts) > 1 else "", context)


def entries(path: Path) -> list[Entry]:
    """Return the entries of a file `.po`, without its header."""
    found = []
    for block in path.read_text(encoding="utf-8").split("\n\n"):
        comments = [line for line in block.splitlines() if line.startswith("#")]
        parts: dict[str, str] = {}
        key = ""
        for line in block.splitlines():
            if (part := LINE.fullmatch(line)) is not None:
                key = f"{part[1]}{part[2] or ''}" if part[1] else key
                parts[key] = parts.get(key, "") + ast.literal_eval(part[3])
        message = Message(
            parts.get("msgid", ""), parts.get("msgid_plural", ""), parts.get("msgctxt", "")
        )
        texts = [text for key, text in parts.items() if key.startswith("msgstr")]
        if message.id or any(line.startswith("#~") for line in comments):
            found.append(Entry(message, texts, comments))
    return found


def compiled(texts: Mapping[Message, list[str]], plural_forms: str) -> bytes:
    """Return a catalogue as `msgfmt` compiles it, fit for Python's gettext."""
    header = f"Content-Type: text/plain; charset=UTF-8\nPlural-Forms: {plural_forms}\n"
    pairs = {"": header}
    for message, forms in texts.items():
        name = f"{message.key}\0{message.plural}" if message.plural else message.key
        pairs[name] = "\0".join(forms)
    encoded = sorted((name.encode(), text.encode()) for name, text in pairs.items())
    begin = 28 + 16 * len(encoded)
    tables, data = [b"", b""], b""
    for side in (0, 1):
        for pair in encoded:
            tables[side] += struct.pack("<II", len(pair[side]), begin + len(data))
            data += pair[side] + b"\0"
    places = (28, 28 + 8 * len(encoded))
    head = struct.pack("<7I", 0x950412DE, 0, len(encoded), *places, 0, begin)
    return head + b"".join(tables) + data
