"""Jobs and history of the real django-apscheduler move over and go on, on every database."""

import json
import os
import re
import signal
import subprocess
import time
import venv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from baking import Baked, clean_environment
from documents import Block
from servers import docker

pytestmark = [pytest.mark.project, pytest.mark.timeout(600)]

HERE = Path(__file__).parent
# Until Django 5 a project had USE_TZ=False unless it said otherwise.
ALLOWED = {f"errands:{name}" for name in ("note", "fail", "wait", "Greeter", "Greeter.greet")}
ZONES = {"0.6": ("no", "Asia/Shanghai"), "0.7": ("yes", "UTC")}

TELL = """
import json
from jobstore.models import DjangoJob, DjangoJobExecution
def text(when): return None if when is None else when.isoformat()
def posix(when): return None if when is None else round(when.timestamp(), 2)
jobs = {job.id: text(job.next_run_time) for job in DjangoJob.objects.all()}
quarantined = {job.id: job.quarantine_reason for job in DjangoJob.objects.exclude(quarantined_at=None)}
runs = [
    [run.job_id, text(run.run_time), run.status, run.exception, run.traceback, posix(run.finished)]
    for run in DjangoJobExecution.objects.order_by("job_id", "run_time")
]
print(json.dumps({"jobs": jobs, "quarantined": quarantined, "runs": sorted(runs, key=str)}))
"""


@dataclass
class Shop:
    """A project that ran its jobs with django-apscheduler, and was then switched off."""

    python: Path
    folder: Path
    environment: dict[str, str]

    def run(self, *arguments: str) -> str:
        """Run the Python of the old project, which must succeed."""
        done = subprocess.run(
            [self.python, *arguments],
            cwd=HERE / "shop",
            env=clean_environment(**self.environment),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def tell(self) -> Any:
        """Return its jobs and history, as django-apscheduler itself reads them."""
        return json.loads(self.run("tell.py"))


@dataclass
class Successor:
    """Our project on the database of the shop, with the functions of its jobs."""

    project: Baked
    environment: dict[str, str]

    def manage(self, *arguments: str, **options: Any) -> str:
        """Run manage.py, which must succeed, and return what it prints."""
        return self.project.python("manage.py", *arguments, **options, **self.environment).stdout

    def tell(self) -> Any:
        """Return its jobs and history."""
        return json.loads(self.manage("shell", "-v0", "-c", TELL))

    def run_jobs(self, until: Callable[[], bool]) -> str:
        """Run the scheduler for real until something is so; return its log."""
        python = str(self.project.path / ".venv" / "bin" / "python")
        variables = self.environment | {"SCHEDULER_HEALTH_ADDRESS": ""}
        scheduler = subprocess.Popen(
            [python, "manage.py", "runapscheduler"],
            cwd=self.project.path,
            env=clean_environment(**variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            deadline = time.monotonic() + 60
            while not until() and time.monotonic() < deadline and scheduler.poll() is None:
                time.sleep(0.2)
            scheduler.send_signal(signal.SIGTERM)
            log, _ = scheduler.communicate(timeout=60)
        finally:
            scheduler.kill()
        assert until(), log
        assert scheduler.returncode == 0, log
        return log


@pytest.fixture(scope="session", params=["0.6", "0.7"])
def peer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A version of django-apscheduler, and the Python of an environment that has it."""
    folder = tmp_path_factory.mktemp("peer")
    venv.create(folder, with_pip=True, symlinks=True)
    python = folder / "bin" / "python"
    lock = str(HERE / f"requirements-{request.param}.txt")
    command = [str(python), "-m", "pip", "install", "--quiet", "--require-hashes", "-r", lock]
    subprocess.run(command, check=True, env=clean_environment())
    return request.param, python


@pytest.fixture(params=["sqlite", "postgresql", "mariadb"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    """The kind and the address of an empty database."""
    kind: str = request.param
    if kind == "sqlite":
        return kind, f"sqlite:///{tmp_path}/shop.sqlite3"
    container, url = request.getfixturevalue(kind)
    name = f"shop_{os.urandom(4).hex()}"
    if kind == "postgresql":
        docker("exec", container, "createdb", "-U", "postgres", name)
    else:
        create = f'mariadb -uroot -p"$MARIADB_ROOT_PASSWORD" -e "CREATE DATABASE {name} CHARSET utf8mb4"'
        docker("exec", container, "sh", "-c", create)
    return kind, f"{url.rpartition('/')[0]}/{name}"


@pytest.fixture
def shop(peer: tuple[str, Path], database: tuple[str, str], tmp_path: Path) -> Shop:
    """The old project, with jobs of all kinds and a history that its scheduler wrote."""
    version, python = peer
    uses_zones, zone = ZONES[version]
    environment = {
        "DJANGO_SETTINGS_MODULE": "settings",
        "PYTHONDONTWRITEBYTECODE": "1",
        "SHOP_DATABASE": database[1],
        "SHOP_TRACE": str(tmp_path / "trace"),
        "SHOP_USE_TZ": uses_zones,
        "SHOP_TIME_ZONE": zone,
    }
    old = Shop(python, tmp_path, environment)
    old.run("-m", "django", "migrate", "-v0")
    old.run("work.py")
    return old


@pytest.fixture
def successor(request: pytest.FixtureRequest, shop: Shop, database: tuple[str, str]) -> Successor:
    """Our project, without django-apscheduler, and without a part of the old project's code."""
    kind, url = database
    project = request.getfixturevalue("installed_for_mariadb" if kind == "mariadb" else "installed")
    modules = shop.folder / "modules"
    modules.mkdir()
    (modules / "errands.py").write_text((HERE / "shop" / "errands.py").read_text(encoding="utf-8"))
    environment = {
        "DATABASE_URL": url,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(modules),
        "SHOP_TRACE": shop.environment["SHOP_TRACE"],
    }
    new = Successor(project, environment)
    new.manage("migrate", "-v0")
    return new


def test_everything_moves_over_and_goes_on(shop: Shop, successor: Successor) -> None:
    left = shop.tell()
    command = ["import_django_apscheduler", "--time-zone", shop.environment["SHOP_TIME_ZONE"]]

    # The functions of this shop lie outside of the project: each is named once, by who has looked.
    refused = successor.manage(*command)
    assert re.search(r"1 to import \(1 of them into quarantine\) .* \+ 10 that need --allow", refused)
    assert set(re.findall(r"use --allow (\S+)", refused)) == ALLOWED - {"errands:Greeter.greet"}
    command += [f"--allow={name}" for name in ALLOWED]

    looked = successor.manage(*command)
    assert "Jobs: 12 read = 11 to import (1 of them into quarantine) + 0 already there + 1 " in looked
    assert f"Runs: {len(left['runs'])} read = {len(left['runs'])} to import + 0 " in looked
    assert successor.tell() == {"jobs": {}, "quarantined": {}, "runs": []}

    copied = successor.manage(*command, "--apply")
    assert "Jobs: 12 read = 11 imported (1 of them into quarantine) + 0 already there + 1 " in copied
    assert re.search(r"^unreadable +unreadable .*No module named 'closed'", copied, re.M)
    arrived = successor.tell()
    del left["jobs"]["unreadable"]
    assert arrived["jobs"] == left["jobs"]
    assert list(arrived["quarantined"]) == ["gone"]
    assert "closed:errand" in arrived["quarantined"]["gone"]
    assert arrived["runs"] == [as_ours(run) for run in left["runs"]]

    again = successor.manage(*command, "--apply")
    assert "Jobs: 12 read = 0 imported (0 of them into quarantine) + 11 already there + 1 " in again
    assert f"= 0 imported + 0 whose end is now known + {len(left['runs'])} already there + 0 " in again
    assert successor.tell() == arrived

    trace = Path(shop.environment["SHOP_TRACE"])
    trace.unlink()
    said: Callable[[], str] = lambda: trace.read_text(encoding="utf-8") if trace.exists() else ""  # noqa: E731
    successor.run_jobs(until=lambda: {"often", "Hello Ada"} <= set(said().splitlines()))
    ran = successor.tell()
    executed = {job_id for job_id, _, status, *_ in ran["runs"] if status == "Executed"}
    assert {"often", "method"} <= executed
    # What was neither due nor in service did not run.
    unchanged = ("weekly", "once", "slow", "gone", "jitter")
    assert {name: ran["jobs"][name] for name in unchanged} == {name: left["jobs"][name] for name in unchanged}
    assert set(said().splitlines()) == {"often", "Hello Ada"}


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@pytest.mark.parametrize("peer", ["0.7"], indirect=True)
def test_the_commands_of_the_page_on_moving_over_copy_what_they_announce(
    shop: Shop, successor: Successor, documented: Callable[[str, str], Block]
) -> None:
    project = successor.project.path
    path = f"{project / '.venv' / 'bin'}:{os.environ['PATH']}"
    block = documented("project/docs/moving-over.md", "python manage.py migrate")
    said = block.run(project, clean_environment(**successor.environment, PATH=path))
    looked, copied = re.findall(r"^Jobs: .*", said, re.M)
    assert looked.replace("to import", "imported") == copied
    assert len(successor.tell()["runs"]) == len(shop.tell()["runs"])


def as_ours(run: list[Any]) -> list[Any]:
    """Return a run of django-apscheduler as it is to be here."""
    job_id, run_time, status, *rest = run
    if status == "Started execution":
        return [
            job_id,
            run_time,
            "Lost!",
            "django-apscheduler had started this run and recorded no end of it.",
            None,
            None,
        ]
    *texts, finished = rest
    # Either side rounds what stands between two hundredths of a second in its own way.
    return [job_id, run_time, status, *texts, finished and pytest.approx(finished, abs=0.011)]
