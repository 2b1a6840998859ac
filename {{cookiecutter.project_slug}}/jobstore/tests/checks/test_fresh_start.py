"""Declarations that are others in each process are found by `--check`, not by every start."""

import os
import subprocess
import sys

import pytest

from jobstore.tests.jobfiles import JobFiles
from jobstore.tests.processes import ROOT

HEAD = "import datetime as dt, random, time, uuid\n"
SET = '{"a", "b", "c", "d", "e", "f", "g", "h"}'

UNSTEADY = {
    "uuid4": ('"cron", hour=3, args=[uuid.uuid4()]', "its args would"),
    "random": ('"cron", hour=3, kwargs={"salt": random.random()}', "its kwargs would"),
    "the order of a set": (f'"cron", hour=3, args=[list({SET})]', "its args would"),
    "a text of a set": (f'"cron", hour=3, args=[",".join({SET})]', "its args would"),
    "the clock in seconds": ('"cron", hour=3, args=[int(time.time())]', "its args would"),
    "a process": ('"cron", hour=3, args=[__import__("os").getpid()]', "its args would"),
    "a start at the import": (
        '"interval", hours=1, start_date=dt.datetime.now().replace(microsecond=0)',
        "its start_date would",
    ),
    "a first run at the import": (
        '"interval", hours=1, next_run_time=dt.datetime.now().replace(microsecond=0)',
        "its next_run_time would",
    ),
    "an interval by chance": ('"interval", hours=random.randint(1, 10_000)', "its hours would"),
    "an id by chance": (
        '"cron", hour=3, id=f"job-{uuid.uuid4()}"',
        "in every process",
    ),
}
STEADY = {
    "uuid5": '"cron", hour=3, args=[uuid.uuid5(uuid.NAMESPACE_DNS, "example.org")]',
    "random with a seed": '"cron", hour=3, args=[random.Random(7).random()]',
    "a set": f'"cron", hour=3, args=[{SET}, frozenset({SET})]',
    "a sorted set": f'"cron", hour=3, args=[sorted({SET})]',
    "a given start": '"interval", hours=1, start_date=dt.datetime(2026, 1, 1)',
    "a start that was not given": '"interval", hours=1',
}


def check(files: JobFiles, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Check the files that a test wrote, without a database."""
    path = {"PYTHONPATH": str(files.folder), "WRITTEN_APPS": files.app}
    settings = {"DJANGO_SETTINGS_MODULE": "jobstore.tests.jobs_settings"}
    return subprocess.run(
        [sys.executable, str(ROOT / "manage.py"), "runapscheduler", "--check"],
        cwd=files.folder,  # as a supervisor does, from anywhere
        env=os.environ | path | settings | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.slow
def test_what_differs_in_each_process_is_told_with_file_and_line(files: JobFiles) -> None:
    for number, (options, _) in enumerate(UNSTEADY.values()):
        name = f"unsteady_{number}"
        files.declare(f"{name}.py", f"{HEAD}@scheduled({options})\ndef {name}(*a, **k): pass\n")
    for number, options in enumerate(STEADY.values()):
        name = f"steady_{number}"
        files.declare(f"{name}.py", f"{HEAD}@scheduled({options})\ndef {name}(*a, **k): pass\n")
    done = check(files, PYTHONHASHSEED="1")  # whatever it is pinned to
    lines = [
        line
        for line in done.stderr.splitlines()
        if "each process" in line or "every process" in line
    ]
    for number, (kind, (_, text)) in enumerate(UNSTEADY.items()):
        found = [line for line in lines if f"unsteady_{number}.py:3: " in line]
        assert len(found) == 1, (kind, done.stderr)
        assert text in found[0], kind
    assert len(lines) == len(UNSTEADY), lines
    assert done.returncode == 1
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_what_stays_the_same_is_valid(files: JobFiles) -> None:
    for number, options in enumerate(STEADY.values()):
        files.declare(
            f"steady_{number}.py", f"{HEAD}@scheduled({options})\ndef steady(*a, **k): pass\n"
        )
    done = check(files)
    assert done.returncode == 0, done.stderr
    assert "declared jobs are valid" in done.stdout
    assert "each process" not in done.stderr and "every process" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("again", "text"),
    [
        ("os._exit(3)", "another interpreter that imported them ended with 3."),
        ("time.sleep(60)", "another interpreter did not import them within 2 s."),
        ("print('noise'); threading.Thread(target=time.sleep, args=(60,)).start()", ""),
    ],
    ids=["ends", "hangs", "leaves a thread"],
)
def test_a_second_import_that_fails_is_told_in_a_sentence_and_is_no_error(
    files: JobFiles, again: str, text: str
) -> None:
    files.declare(
        "a.py",
        f"""
        import os, pathlib, sys, threading, time
        from jobstore.checks import fresh_start
        is_silent = "sleep(60)" in {again!r} and "print" not in {again!r}
        fresh_start.INTERPRETER_SECONDS = 2.0 if is_silent else 60
        if "jobstore.management.commands.runapscheduler" not in sys.modules:
            {again}
        @scheduled("cron", hour=3)
        def job(): pass
        """,
    )
    done = check(files)
    assert done.returncode == 0, done.stderr
    assert "declared jobs are valid" in done.stdout
    assert text in done.stderr
    assert ("could not be checked" in done.stderr) == bool(text)
    assert "Traceback" not in done.stderr
