"""The version of the running program: from the project's setting, from git, or of APScheduler."""

import importlib.metadata
import platform
from pathlib import Path

import django
from django.conf import settings

from jobstore import conf

# Characters of a commit's name that tell it from others.
COMMIT_LENGTH = 12


def of_project() -> str:
    """Return SCHEDULER_VERSION; else the commit of the project's folder; else APScheduler's."""
    given = str(conf.get("SCHEDULER_VERSION"))
    return given or commit(getattr(settings, "BASE_DIR", None)) or of_apscheduler()


def of_apscheduler() -> str:
    """Return the version of APScheduler in this process, with its name."""
    return f"APScheduler {importlib.metadata.version('apscheduler')}"


def of_packages() -> str:
    """Return the versions of the packages that this process runs on."""
    python = platform.python_version()
    return f"{of_apscheduler()}, Django {django.get_version()}, Python {python}"


def commit(folder: Path | str | None) -> str:
    """Return the commit that a folder's working copy is at; empty if it is none, as in images.

    Files are read, since git itself need not be installed.
    """
    if folder is None:
        return ""
    try:
        git = Path(folder, ".git")
        if git.is_file():  # a further working copy, whose data lies elsewhere
            git = Path(folder, git.read_text().removeprefix("gitdir:").strip())
        name = _resolved(git, (git / "HEAD").read_text().strip())
    except (OSError, ValueError):
        return ""
    return f"commit {name[:COMMIT_LENGTH]}" if name else ""


def _resolved(git: Path, head: str) -> str:
    if not head.startswith("ref: "):
        return head
    ref = head.removeprefix("ref: ")
    shared = git / "commondir"
    common = git / shared.read_text().strip() if shared.is_file() else git
    if (loose := common / ref).is_file():
        return loose.read_text().strip()
    lines = (common / "packed-refs").read_text().splitlines()
    return next((line.split()[0] for line in lines if line.endswith(f" {ref}")), "")
