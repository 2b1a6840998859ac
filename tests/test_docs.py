"""What the documents point at exists: files, and the tests that they call proof."""

import ast
import functools
import re
import urllib.parse
from collections import Counter
from pathlib import Path

import pytest

from baking import ROOT, TEMPLATE

COMPARISON = ROOT / "docs" / "django-apscheduler.md"
FOLDERS = (ROOT, ROOT / "docs", ROOT / "benchmarks", TEMPLATE, TEMPLATE / "docs")
DOCUMENTS = [document for folder in FOLDERS for document in folder.glob("*.md")]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
OURS = ("jobstore", "config")
PROOF = re.compile(r"`([\w/]+\.py)::(\w+)`")


@functools.cache
def cases(file: Path) -> set[str]:
    """Return the names of the tests in a file, those in classes as well."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, functions)]
    return {node.name for node in nodes if node.name.startswith("test_")}


def place_of(name: str) -> Path:
    """Return the file that a proof names: the emitted project's, or after template/ our own."""
    if name.startswith("template/"):
        return ROOT / "tests" / name.removeprefix("template/")
    found = [file for folder in OURS for file in (TEMPLATE / folder / "tests").rglob(name)]
    assert len(found) == 1, f"{name} is to be one file, and is {found}"
    return found[0]


DOCUMENTED = "".join(document.read_text(encoding="utf-8") for document in DOCUMENTS)
PROOFS = PROOF.findall(DOCUMENTED)


@pytest.mark.parametrize(("file", "case"), sorted(set(PROOFS)))
def test_a_test_that_is_called_proof_exists(file: str, case: str) -> None:
    assert place_of(file).is_file()
    assert case in cases(place_of(file))


def test_every_weak_point_and_every_outcome_has_one_row() -> None:
    rows = [line for line in COMPARISON.read_text().splitlines() if line.startswith(("| W", "| B"))]
    numbers = Counter(number for row in rows for number in re.findall(r"[WB]\d+", row.split("|")[1]))
    assert numbers == Counter(f"{kind}{number}" for kind in "WB" for number in range(1, 33))
    assert all(PROOF.search(row) for row in rows)


def test_every_test_that_is_named_is_named_as_a_proof() -> None:
    """A name in another form would not be looked for."""
    named = re.findall(r"\btest_\w+::\w+|::test_\w+", DOCUMENTED)
    assert len(named) == len(PROOFS)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_link_to_a_file_leads_to_it(document: Path) -> None:
    for target in LINK.findall(document.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target) or target.startswith("#"):
            continue
        path = document.parent / urllib.parse.unquote(target.partition("#")[0])
        assert path.exists(), f"{document.name} links to {target}"


WALK = (TEMPLATE / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_the_walk_through_the_job_store_names_files_that_are_there() -> None:
    named = re.findall(r"`((?:\w+/)*\w+\.py|\w+/)`", WALK)
    assert len(named) > 15
    places = (TEMPLATE / "jobstore", TEMPLATE, TEMPLATE / "jobstore" / "tests")
    assert [name for name in named if not any((place / name).exists() for place in places)] == []


def defined(file: Path) -> set[str]:
    """Return the classes and functions of a file, methods as Class.method."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    top = [node for node in ast.parse(file.read_text()).body if isinstance(node, kinds)]
    inner = [(one, node) for one in top for node in ast.walk(one) if isinstance(node, kinds[:2])]
    return {one.name for one in top} | {f"{one.name}.{node.name}" for one, node in inner}


def test_the_walk_names_functions_that_are_there() -> None:
    named = re.findall(r"`((?:\w+/)*\w+\.py)`,\s+`([\w.]+)`", WALK)
    assert len(named) > 10
    gone = [pair for pair in named if pair[1] not in defined(TEMPLATE / "jobstore" / pair[0])]
    assert gone == []


def anchors(document: Path) -> set[str]:
    """Return what a link into a document can name, as GitHub makes it of the headings."""
    text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.M | re.S)
    titles = [re.sub(r"[`*]", "", title).strip().lower() for title in re.findall(r"^#+ (.+)$", text, re.M)]
    return {re.sub(r"[^\w\- ]", "", title).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_link_to_a_section_leads_to_it(document: Path) -> None:
    for target in LINK.findall(document.read_text(encoding="utf-8")):
        path, _, section = target.partition("#")
        if section and not re.match(r"[a-z]+:", target):
            led_to = document.parent / urllib.parse.unquote(path) if path else document
            assert section in anchors(led_to), f"{document.name} links to {target}"


def test_the_anchors_are_those_of_headings(tmp_path: Path) -> None:
    document = tmp_path / "a.md"
    document.write_text("# How *it* works, in `one` page\n```\n# no heading\n```\n## On the wrong day\n")
    assert anchors(document) == {"how-it-works-in-one-page", "on-the-wrong-day"}
