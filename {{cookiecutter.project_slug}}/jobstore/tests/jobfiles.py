"""Files of jobs that a test writes, in an app of their own, as somebody writes them by mistake."""

import importlib
import os
import sys
import textwrap
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apscheduler.schedulers.background import BackgroundScheduler
from django.conf import settings
from django.test import override_settings

from jobstore import registry
from jobstore.declarations.declaration import Collected
from jobstore.declarations.sync import Change
from jobstore.jobstores import DjangoJobStore

HEAD = "from jobstore.registry import scheduled\n"


class JobFiles:
    """An app whose package `jobs` a test fills with files; nothing else declares jobs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.app = f"app{uuid.uuid4().hex[:8]}"
        self.package = f"{self.app}.jobs"
        self._changed_at = int(time.time())
        self.write("../__init__.py", "")
        self.write("__init__.py", "")

    def write(self, name: str, content: str, head: str = "") -> Path:
        """Write a file; return its path."""
        path = (self.folder / self.app / "jobs" / name).resolve()
        (self.folder / self.app / "jobs").mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(head + textwrap.dedent(content))
        # Python knows a file that has changed by its size and the second of its change.
        self._changed_at += 2
        os.utime(path, (self._changed_at, self._changed_at))
        return path

    def declare(self, name: str, content: str) -> Path:
        """Write a file that imports the decorator; its line 2 is the first of `content`."""
        return self.write(name, content.lstrip("\n"), HEAD)

    def forget(self) -> None:
        """Let the next look import everything again, as a new process does."""
        registry._declared.clear()
        for name in [name for name in sys.modules if name.startswith(self.app)]:
            del sys.modules[name]
        importlib.invalidate_caches()

    def collect(self) -> Collected:
        """Return what a new process finds."""
        self.forget()
        return registry.collect(BackgroundScheduler(timezone="UTC"))

    def problems(self) -> dict[str, str]:
        """Return what is wrong, by the id or the module, without the app's random name."""
        found = self.collect().problems
        return {self._plain(one.subject): self._plain(str(one)) for one in found}

    def sync(self, **options: Any) -> list[Change]:
        """Bring stored jobs in line with what a new process finds."""
        self.forget()
        return registry.sync(DjangoJobStore(), BackgroundScheduler(timezone="UTC"), **options)

    def _plain(self, text: str) -> str:
        folder = str(self.folder / self.app) + "/"
        return text.replace(folder, "").replace(f"{self.app}.", "")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[JobFiles]:
    """An app for files of jobs, the only one that declares any."""
    found = JobFiles(tmp_path)
    monkeypatch.setattr(registry, "_declared", {})
    monkeypatch.syspath_prepend(str(tmp_path))
    others = [name for name in settings.INSTALLED_APPS if name.rpartition(".")[2] != "jobs"]
    with override_settings(INSTALLED_APPS=[*others, found.app]):
        yield found
    found.forget()
