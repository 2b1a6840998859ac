"""Generates a project for tools to work with: generated each time, installed once."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from machine import install, run, step

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent


def project(folder: Path, database: str) -> Path:
    """Generate and install a project for this database; the environment is kept for the next time."""
    folder = folder / database
    path = folder / "my_project"
    path.mkdir(parents=True, exist_ok=True)
    for old in path.iterdir():
        if old.name != ".venv":
            shutil.rmtree(old) if old.is_dir() else old.unlink()
    config = folder / "cookiecutter.yaml"
    config.write_text(f"replay_dir: {json.dumps(str(folder / 'replay'))}\n")
    options = ("--no-input", "--overwrite-if-exists", "--output-dir", folder, "--config-file", config)
    with step(f"Baking a project into {path.relative_to(ROOT)}"):
        run(BIN / "cookiecutter", ROOT, *options, f"database={database}", cwd=folder)
    with step("Installing what it needs"):
        install(path / ".venv", *sorted((path / "requirements").glob("*.txt")))
    return path
