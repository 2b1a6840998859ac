"""Secrets are fresh, in one file, and for its owner's eyes only."""

import re
import stat
from collections.abc import Callable

import pytest

from baking import Baked, Baker

Bake = Callable[..., Baked]

SECRETS = {
    "postgresql": {"DJANGO_SECRET_KEY", "DATABASE_PASSWORD"},
    "mariadb": {"DJANGO_SECRET_KEY", "DATABASE_PASSWORD"},
    "sqlite": {"DJANGO_SECRET_KEY"},
}


def secrets_of(baked: Baked) -> dict[str, str]:
    names = SECRETS["postgresql"]
    return {name: value for name, value in baked.environment().items() if name in names}


@pytest.mark.parametrize("database", SECRETS)
def test_a_project_has_the_secrets_its_database_needs(bake: Bake, database: str) -> None:
    assert secrets_of(bake(database=database)).keys() == SECRETS[database]


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
    assert re.fullmatch(r"[A-Za-z0-9_-]{50,}", values["DJANGO_SECRET_KEY"])
    assert re.fullmatch(r"[A-Za-z0-9_-]{40,}", values["DATABASE_PASSWORD"])


def test_only_the_owner_may_read_them(bake: Bake) -> None:
    assert stat.S_IMODE((bake().path / ".env").stat().st_mode) == 0o600


def test_git_ignores_them(bake: Bake) -> None:
    baked = bake()
    baked.run("git", "init", "--quiet")
    baked.run("git", "add", "--all")
    tracked = set(baked.run("git", "ls-files").stdout.splitlines())
    assert tracked == {name for name in baked.files() if not name.startswith(".git/")} - {".env"}


def test_they_are_in_no_other_file(bake: Bake) -> None:
    baked = bake()
    for value in secrets_of(baked).values():
        assert [name for name in baked.files() if value in baked.read(name)] == [".env"]


def test_the_example_holds_none(bake: Bake) -> None:
    lines = bake().read(".env.example").splitlines()
    assert {"DJANGO_SECRET_KEY=", "DATABASE_PASSWORD="} <= set(lines)


def test_an_existing_env_is_kept_and_said_so(baker: Baker, capfd: pytest.CaptureFixture[str]) -> None:
    output = baker.output()
    before = baker.bake(output).read(".env")
    capfd.readouterr()
    again = baker.bake(output, overwrite=True)
    assert again.read(".env") == before
    assert ".env was kept as it is" in capfd.readouterr().out


def test_a_link_in_place_of_env_is_not_followed(baker: Baker) -> None:
    output = baker.output()
    baked = baker.bake(output)
    (baked.path / ".env").unlink()
    (baked.path / ".env").symlink_to(output / "elsewhere")
    baker.bake(output, overwrite=True)
    assert not (output / "elsewhere").exists()


def test_no_secret_is_printed(baker: Baker, capfd: pytest.CaptureFixture[str]) -> None:
    baked = baker.bake(baker.output())
    said = capfd.readouterr()
    assert not [value for value in secrets_of(baked).values() if value in said.out + said.err]
