"""Secrets reach containers as files: Docker shows none, mistakes are told, and changing them works."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from baking import Baked
from documents import Block
from stacks import Stack, docker

pytestmark = [pytest.mark.containers, pytest.mark.timeout(400)]

BASE = "python:3.13-slim-trixie"


SERVERS = [("postgresql", "caddy"), ("mariadb", "none")]
on_servers = pytest.mark.parametrize("shared_stack", SERVERS, indirect=True, ids="-".join)


@pytest.fixture(scope="module", params=[*SERVERS, ("sqlite", "none")], ids="-".join)
def shared_stack(request: pytest.FixtureRequest, bake: Callable[..., Baked]) -> Iterator[Stack]:
    """Take the place of the default answers' stack, with a project whose secrets may change."""
    database, proxy = request.param
    stack = Stack(bake(database=database, proxy=proxy).path)
    former = "a-former-key-that-is-still-accepted-0123456789-abcdefghij"
    (stack.path / ".secrets" / "django_secret_key_fallbacks").write_text(f"{former}\n")
    try:
        yield stack
    finally:
        stack.down()


@pytest.fixture
def files(stack: Stack) -> Iterator[dict[str, Path]]:
    """Return the files of secrets by name; whatever is done to them is undone."""
    folder = stack.path / ".secrets"
    before = {file: file.read_bytes() for file in folder.iterdir()}
    yield {file.name: file for file in before}
    for file, content in before.items():
        if file.is_dir():
            file.rmdir()
        file.write_bytes(content)
        file.chmod(0o644)


def secrets_of(stack: Stack) -> dict[str, str]:
    return {file.name: file.read_text().strip() for file in (stack.path / ".secrets").iterdir()}


def shown_by_docker(stack: Stack) -> list[str]:
    """Return the names of secrets that Docker shows in anything that the stack is made of."""
    ids = stack.compose("ps", "--all", "--quiet", "--no-trunc").stdout.split()
    assert len(ids) >= 3
    label = f"label=com.docker.compose.project={stack.name}"
    volumes = docker("volume", "ls", "--quiet", "--filter", label).stdout.split()
    inspected = docker("inspect", f"{stack.name}-app", *ids, *volumes).stdout
    inspected += stack.compose("config").stdout
    values = secrets_of(stack)
    assert all(len(value) > 40 for value in values.values())
    return [name for name, value in values.items() if value in inspected]


def test_docker_inspect_shows_no_secret_of_a_stack_that_works(stack: Stack) -> None:
    stack.wait_for(stack.runs, 40)
    assert shown_by_docker(stack) == []


def test_no_other_user_of_the_host_can_read_them(stack: Stack) -> None:
    look = f"for name in {' '.join(secrets_of(stack))}; do cat /project/.secrets/$name; done; id -u"
    mine = ("--volume", f"{stack.path}:/project:ro", "--user=12345:12345", "--cap-drop=ALL")
    done = docker("run", "--rm", *mine, BASE, "sh", "-c", look)
    assert done.stdout == "12345\n"
    assert done.stderr.count("Permission denied") == len(secrets_of(stack))


def replace_by_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


# What is done to a file, and what is said then.
MISTAKES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.unlink, "bind source path does not exist"),
    "a folder": (replace_by_folder, "Docker makes a folder"),
    "empty": (lambda file: file.write_text("\n"), "is empty: write the value into it"),
    "of mode 600": (
        lambda file: file.chmod(0o600),
        "Permission denied for user 10001. In a container, give the file mode 644",
    ),
    "in quotes": (lambda file: file.write_text(f'"{file.read_text().strip()}"\n'), "without them"),
    "of two lines": (lambda file: file.write_text(f"{file.read_text()}another\n"), "more than one line"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_file_that_is_wrong_is_named_in_a_sentence(
    stack: Stack, files: dict[str, Path], mistake: str
) -> None:
    change, reason = MISTAKES[mistake]
    for name in files.keys() - {"django_secret_key_fallbacks"}:
        content = files[name].read_bytes()
        change(files[name])
        said = check(stack)
        assert reason in said, said
        assert name in said.lower(), said
        assert "Traceback" not in said
        assert len(said.splitlines()) == 1, said
        if files[name].is_dir():
            files[name].rmdir()
        files[name].write_bytes(content)
        files[name].chmod(0o644)


def test_a_secret_that_is_put_back_into_env_is_refused(stack: Stack) -> None:
    env = stack.path / ".env"
    before = env.read_text()
    try:
        env.write_text(f"{before}DJANGO_SECRET_KEY=seCret\n")
        said = check(stack)
    finally:
        env.write_text(before)
    assert said.startswith("DJANGO_SECRET_KEY and DJANGO_SECRET_KEY_FILE are both set: remove one.")
    assert "seCret" not in said


def check(stack: Stack) -> str:
    """Return what the project's container says when it must not start."""
    command = ("run", "--rm", "--no-deps", "--quiet-pull", "migrate", "python", "manage.py", "check")
    done = stack.compose(*command, check=False)
    assert done.returncode != 0
    assert done.stdout == ""
    return done.stderr.strip()


def test_the_key_is_changed_as_the_readme_says_and_no_job_is_lost(
    stack: Stack, documented: Callable[[str, str], Block]
) -> None:
    before = secrets_of(stack)
    stack.wait_for(stack.runs, 40)
    documented("project/docs/deploying.md", "{ cat .secrets/django_secret_key").run(
        stack.path, stack.environment
    )
    after = secrets_of(stack)
    assert after["django_secret_key"] != before["django_secret_key"]
    assert before["django_secret_key"] in after["django_secret_key_fallbacks"].splitlines()
    stack.up()
    seen = stack.runs()
    stack.wait_for(lambda: stack.runs() > seen, 40)
    assert "signed anew with the present key" in stack.the("scheduler").logs
    assert "0 quarantined" in stack.inside("scheduler", "python", "manage.py", "scheduler_status")
    (stack.path / ".secrets" / "django_secret_key_fallbacks").write_text(after["django_secret_key"] + "\n")
    assert shown_by_docker(stack) == []


def test_a_file_that_an_editor_replaced_counts_after_a_restart(stack: Stack, files: dict[str, Path]) -> None:
    former = files["django_secret_key_fallbacks"]
    edited = former.with_name("edited")
    edited.write_text("another-former-key-that-an-editor-wrote-0123456789-abcdef\n")
    edited.rename(former)
    stack.compose("restart", "web")
    stack.up()
    show = "from django.conf import settings; print(settings.SECRET_KEY_FALLBACKS)"
    assert "an-editor-wrote" in stack.inside("web", "python", "manage.py", "shell", "-v0", "-c", show)


@on_servers
def test_the_database_s_password_is_changed_as_the_readme_says(
    stack: Stack, documented: Callable[[str, str], Block]
) -> None:
    before = secrets_of(stack)
    seen = stack.wait_for(stack.runs, 40)
    documented("project/docs/deploying.md", "docker compose stop web scheduler").run(
        stack.path, stack.environment
    )
    after = secrets_of(stack)
    assert after["database_password"] != before["database_password"]
    stack.wait_for(lambda: stack.runs() > seen, 40)
    assert shown_by_docker(stack) == []


@on_servers
def test_a_password_that_is_changed_in_the_file_alone_is_told(stack: Stack, files: dict[str, Path]) -> None:
    files["database_password"].write_text("another-password-than-the-database-has\n")
    command = ("run", "--rm", "--no-deps", "migrate", "python", "manage.py", "migrate")
    done = stack.compose(*command, check=False)
    assert done.returncode != 0
    assert "put that one back into .secrets/database_password" in done.stderr
    assert "Traceback" not in done.stderr
