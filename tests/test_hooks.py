"""Hooks stay small, know the standard library alone, and start or ask nothing."""

import ast
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from baking import ROOT, Baker

HOOKS = sorted((ROOT / "hooks").glob("*.py"))
REACHING_OUT = {
    "asyncio",
    "ctypes",
    "ftplib",
    "http",
    "multiprocessing",
    "socket",
    "ssl",
    "subprocess",
    "urllib",
}
STARTING = re.compile(r"os\.(exec|fork|kill|popen|posix_spawn|spawn|startfile|system)")


@pytest.fixture(params=HOOKS, ids=lambda hook: hook.stem)
def hook(request: pytest.FixtureRequest) -> Path:
    """Each hook in turn."""
    path: Path = request.param
    return path


def imported(hook: Path) -> set[str]:
    """Return the top-level names of what a hook imports."""
    nodes = list(ast.walk(ast.parse(hook.read_text())))
    whole = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    parts = {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in whole | parts}


def test_there_are_a_hook_before_and_one_after() -> None:
    assert [hook.stem for hook in HOOKS] == ["post_gen_project", "pre_gen_project"]


def test_a_hook_imports_only_the_standard_library(hook: Path) -> None:
    assert imported(hook) <= sys.stdlib_module_names


def test_a_hook_starts_no_process_and_opens_no_connection(hook: Path) -> None:
    text = hook.read_text()
    assert imported(hook) & REACHING_OUT == set()
    assert STARTING.search(text) is None
    called = {ast.unparse(node.func) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)}
    assert called & {"eval", "exec", "compile", "__import__"} == set()


def test_a_hook_takes_its_answers_as_data(hook: Path) -> None:
    assert re.findall(r"\{\{.*?\}\}", hook.read_text()) == ["{{ cookiecutter | tojson }}"]


def test_a_hook_is_short(hook: Path) -> None:
    assert len(hook.read_text().splitlines()) <= 150


def validators() -> dict[str, object]:
    """Return what the first hook defines, as for default answers."""
    answers = '{"project_name": "x", "__slug_answer": "x", "domain_name": "localhost", "time_zone": "UTC"}'
    text = (ROOT / "hooks" / "pre_gen_project.py").read_text().replace("{{ cookiecutter | tojson }}", answers)
    defined: dict[str, object] = {"__name__": "hook"}
    exec(compile(text, "pre_gen_project.py", "exec"), defined)  # noqa: S102 - it is our own hook
    return defined


@pytest.mark.parametrize("name", ["project_name", "project_slug", "domain_name", "time_zone"])
def test_the_examples_of_a_validator_are_true(name: str) -> None:
    check = validators()[name]
    assert callable(check)
    valid, invalid = re.findall(r"(?:Valid|Invalid): (.*?)\.$", check.__doc__ or "", re.M | re.S)
    accepted = [ast.literal_eval(text) for text in re.findall(r'"(?:[^"\\]|\\.)*"', valid)]
    refused = [ast.literal_eval(text) for text in re.findall(r'"(?:[^"\\]|\\.)*"', invalid)]
    assert len(accepted) >= 2
    assert len(refused) >= 4
    assert [answer for answer in accepted if check(answer)] == []
    assert [answer for answer in refused if not check(answer)] == []


def zone_check(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> Callable[[str], str | None]:
    """Return the check of time zones on a machine that has its tz database in these folders alone."""
    hook = validators()
    monkeypatch.setattr(hook["zoneinfo"], "TZPATH", tuple(str(folder) for folder in folders))
    monkeypatch.setattr(hook["zoneinfo"], "available_timezones", set)
    return hook["time_zone"]  # type: ignore[return-value]


def test_a_former_name_of_a_time_zone_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "zone.tab").write_text("# a comment\nIN\t+2232+08822\tAsia/Kolkata\n")
    check = zone_check(monkeypatch, tmp_path / "missing", tmp_path)
    assert check("Asia/Kolkata") is None
    assert check("UTC") is None
    assert check("Asia/Calcutta")


def test_where_no_time_zone_is_known_only_the_form_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    check = zone_check(monkeypatch)
    assert check("Europe/Atlantis") is None
    assert check("not a zone")


def test_a_time_zone_that_could_not_be_checked_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hook = validators()
    monkeypatch.setitem(hook, "current_zones", set)
    hook["main"]()  # type: ignore[operator]
    assert capsys.readouterr().err == (
        "NOTE: this machine has no tz database, so time_zone could not be checked.\n"
    )


@pytest.mark.parametrize(
    ("proxy", "url"), [("none", "http://localhost:8000/"), ("caddy", "https://jobs.example.org/")]
)
def test_the_next_commands_and_the_address_are_printed(
    baker: Baker, capfd: pytest.CaptureFixture[str], proxy: str, url: str
) -> None:
    baker.bake(baker.output(), project_slug="shop", proxy=proxy, domain_name="jobs.example.org")
    lines = [line.strip() for line in capfd.readouterr().out.splitlines()]
    assert {"cd shop", "docker compose up --wait", f"Then log in at {url}"} <= set(lines)


@pytest.mark.parametrize("name", ["50%", 'a "quote"'])
def test_a_path_that_supervisor_cannot_read_is_told(
    baker: Baker, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    output = baker.output() / name
    output.mkdir()
    baker.bake(output)
    assert "which supervisor cannot read" in capfd.readouterr().out


def test_other_paths_are_not_remarked_upon(baker: Baker, capfd: pytest.CaptureFixture[str]) -> None:
    output = baker.output() / "it's; ü #1 $x"
    output.mkdir()
    baker.bake(output)
    assert "supervisor" not in capfd.readouterr().out
