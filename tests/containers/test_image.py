"""What is in the image, and what is not."""

import json
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from baking import Baked
from stacks import Project, docker

Run = Callable[..., str]

pytestmark = pytest.mark.containers

BASE = "python:3.13-slim-trixie"
# What the project may add to the base image, in MB: as measured, and a quarter to grow.
ALLOWANCE = {"postgresql": 91, "mariadb": 79, "sqlite": 76}


@pytest.fixture(scope="module", params=ALLOWANCE)
def database(request: pytest.FixtureRequest) -> str:
    """Return each database, as the prompts name it."""
    return str(request.param)


@pytest.fixture(scope="module")
def image(database: str, project: Project) -> Iterator[str]:
    """Provide the name of a freshly built image."""
    name = f"test-image-{uuid.uuid4().hex[:8]}"
    docker("build", "--tag", name, str(project(database, "none")), timeout=300)
    yield name
    docker("image", "rm", "--force", name, check=False)


@pytest.fixture(scope="module")
def run(image: str) -> Run:
    """Return what runs a shell command in the image, as root if asked to, and returns what it prints."""

    def run(command: str, user: str = "10001") -> str:
        arguments = ("run", "--rm", "--network=none", "--user", user, image, "sh", "-c", command)
        return docker(*arguments, check=False).stdout.strip()

    return run


def test_process_is_a_numbered_ordinary_user(image: str) -> None:
    configuration = json.loads(docker("image", "inspect", image).stdout)[0]["Config"]
    assert configuration["User"] == "10001:10001"
    assert docker("run", "--rm", image, "id", "-u").stdout.strip() == "10001"


def test_web_server_is_the_default_and_receives_signals(image: str) -> None:
    configuration = json.loads(docker("image", "inspect", image).stdout)[0]["Config"]
    # A list, so that no shell stands between Docker's SIGTERM and the server.
    assert configuration["Cmd"] == ["gunicorn", "config.wsgi", "-c", "config/gunicorn.py"]
    assert not configuration["Entrypoint"]


def test_no_build_tool_is_left(run: Run) -> None:
    tools = "gcc cc g++ make pkg-config mariadb_config mysql_config uv"
    assert run(f"for tool in {tools}; do command -v $tool; done; echo done") == "done"


def test_no_installer_is_left_in_the_environment(run: Run) -> None:
    assert run("ls /venv/lib/python3*/site-packages | grep -ciE '^(pip|setuptools)'") == "0"


def test_no_download_is_left(run: Run) -> None:
    # What apt downloads, if it is kept, shows in the size below: bases keep some of their own.
    folders = "/var/cache/pip ~root/.cache/pip /var/lib/apt/lists"
    left = f"ls -A {folders} 2>/dev/null | grep -v -e : -e '^$'; echo none"
    assert run(left, user="0") == "none"


def test_no_secret_or_local_file_came_along(run: Run) -> None:
    assert run("ls -A | grep -xE '.env|.secrets|.git|.venv|db.sqlite3'; echo none") == "none"
    assert run("printenv DJANGO_SECRET_KEY DATABASE_PASSWORD DATABASE_URL; echo none") == "none"


def test_process_cannot_change_its_code(run: Run) -> None:
    places = "/app /app/jobs /app/var /venv/bin /venv/lib"
    writable = f"for place in {places}; do test -w $place && echo $place; done; echo none"
    assert run(writable) == "none"


def test_an_image_of_a_project_that_only_its_owner_can_read_can_read_itself(
    bake: Callable[..., Baked],
) -> None:
    project = bake(database="sqlite").path
    for path in project.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    name = f"test-image-{uuid.uuid4().hex[:8]}"
    docker("build", "--tag", name, str(project), timeout=300)
    try:
        unreadable = "find /app ! -readable -o -type d ! -executable"
        assert docker("run", "--rm", name, "sh", "-c", unreadable).stdout == ""
    finally:
        docker("image", "rm", "--force", name, check=False)


def test_static_files_are_collected(run: Run) -> None:
    assert "admin/css/base.css" in run("cat var/static/staticfiles.json")


def test_bytecode_is_written_beforehand(run: Run) -> None:
    assert "models.cpython" in run("ls jobstore/__pycache__")


def test_driver_of_the_database_can_be_loaded(run: Run, database: str) -> None:
    module = {"postgresql": "psycopg", "mariadb": "MySQLdb", "sqlite": "sqlite3"}[database]
    assert run(f"python -c 'import {module}; print({module}.__name__)'") == module


def test_image_adds_little_to_its_base(image: str, database: str) -> None:
    sizes = docker("image", "inspect", "--format={{.Size}}", image, BASE).stdout.split()
    added = (int(sizes[0]) - int(sizes[1])) / 1_000_000
    assert added < ALLOWANCE[database], f"{added:.0f} MB"


def test_sqlite_in_a_mounted_folder_of_somebody_else_is_told(
    project: Project, image: str, database: str, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    environment = (
        "--env=DATABASE_URL=sqlite:////data/db.sqlite3",
        f"--env-file={project(database, 'none')}/.env",
        f"--volume={project(database, 'none')}/.secrets/django_secret_key:/app/.secrets/django_secret_key:ro",
        "--env=DJANGO_SECRET_KEY_FALLBACKS_FILE=",
    )
    options = ("run", "--rm", *environment, f"--volume={tmp_path}:/data", image)
    done = docker(*options, "python", "manage.py", "migrate", check=False)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "user 10001, cannot write to /data" in done.stderr
    assert "chown -R 10001:10001 /data" in done.stderr
