"""Fixtures of the template's tests."""

import fcntl
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling

import machine
from baking import ROOT, Baked, Baker
from documents import Block
from layers import needs
from servers import server

# Shared by the sessions of `make template` and `make faults`, and by those of tomorrow.
ENVIRONMENTS = ROOT / ".cache" / "environments"
# What runs the longest begins first. The suites of one file run beside each other.
LONGEST = (
    "test_its_tests_pass_on_postgresql",
    "test_its_tests_pass_on_mariadb",
    "test_edits",
    "test_poolers",
    "test_versions",
)
# A Swarm that comes and goes would disturb other stacks, and a browser takes each network that appears for a
# new one of its own.
WAITING = ("containers/", "test_browser")


class FileByFile(LoadFileScheduling):  # type: ignore[misc]
    """Keeps the tests of a file on one worker, and all of WAITING."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        if nodeid.endswith(LONGEST):
            return nodeid
        return "waiting" if file.removeprefix("tests/").startswith(WAITING) else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> FileByFile | None:
    if config.getoption("dist") != "loadfile":
        return None
    config.option.loadscopereorder = False
    return FileByFile(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        if item.nodeid.removeprefix("tests/").startswith(WAITING):
            return 0
        return next((place for place, name in enumerate(LONGEST, 1) if name in item.nodeid), len(LONGEST) + 1)

    items.sort(key=rank)


@pytest.fixture(scope="session")
def baker(tmp_path_factory: pytest.TempPathFactory) -> Baker:
    """Return what bakes projects; see `bake` for the usual way."""
    return Baker(tmp_path_factory.mktemp("bakes"))


@pytest.fixture(scope="session")
def bake(baker: Baker) -> Callable[..., Baked]:
    """Return `bake(**answers)`, which makes a project in a folder of its own."""
    return lambda **answers: baker.bake(baker.output(), **answers)


@pytest.fixture(scope="session")
def install(bake: Callable[..., Baked], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Baked]:
    """Return `install(database)`, which makes a project with an environment in .venv, once.

    The environment is kept for later sessions, as long as nothing else is pinned.
    """
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent  # of all workers, of which one installs and the others wait

    def install(database: str) -> Baked:
        note = shared / f"installed-{database}"
        with note.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not note.exists():
                project = bake(database=database)
                borrow_environment(project)
                note.write_text(str(project.path))
        return Baked(Path(note.read_text()))

    return install


def borrow_environment(project: Baked) -> None:
    """Give a project an environment with what it pins, which is made if there is none yet."""
    environment = ENVIRONMENTS / machine.fingerprint(*project.locks())[:16]
    ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
    is_complete = environment.with_suffix(".installed")
    with environment.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_complete.exists():
            (project.path / ".venv").symlink_to(environment)
            project.compile()
        else:
            project.install(environment)
            is_complete.touch()


@pytest.fixture(scope="session")
def installed(install: Callable[[str], Baked]) -> Baked:
    """Return the default project, installed. Tests leave it as they found it."""
    return install("postgresql")


@pytest.fixture
def workshop(installed: Baked, bake: Callable[..., Baked]) -> Iterator[Callable[[str], Path]]:
    """Return `workshop(project)`, which makes a folder in build/ where a tool finds that project installed.

    What is installed has a driver more than SQLite needs, which harms nobody and saves half a minute.
    """
    folder = ROOT / "build" / f"test-{os.getpid()}"

    def workshop(project: str) -> Path:
        environment = folder / project / ".venv"
        environment.mkdir(parents=True)
        for part in (installed.path / ".venv").iterdir():
            (environment / part.name).symlink_to(part)
        locks = sorted((bake(database="sqlite").path / "requirements").glob("*.txt"))
        (environment / "installed").write_text(machine.fingerprint(*locks))
        return folder

    yield workshop
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def installed_for_mariadb(install: Callable[[str], Baked]) -> Baked:
    """Return a project for MariaDB, installed. Tests leave it so too."""
    needs("libmariadb")
    return install("mariadb")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Return Chromium, for the tests of one file."""
    needs("chromium")
    from sites import chromium  # most tests need no browser, nor what drives it

    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def postgresql() -> Iterator[tuple[str, str]]:
    """Start a PostgreSQL server of our own and return its container and the URL of its database."""
    password = secrets.token_urlsafe(16)
    image = ("postgres:17-trixie", "postgres", "-c", "log_connections=on")
    options = ("--env", f"POSTGRES_PASSWORD={password}", "--tmpfs", "/var/lib/postgresql/data")
    # By address: while the image prepares its folder, the server listens on its socket alone.
    ready = ("pg_isready", "-h", "127.0.0.1", "-U", "postgres")
    with server(5432, *options, image=image, ready=ready) as (container, address):
        yield container, f"postgres://postgres:{password}@{address}/postgres"


@pytest.fixture(scope="session")
def mariadb() -> Iterator[tuple[str, str]]:
    """Start a MariaDB server of our own and return its container and the URL of its database."""
    password = secrets.token_urlsafe(16)
    image = ("mariadb:11.8", "mariadbd", "--general-log", "--general-log-file=/tmp/log")
    options = ("--env", f"MARIADB_ROOT_PASSWORD={password}", "--env", "MARIADB_DATABASE=app")
    ready = ("healthcheck.sh", "--connect", "--innodb_initialized")
    with server(3306, *options, image=image, ready=ready) as (container, address):
        yield container, f"mysql://root:{password}@{address}/app"


@pytest.fixture
def documented() -> Iterator[Callable[[str, str], Block]]:
    """Return `documented(document, line)`, which finds a block; the test must run what it asks for."""
    asked_for: list[Block] = []

    def documented(document: str, line: str) -> Block:
        asked_for.append(Block(document, line))
        return asked_for[-1]

    yield documented
    assert [block for block in asked_for if not block.is_used] == [], "run what you ask for"
