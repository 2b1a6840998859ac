"""The commands with which a newcomer makes a project, starts it and sees a run, as the READMEs have them."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from baking import Baker
from documents import Block
from stacks import Browser, Stack

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]

Documented = Callable[[str, str], Block]

PASSWORD = "correct-horse-7"
LOGIN = "/admin/login/?next=/admin/jobstore/djangojobexecution/"


def account(name: str) -> list[tuple[str, str]]:
    """Return the questions of createsuperuser, and what a person types."""
    again = r"Password \(again\): "
    return [("Username", name), ("Email", f"{name}@example.org"), ("Password: ", PASSWORD), (again, PASSWORD)]


def test_a_project_is_made_and_started_and_shows_its_first_run(
    baker: Baker, browser: Browser, documented: Documented, tmp_path: Path
) -> None:
    stack = Stack(tmp_path / "my_project")
    bin_folder = tmp_path / "tools" / "bin"
    stack.environment["PATH"] = f"{bin_folder}:{stack.environment['PATH']}"
    stack.environment["COOKIECUTTER_CONFIG"] = str(baker.config)
    make_room = f"{sys.executable} -m venv {tmp_path / 'tools'}"
    defaults = [(rf"\[{number}/7\]", "") for number in range(1, 8)]
    try:
        made = documented("README.md", "pip install cookiecutter").run(
            tmp_path,
            stack.environment,
            replace={
                "pip install": f"{make_room}\npip install",
                "path/or/address/of/this/repository": str(baker.template),
            },
            answers=[*defaults, *account("ada")],
        )
        assert "Superuser created successfully." in made
        stack.wait_for(stack.runs, 60)
        page = browser.login(stack.url(LOGIN), "ada", PASSWORD)
        assert "heartbeat" in page
        assert "Executed" in page

        # The project's own README has the last two again.
        again = documented(
            "project/README.md", "docker compose exec web python manage.py createsuperuser"
        ).run(stack.path, stack.environment, answers=account("grace"))
        assert "Superuser created successfully." in again
        assert "Log out" in Browser().login(stack.url(LOGIN), "grace", PASSWORD)
    finally:
        stack.down()
        shutil.rmtree(bin_folder.parent, ignore_errors=True)
