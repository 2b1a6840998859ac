"""Copies of the project's code without its .env, for tests of what a fresh process does."""

import shutil
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


def copy_code(to: Path) -> None:
    """Copy manage.py and every package of the project but its tests."""
    for package in PROJECT.glob("*/__init__.py"):
        if package.parent.name != "tests":
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(package.parent, to / package.parent.name, ignore=ignored)
    shutil.copy(PROJECT / "manage.py", to)
