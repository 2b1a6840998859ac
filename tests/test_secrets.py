"""Secrets are fresh, each in a file of its own, and for their owner's eyes and containers' only."""

import os
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from baking import Baked, Baker

Bake = Callable[..., Baked]

SECRETS = {
    "postgresql": {"django_secret_key", "database_password"},
    "mariadb": {"django_secret_key", "database_password"},
    "sqlite": {"django_secret_key"},
}
# Former keys that are still accepted: none at first.
NONE_YET = {"django_secret_key_fallbacks": ""}


def texts_of(baked: Baked) -> dict[str, str]:
    return {name.removeprefix(".secrets/"): baked.read(name) for name in baked.secrets()}


def secrets_of(baked: Baked) -> dict[str, str]:
    return {name: text.strip() for name, text in texts_of(baked).items() if text}


@pytest.mark.parametrize("database", SECRETS)
def test_a_project_has_the_secrets_its_database_needs(bake: Bake, database: str) -> None:
    texts = texts_of(bake(database=database))
    assert texts.keys() == SECRETS[database] | NONE_YET.keys()
    assert texts.items() >= NONE_YET.items()


def test_two_projects_share_no_secret(bake: Bake) -> None:
    values = [*secrets_of(bake()).values(), *secrets_of(bake()).values()]
    assert len(set(values)) == 4


def test_two_projects_of_one_name_share_no_container_and_no_volume(bake: Bake) -> None:
    names = {bake().environment()["COMPOSE_PROJECT_NAME"] for _ in range(2)}
    assert len(names) == 2
    # What Compose accepts.
    assert all(re.fullmatch(r"my_project-[0-9a-f]{6}", name) for name in names)


def test_secrets_need_no_quoting_and_are_long(bake: Bake) -> None:
    values = secrets_of(bake())
    assert re.fullmatch(r"[A-Za-z0-9_-]{50,}", values["django_secret_key"])
    assert re.fullmatch(r"[A-Za-z0-9_-]{40,}", values["database_password"])


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o000], ids=oct)
def test_nobody_else_can_enter_their_folder_and_a_container_can_read_what_is_mounted(
    bake: Bake, umask: int
) -> None:
    before = os.umask(umask)
    try:
        baked = bake()
    finally:
        os.umask(before)
    assert mode(baked.path / ".secrets") == 0o700
    assert {mode(baked.path / name) for name in baked.secrets()} == {0o644}
    assert mode(baked.path / ".env") == 0o600


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_git_ignores_them(bake: Bake) -> None:
    baked = bake()
    baked.run("git", "init", "--quiet")
    baked.run("git", "add", "--all")
    tracked = set(baked.run("git", "ls-files").stdout.splitlines())
    expected = {name for name in baked.files() if not name.startswith(".git/")}
    assert tracked == expected - {".env"} - baked.secrets()


def test_each_is_in_its_own_file_alone(bake: Bake) -> None:
    baked = bake()
    for name, value in secrets_of(baked).items():
        assert [file for file in baked.files() if value.encode() in baked.content(file)] == [
            f".secrets/{name}"
        ]


def test_the_example_names_the_same_files(bake: Bake) -> None:
    baked = bake()
    lines = baked.read(".env.example").splitlines()
    named = {f"{name}={value}" for name, value in baked.environment().items() if name.endswith("_FILE")}
    assert len(named) == 2
    assert named <= set(lines)


@pytest.mark.parametrize("database", SECRETS)
def test_the_example_s_commands_make_the_same_files(bake: Bake, database: str) -> None:
    baked = bake(database=database)
    made = {name: mode(baked.path / name) for name in baked.secrets()}
    shutil.rmtree(baked.path / ".secrets")
    lines = re.findall(r"^#   (.+)$", baked.read(".env.example"), re.M)
    baked.run("sh", "-ec", "umask 077\n" + "\n".join(lines))
    assert {name: mode(baked.path / name) for name in baked.secrets()} == made
    assert mode(baked.path / ".secrets") == 0o700
    assert texts_of(baked).items() >= NONE_YET.items()
    assert all(len(value) > 40 for value in secrets_of(baked).values())


def test_what_was_there_is_kept_and_said_so(baker: Baker, capfd: pytest.CaptureFixture[str]) -> None:
    output = baker.output()
    first = baker.bake(output)
    names = {".env", *first.secrets()}
    before = {name: first.read(name) for name in names}
    assert "kept" not in capfd.readouterr().out
    again = baker.bake(output, overwrite=True)
    assert {name: again.read(name) for name in names} == before
    [line] = [line for line in capfd.readouterr().out.splitlines() if "kept as they were" in line]
    assert all(name in line for name in names)


def test_only_what_is_missing_is_made_anew(baker: Baker) -> None:
    output = baker.output()
    before = secrets_of(baker.bake(output))
    baked = Baked(output / "my_project")
    (baked.path / ".secrets" / "database_password").unlink()
    after = secrets_of(baker.bake(output, overwrite=True))
    assert after["django_secret_key"] == before["django_secret_key"]
    assert after["database_password"] != before["database_password"]


@pytest.mark.parametrize("name", [".env", ".secrets/django_secret_key"])
def test_a_link_in_place_of_a_file_is_not_followed(baker: Baker, name: str) -> None:
    output = baker.output()
    baked = baker.bake(output)
    (baked.path / name).unlink()
    (baked.path / name).symlink_to(output / "elsewhere")
    baker.bake(output, overwrite=True)
    assert not (output / "elsewhere").exists()


def test_no_secret_is_printed(baker: Baker, capfd: pytest.CaptureFixture[str]) -> None:
    baked = baker.bake(baker.output())
    said = capfd.readouterr()
    assert not [value for value in secrets_of(baked).values() if value in said.out + said.err]
