"""Every combination of answers: exactly its files, nothing left to render, everything parses."""

import ast
import itertools
import json
import re
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from baking import TEMPLATE, Baked, Baker, template_files

Bake = Callable[..., Baked]

DATABASES = ("postgresql", "mariadb", "sqlite")
PROXIES = ("none", "caddy")
CIS = ("github", "gitlab", "none")
COMBINATIONS = list(itertools.product(DATABASES, PROXIES, CIS))

FILES = {
    ".dockerignore",
    ".editorconfig",
    ".env",
    ".env.example",
    ".gitattributes",
    ".gitignore",
    ".secrets/django_secret_key",
    ".secrets/django_secret_key_fallbacks",
    "Dockerfile",
    "Makefile",
    "README.md",
    "compose.yaml",
    "conftest.py",
    "docs/architecture.md",
    "docs/changing-jobs.md",
    "docs/deploying.md",
    "docs/moving-over.md",
    "docs/operating.md",
    "docs/overview.png",
    "docs/settings.md",
    "docs/when-a-job-does-not-run.md",
    "docs/writing-jobs.md",
    "manage.py",
    "pyproject.toml",
    "requirements/base.in",
    "requirements/base.txt",
    "requirements/dev.in",
    "requirements/dev.txt",
    "deploy/supervisor/console.py",
    "deploy/supervisor/supervisord.conf",
    "var/log/.gitignore",
    "var/run/.gitignore",
}
FILES_OF = {
    "postgresql": {
        ".secrets/database_password",
        "requirements/postgresql.in",
        "requirements/postgresql.txt",
    },
    "mariadb": {".secrets/database_password", "requirements/mariadb.in", "requirements/mariadb.txt"},
    "caddy": {"deploy/Caddyfile"},
    "github": {".github/workflows/ci.yml"},
    "gitlab": {".gitlab-ci.yml"},
}
# These hold code, which is the same in every project.
PACKAGES = ("config", "jobs", "jobstore", "tests")


@pytest.fixture(scope="session", params=COMBINATIONS, ids="-".join)
def project(request: pytest.FixtureRequest, bake: Bake) -> tuple[Baked, tuple[str, ...]]:
    """A project of each combination, with its answers."""
    database, proxy, ci = request.param
    return bake(database=database, proxy=proxy, ci=ci), request.param


def test_the_files_are_exactly_those_of_the_answers(project: tuple[Baked, tuple[str, ...]]) -> None:
    baked, answers = project
    outside = {name for name in baked.files() if not name.startswith(tuple(f"{p}/" for p in PACKAGES))}
    chosen = set().union(*(FILES_OF.get(answer, set()) for answer in answers))
    assert outside == FILES | chosen


def test_the_packages_are_exactly_the_template_s(
    baker: Baker, project: tuple[Baked, tuple[str, ...]]
) -> None:
    baked, _ = project
    template = Baked(baker.template / TEMPLATE.name)
    packages = tuple(f"{package}/" for package in PACKAGES)
    emitted, expected = (
        {name for name in tree.files() if name.startswith(packages)} for tree in (baked, template)
    )
    assert emitted == expected


def test_no_empty_folder_is_left(project: tuple[Baked, tuple[str, ...]]) -> None:
    baked, _ = project
    folders = [path for path in baked.path.rglob("*") if path.is_dir()]
    assert [folder for folder in folders if not any(folder.iterdir())] == []


def test_nothing_is_left_to_render(project: tuple[Baked, tuple[str, ...]]) -> None:
    baked, _ = project
    # Django's templates and the expressions of continuous integration use the same marks; Python, which
    # is copied byte for byte, doubles braces in its own templates.
    names = [name for name in baked.files() if not name.endswith((".html", ".png", ".py", ".po", ".mo"))]
    texts = {name: baked.read(name) for name in names}
    found = {name: re.findall(r"(?<!\$)\{\{|\{%|^\s*#%.*", text, re.M) for name, text in texts.items()}
    left = {name: marks for name, marks in found.items() if marks}
    assert left == {}


def test_every_python_file_is_the_template_s_byte_for_byte(
    baker: Baker, project: tuple[Baked, tuple[str, ...]]
) -> None:
    baked, _ = project
    template = baker.template / TEMPLATE.name
    names = {name for name in baked.files() if name.endswith(".py")}
    assert {n for n in names if (baked.path / n).read_bytes() != (template / n).read_bytes()} == set()


def test_every_data_file_parses(project: tuple[Baked, tuple[str, ...]]) -> None:
    baked, _ = project
    for name in baked.files():
        if name.endswith((".yaml", ".yml")):
            assert yaml.safe_load(baked.read(name)), name
        elif name.endswith(".toml"):
            assert tomllib.loads(baked.read(name)), name
        elif name.endswith(".json"):
            assert json.loads(baked.read(name)), name


def test_every_text_ends_with_one_line_end(project: tuple[Baked, tuple[str, ...]]) -> None:
    baked, _ = project
    ends = {name: baked.content(name)[-2:] for name in baked.files()}
    assert {
        name
        for name, end in ends.items()
        if end and not name.endswith((".mo", ".png")) and (not end.endswith(b"\n") or end == b"\n\n")
    } == set()


def test_continuous_integration_tests_the_database_that_compose_starts(
    project: tuple[Baked, tuple[str, ...]],
) -> None:
    baked, (_, _, ci) = project
    image = re.compile(r"(?:image|name): ((?:postgres|mariadb):\S+)")
    for name in FILES_OF.get(ci, set()):
        assert image.findall(baked.read(name)) == image.findall(baked.read("compose.yaml"))
        drivers = {
            url.partition(":")[0] for url in re.findall(r"\w+://\w+:only-for-tests@", baked.read(name))
        }
        assert len(drivers) == len(image.findall(baked.read(name)))


@pytest.mark.parametrize("name", [n for n in template_files() if n.endswith(".py") and TEMPLATE.name in n])
def test_python_of_the_template_parses_in_place(name: str) -> None:
    text = (TEMPLATE.parent / name).read_text(encoding="utf-8")
    assert ast.parse(text) is not None
    # Braces may be Python's own or Django's; an answer is asked for by this name alone.
    assert "cookiecutter." not in text.replace("{{cookiecutter.project_slug}}", "")


@pytest.mark.parametrize("name", [n for n in template_files() if n.endswith((".yaml", ".yml", ".toml"))])
def test_yaml_and_toml_of_the_template_parse_in_place(name: str) -> None:
    file = TEMPLATE.parent / name
    with file.open("rb") as stream:
        assert tomllib.load(stream) if Path(name).suffix == ".toml" else yaml.safe_load(stream)


def test_every_prompt_has_one_line_of_help() -> None:
    options = json.loads((TEMPLATE.parent / "cookiecutter.json").read_text())
    asked = {name for name in options if not name.startswith("_")}
    prompts = options["__prompts__"]
    assert set(prompts) == asked
    for name, choices in options.items():
        if isinstance(choices, list) and not name.startswith("_"):
            assert set(prompts[name]) == {"__prompt__", *choices}


@pytest.mark.parametrize("proxy", PROXIES)
def test_the_page_of_settings_is_the_one_that_the_project_would_write(bake: Bake, proxy: str) -> None:
    command = ("manage.py", "settings_reference", "--check", "--settings", "tests.settings")
    assert "is up to date" in bake(proxy=proxy).run(sys.executable, *command).stdout
