"""Compares the declarations with those of other processes, for `runapscheduler --check`.

An argument that differs in each process (`uuid4()`, `random()`, the order of a set, the time) makes
its job look changed at each start, which undoes what an operator did. This shows only when a new
interpreter imports the declarations again.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobstore.declarations.declaration import Collected, Declaration, Problem

# Hash seeds of the interpreters, so that each of them probably orders the same set differently.
SEEDS = ("1", "2")
# Seconds after which an interpreter has taken too long.
INTERPRETER_SECONDS = 120.0
# Seconds that pass before it starts, so that values read from the clock differ.
CLOCK_SHIFT_SECONDS = 1.1
MARK = "declared by a fresh start: "
PROGRAM = """
import sys, time
sys.path[:] = sys.argv[2:]
time.sleep(max(0.0, float(sys.argv[1]) - time.time()))
from jobstore.checks import fresh_start
fresh_start.tell()
"""

Answer = dict[str, dict[str, str]]


class NoAnswer(Exception):
    """A fresh interpreter could not be asked; the text says why, in one sentence."""


def problems(found: "Collected") -> "list[Problem]":
    """Return a problem for each declaration that differs in another process.

    It takes a second longer than importing the declarations, and asks no database.

    :raises NoAnswer: if an interpreter does not answer.
    """
    from jobstore.declarations.declaration import Problem

    if not found.jobs:
        return []
    answers = _answers()
    told = []
    for job_id, (declaration, _) in found.jobs.items():
        here = describe(declaration)
        there = [answer.get(job_id) for answer in answers]
        if None in there:
            told.append(declaration.problem(f"Job {job_id!r} {NOT_THERE}"))
        elif differ := _differing(here, [one for one in there if one is not None]):
            told.append(declaration.problem(f"Job {job_id!r}: its {differ} {ANOTHER}"))
    if not told:
        known = {*found.jobs, *(one.id for one in found.left_out)}
        news = {job_id: one for answer in answers for job_id, one in answer.items()}
        told += [
            Problem(job_id, f"Job {job_id!r} {NOT_THERE}", news[job_id]["place"])
            for job_id in sorted(news.keys() - known)
        ]
    return told


ANOTHER = (
    "would be different in each process, so every start would take the job for changed and undo "
    "what an operator did. Declare values that stay the same; create what must differ (uuid4(), "
    "random(), the time, the order of a set) in the function."
)
NOT_THERE = (
    "is not declared in every process: one start would add it and the next one would retire it. "
    "Its id, and whether it is declared, must not depend on chance, on time or on the order of a "
    "set."
)


def describe(declaration: "Declaration") -> dict[str, str]:
    """Return a digest of each part of a declaration, by name, and where it is."""
    from jobstore.declarations.declaration import name_of, stable_text

    parts: dict[str, Any] = {"trigger": declaration.trigger, **declaration.options}
    digests = {name: _digest(stable_text(value)) for name, value in parts.items()}
    return digests | {
        "function": _digest(name_of(declaration.func)),
        "declaration": declaration.digest,
        "place": str(declaration.place),
    }


def tell() -> None:
    """Print the declarations as JSON, and end this process, whatever they have left running."""
    import django

    django.setup()
    from jobstore import registry
    from jobstore.jobstores import DjangoJobStore
    from jobstore.process.scheduler import DjangoScheduler

    found = registry.collect(DjangoScheduler(DjangoJobStore(), lambda: None))
    answer = {job_id: describe(one) for job_id, (one, _) in found.jobs.items()}
    sys.stdout.write(f"\n{MARK}{json.dumps(answer)}\n")
    sys.stdout.flush()
    os._exit(0)


def _differing(here: dict[str, str], there: list[dict[str, str]]) -> str:
    """Return the names of the parts that differ between processes; empty if none does."""
    names = {name for one in (here, *there) for name in one} - {"place"}
    differ = sorted(name for name in names if any(one.get(name) != here.get(name) for one in there))
    return " and ".join(differ if differ == ["declaration"] else _without(differ, "declaration"))


def _without(names: list[str], name: str) -> list[str]:
    return [one for one in names if one != name]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _answers() -> list[Answer]:
    """Ask all interpreters at once."""
    command = [sys.executable, "-c", PROGRAM, str(time.time() + CLOCK_SHIFT_SECONDS), *sys.path]
    deadline = time.monotonic() + INTERPRETER_SECONDS
    output: IO[str]
    outputs: list[IO[str]] = []
    started: list[subprocess.Popen[bytes]] = []
    try:
        for seed in SEEDS:
            # Files, since programs that the declarations start would keep a pipe open.
            output = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115
            outputs.append(output)
            environment = os.environ | {"PYTHONHASHSEED": seed}
            started.append(
                subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=environment,
                )
            )
        return [
            _answer(process, output, deadline)
            for process, output in zip(started, outputs, strict=True)
        ]
    except OSError as error:
        raise NoAnswer(f"another interpreter cannot be started ({error})") from error
    finally:
        for process in started:
            process.kill()
            process.wait()
        for output in outputs:
            output.close()


def _answer(process: "subprocess.Popen[bytes]", output: IO[str], deadline: float) -> Answer:
    try:
        code = process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise NoAnswer(
            f"another interpreter did not import them within {INTERPRETER_SECONDS:g} s"
        ) from None
    output.seek(0)
    lines = [line for line in output.read().splitlines() if line.strip()]
    for line in reversed(lines):
        if line.startswith(MARK):
            answer: Answer = json.loads(line.removeprefix(MARK))
            return answer
    from jobstore.texts import flattened

    last = f": {flattened(lines[-1])}" if lines else ""
    raise NoAnswer(f"another interpreter that imported them ended with {code}{last}")
