"""What these tests share: worker processes without a scheduler, and without a database."""

import concurrent.futures
import datetime as dt
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobstore.execution.run import ActiveRun
from jobstore.executors import WorkerProcesses
from jobstore.tests.conftest import eventually

_ids = itertools.count(1)


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class Workers:
    """Worker processes that are given runs as an executor's threads give them."""

    def __init__(self, number: int = 1, **options: Any) -> None:
        self.executor = WorkerProcesses(number, **options)

    def begin(
        self, func: Callable[..., Any], *args: Any, timeout: float | None = None
    ) -> "tuple[ActiveRun, concurrent.futures.Future[Any]]":
        """Have a run carried out; return it, and what its outcome can be asked of."""
        name = f"{func.__module__}:{func.__qualname__}"
        run = ActiveRun(next(_ids), "job", now(), 7, func=name, attempt=2, timeout=timeout)
        pool = self.executor._pool
        return run, pool.submit(self.executor.carry_out, run, now, args, {})

    def run(
        self, func: Callable[..., Any], *args: Any, timeout: float | None = None
    ) -> tuple[ActiveRun, Any]:
        """Carry a run out; return it, and its result or exception."""
        run, future = self.begin(func, *args, timeout=timeout)
        return run, future.exception(60) or future.result()


@pytest.fixture(scope="module", autouse=True)
def _small_children(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Children start in a moment, and what they leave when they are killed is tidied up."""
    before = dict(os.environ)
    os.environ["DJANGO_SETTINGS_MODULE"] = "jobstore.tests.executors.small_settings"
    os.environ["TMPDIR"] = str(tmp_path_factory.mktemp("children"))
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    """One worker process, in which a test may do what it likes."""
    one = Workers()
    yield one
    one.executor.shutdown()
    assert not one.executor._workers


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A file that a job leaves a trace in."""
    return tmp_path / "trace"


def pid_in(trace: Path) -> int:
    """Wait until a job has written a process's id, and return it."""
    eventually(lambda: trace.exists() and trace.read_text().endswith("\n"))
    return int(trace.read_text().split()[0])


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that nobody has waited for yet does not."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        return ") Z" not in stat.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
