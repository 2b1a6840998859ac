"""The file .env means the same to Docker Compose and to Django, or Django refuses the line."""

import json
import sys
from pathlib import Path

import pytest

from baking import TEMPLATE, Baked
from stacks import docker

pytestmark = pytest.mark.containers

COMPOSE = """
services:
  one:
    image: unused
    env_file: .env
    environment:
      INTERPOLATED: ${VALUE}
"""

SHOW = """
import json, sys
from pathlib import Path
from config.dotenv import read
print(json.dumps([read(Path(file)) for file in sys.argv[1:]]))
"""

ALIKE = [
    "plain-value_0123",
    "a=b==",
    "postgres://app:p%2Fw%40x@db:5432/app?sslmode=require",
    "https://example.org,https://example.com",
    "semi;colon&ampersand|pipe*star(paren)[bracket]{brace}~!^",
    "sharp#inside",
    "two words",
    "'single quotes'",
    "'a $dollar and ${brace} in single quotes'",
    "'sharp # in single quotes'",
    "'back\\slash in single quotes'",
    '"double quotes"',
    '"sharp # in double quotes"',
    "   spaces around   ",
    "müller-ß-€",
    "",
]

REFUSED = [
    "$begins",
    "mid$dle",
    "${brace}",
    "$$doubled",
    "end$",
    "value # comment",
    "value\t# comment",
    "# nothing but a comment",
    '"double $quotes"',
    '"double quotes" # comment',
    "'single quotes' # comment",
    "'it'\\''s'",
    "it's",
    '"unfinished',
    "'unfinished",
    'inner"quote',
    "back\\slash",
    '"new\\nline"',
    "'two' 'parts'",
]


def read(tmp_path: Path, values: list[str]) -> list[tuple[dict[str, str], list[str]]]:
    """Return what Django reads from a file of each value, and its complaints."""
    names = []
    for number, value in enumerate(values):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / ".env").write_text(f"VALUE={value}\n", encoding="utf-8")
        (folder / "compose.yaml").write_text(COMPOSE)
        names.append(str(folder / ".env"))
    done = Baked(TEMPLATE).run(sys.executable, "-c", SHOW, *names)
    return [(values, problems) for values, problems in json.loads(done.stdout)]


def test_a_value_that_is_accepted_is_the_same_in_compose(tmp_path: Path) -> None:
    for number, (values, problems) in enumerate(read(tmp_path, ALIKE)):
        assert problems == [], ALIKE[number]
        text = docker("compose", "config", "--format=json", cwd=tmp_path / str(number)).stdout
        environment = json.loads(text)["services"]["one"]["environment"]
        # What Compose prints is a file for Compose.
        seen = {name: value.replace("$$", "$") for name, value in environment.items()}
        assert seen == {"VALUE": values["VALUE"], "INTERPOLATED": values["VALUE"]}, ALIKE[number]


def test_a_value_that_compose_could_read_otherwise_is_refused_without_showing_it(tmp_path: Path) -> None:
    for number, (_, problems) in enumerate(read(tmp_path, REFUSED)):
        assert len(problems) == 1, REFUSED[number]
        assert problems[0].startswith("VALUE in line 1 of .env "), problems
        assert REFUSED[number] not in problems[0]
