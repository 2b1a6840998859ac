"""The README's first command does what it says, again as well, and what it started can be stopped."""

import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from baking import ROOT, clean_environment, tracked
from documents import Block
from layers import needs
from stacks import Browser

pytestmark = [pytest.mark.demo, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def checkout() -> Iterator[Path]:
    """Copy what a clone would hold into a folder whose path is short enough for a socket."""
    needs("make")
    folder = Path(tempfile.mkdtemp(prefix="demo-"))
    for name in tracked():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    yield folder
    make(folder, "stop")
    shutil.rmtree(folder)


def make(folder: Path, target: str) -> str:
    """Run a command of the README and return what it printed."""
    done = subprocess.run(
        ["make", target, f"PYTHON={sys.executable}"],
        cwd=folder,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def shown(checkout: Path) -> str:
    """Return what the demo printed that is running now."""
    return make(checkout, "demo")


def address(shown: str) -> str:
    """Return where the demo says that the admin is."""
    found = re.search(r"Admin\s+(http://127\.0\.0\.1:\d+)/admin/", shown)
    assert found, shown
    return found[1]


def test_the_readme_s_command_starts_afresh_a_demo_that_is_running(
    checkout: Path, shown: str, documented: Callable[[str, str], Block]
) -> None:
    command = documented("README.md", "make demo")
    again = command.run(checkout, clean_environment(PYTHON=sys.executable))
    assert "the sample job has run" in again
    assert address(again) == address(shown)


def test_the_demo_shows_where_the_runs_are_seen_and_how_to_stop(shown: str) -> None:
    assert "the sample job has run" in shown
    assert f"{address(shown)}/admin/jobstore/djangojobexecution/" in shown
    assert "make stop" in shown


def test_the_login_that_it_prints_leads_to_the_runs(shown: str) -> None:
    login = re.search(r"Login\s+(\S+)\s+password: (\S+)", shown)
    assert login, shown
    form = f"{address(shown)}/admin/login/?next=/admin/jobstore/djangojobexecution/"
    page = Browser().login(form, login[1], login[2])
    assert "heartbeat" in page
    assert "Executed" in page


def test_stopping_ends_everything(checkout: Path, shown: str) -> None:
    assert "Stopped." in make(checkout, "stop")
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{address(shown)}/health/live", timeout=5)
    assert "not running" in make(checkout, "stop")
