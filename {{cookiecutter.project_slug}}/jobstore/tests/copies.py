"""Copies of the project's code without its .env, for tests of what a fresh process does."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]

KEY = "a-key-of-production-that-is-long-and-varied-0123456789-ABCDEFGHIJKLM"
MIGRATE = ("manage.py", "migrate")


def copy_code(to: Path) -> None:
    """Copy manage.py and every package of the project but its tests."""
    for package in PROJECT.glob("*/__init__.py"):
        if package.parent.name != "tests":  # the user's
            ignored = shutil.ignore_patterns("__pycache__", "tests")
            shutil.copytree(package.parent, to / package.parent.name, ignore=ignored)
    shutil.copy(PROJECT / "manage.py", to)


class Home:
    """A copy of the code without a .env, where programs are started with few variables."""

    def __init__(self, path: Path) -> None:
        """Copy the code there."""
        self.path = path
        copy_code(path)

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run Python there. A variable that is given as "-" is left out."""
        usual = {
            "PATH": os.environ["PATH"],
            "DJANGO_SECRET_KEY": KEY,
            "DJANGO_HTTPS": "false",
            "DATABASE_URL": f"sqlite:///{self.path}/db.sqlite3",
            "WEB_BIND": "127.0.0.1:0",
        }
        environment = {k: v for k, v in (usual | variables).items() if v != "-"}
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def refusal(self, *arguments: str, **variables: str) -> str:
        """Return the one line with which a program refuses to start."""
        done = self.run(*(arguments or MIGRATE), **variables)
        assert done.returncode == 1, done.stderr + done.stdout
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        [line] = done.stderr.splitlines()
        return line
