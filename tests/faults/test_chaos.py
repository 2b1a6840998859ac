"""The command that shows schedulers under faults does so, in the short."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from baking import ROOT, clean_environment
from documents import WITH_TOOLBOX, Block


@pytest.mark.project
@pytest.mark.timeout(300)
def test_the_documented_command_writes_a_report(
    workshop: Callable[[str], Path], documented: Callable[[str, str], Block]
) -> None:
    folder = workshop("sqlite/my_project")
    said = documented("docs/faults.md", "make chaos  ").run(
        ROOT,
        clean_environment(CHAOS_FOLDER=folder.name),
        replace={"make chaos": f"make {WITH_TOOLBOX} chaos DATABASE=sqlite RUNS=300"},
    )
    assert "Nothing wrong was found." in said
    assert json.loads((folder / "report.json").read_text())["runs"] >= 300
    assert "<svg" in (folder / "report.html").read_text()
