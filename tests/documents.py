"""The commands and programs in the documents, for tests that run them as a reader would.

A block is set off by fences or by four spaces. It belongs to the reader who copies it, so each is
run by a test: `documented(document, line)` in a test finds the block in which a line begins so, and
fails if the test does not run it; test_documents.py fails for a block that no test asks for. A block of
the language `text` is there to be looked at.
"""

import ast
import itertools
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markdown_it import MarkdownIt

from baking import ROOT, TEMPLATE
from terminals import Answers, converse

# What a name in a test begins with, for a document of the generated project.
PROJECT = "project/"
DOCUMENTS = ("*.md", "benchmarks/*.md", "docs/*.md", f"{PROJECT}README.md", f"{PROJECT}docs/*.md")
# Has `make` use the Python that runs the tests, instead of installing one into .venv.
WITH_TOOLBOX = f"-o .venv/installed BIN={Path(sys.executable).parent}"
ANSWERS = {"project_name": "My Project", "project_slug": "my_project", "domain_name": "localhost"}


@dataclass
class Block:
    """A block of a document."""

    document: str
    line: str
    is_used: bool = False

    def text(self, folder: Path) -> str:
        """Return the text that a reader of the project in `folder` copies, to be run by the test itself."""
        self.is_used = True
        name = self.document.removeprefix(PROJECT)
        file = folder / name if self.document.startswith(PROJECT) else ROOT / name
        found = [text for _, text in blocks(file.read_text(encoding="utf-8")) if self.fits(text)]
        assert len(found) == 1, f"{self.document} has {len(found)} blocks with a line {self.line}"
        return found[0]

    def fits(self, text: str) -> bool:
        """Return whether this is the block with that text."""
        return any(line.startswith(self.line) for line in text.splitlines())

    def run(
        self,
        folder: Path,
        environment: Mapping[str, str],
        *,
        replace: Mapping[str, str] | None = None,
        answers: Answers = (),
    ) -> str:
        """Run the block as one script in `folder`, which must succeed, and return what it printed.

        :param replace: what a reader replaces by something else, such as the address of a repository.
        :param answers: patterns of questions, in order, each with what is typed then.
        """
        __tracebackhide__ = True
        text = self.text(folder)
        for old, new in (replace or {}).items():
            assert old in text, f"{self.document} does not say {old!r} any more"
            text = text.replace(old, new)
        if answers:
            return converse(text, folder, environment, answers)
        done = subprocess.run(
            ["bash", "-euc", text],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == 0, f"{text}\nended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        return done.stdout


def blocks(text: str) -> list[tuple[str, str]]:
    """Return the language and the text of each block of a document."""
    tokens = MarkdownIt().parse(text)
    return [(token.info, token.content) for token in tokens if token.type in ("fence", "code_block")]


def all_blocks() -> set[tuple[str, str, str]]:
    """Return document, language and text of each block, in every variant of the generated project."""
    return {(name, language, block) for name, text in documents() for language, block in blocks(text)}


def documents() -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each document, several times if answers make a difference."""
    # Pages of text, in which nothing is escaped.
    environment = jinja2.Environment(line_statement_prefix="#%", undefined=jinja2.StrictUndefined)  # noqa: S701
    for pattern in DOCUMENTS:
        if not pattern.startswith(PROJECT):
            for file in sorted(ROOT.glob(pattern)):
                yield file.relative_to(ROOT).as_posix(), file.read_text(encoding="utf-8")
            continue
        for file in sorted(TEMPLATE.glob(pattern.removeprefix(PROJECT))):
            template = environment.from_string(file.read_text(encoding="utf-8"))
            name = PROJECT + file.relative_to(TEMPLATE).as_posix()
            for database, proxy in itertools.product(("postgresql", "mariadb", "sqlite"), ("none", "caddy")):
                answers = ANSWERS | {"database": database, "proxy": proxy}
                yield name, template.render(cookiecutter=answers)


def claims() -> set[tuple[str, str]]:
    """Return the blocks that tests ask for, by document and line."""
    return {
        (str(arguments[0]), str(arguments[1]))
        for file in sorted((ROOT / "tests").rglob("test_*.py"))
        for test in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(test, ast.FunctionDef) and test.name.startswith("test_")
        for arguments in asked_for(test)
    }


def asked_for(test: ast.FunctionDef) -> Iterator[Sequence[object]]:
    """Yield the arguments of each call of `documented` in a test."""
    for node in ast.walk(test):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "documented":
            arguments = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
            assert len(arguments) == 2, f"{test.name}: name document and line in words"
            yield arguments
