"""What worker processes are given to do in tests; much of it no job should do."""

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn


def touch(path: str, text: str = "x") -> None:
    """Leave a trace."""
    with Path(path).open("a") as file:
        file.write(text)


def pid() -> int:
    """Return the process's id."""
    return os.getpid()


def add(one: int, other: int = 0) -> int:
    """Return a sum."""
    return one + other


async def pid_later() -> int:
    """Return the process's id, from a coroutine."""
    return os.getpid()


def fail() -> NoReturn:
    """Raise."""
    raise LookupError("nothing there")


def sleep(path: str, seconds: float = 30.0) -> str:
    """Leave a trace, and take some time."""
    touch(path, f"{os.getpid()}\n")
    time.sleep(seconds)
    return "slept"


def tidy_up(path: str) -> None:
    """Take long, and leave a trace at the end in any case."""
    try:
        sleep(path)
    finally:
        touch(path, "tidied")


async def sleep_later(path: str) -> None:
    """Leave a trace, and take some time, in a coroutine."""
    touch(path)
    await asyncio.sleep(30)


async def tidy_up_later(path: str) -> None:
    """Take long in a coroutine, and leave a trace at the end in any case."""
    try:
        await sleep_later(path)
    finally:
        touch(path, "tidied")


def spin(path: str) -> None:
    """Compute for ever."""
    touch(path)
    while True:
        pass


def ignore_signals(path: str) -> None:
    """Take long, and listen to nobody."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sleep(path)


def swallow_exit(path: str) -> str:
    """Take long, and go on as if nothing had been said."""
    try:
        sleep(path)
    except BaseException:
        return "went on"
    return "was left alone"


def wait_for_program(path: str) -> None:
    """Start a program that runs for long, and wait for it."""
    program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    touch(path, f"{program.pid}\n")
    program.wait()


def leave_program(path: str) -> None:
    """Start a program that runs for long, and leave it behind."""
    program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    touch(path, f"{program.pid}\n")


def fork(path: str) -> str:
    """Fork, and come back as the child as well."""
    child = os.fork()
    if not child:
        touch(path, "child")
        return "child"
    os.waitpid(child, 0)
    return "parent"


def leave_fork(path: str) -> None:
    """Leave a fork behind, and die."""
    child = os.fork()
    if not child:
        time.sleep(60)
        os._exit(0)
    touch(path, f"{child}\n")
    os.kill(os.getpid(), signal.SIGKILL)


def leave_fork_unseen(path: str) -> None:
    """Fork as a library does that Python does not know of, and die."""
    if not ctypes.CDLL(None).fork():
        touch(path, f"{os.getpid()}\n")
        time.sleep(60)
        os._exit(0)
    while not Path(path).exists():
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


def list_files_of_fork(path: str) -> None:
    """Leave a trace of what a fork has open."""
    child = os.fork()
    if not child:
        touch(path, str(look_around()["files"]))
        os._exit(0)
    os.waitpid(child, 0)


def hold_interpreter(path: str) -> None:
    """Call a function that lets no other thread of the process run."""
    touch(path, f"{os.getpid()}\n")
    ctypes.PyDLL(None).sleep(30)


def finish(path: str, seconds: float) -> None:
    """Leave a trace, take some time, and leave another."""
    sleep(path, seconds)
    touch(path, "finished")


def leave_at_once(code: int) -> NoReturn:
    """End the process."""
    os._exit(code)


def leave_once(path: str) -> None:
    """End the process, the first time."""
    if not Path(path).exists():
        touch(path)
        os._exit(1)


def touch_and_die(path: str, text: str) -> None:
    """Leave a trace, and die."""
    touch(path, text)
    os.kill(os.getpid(), signal.SIGKILL)


def crash() -> None:
    """Read where nothing may be read."""
    ctypes.string_at(0)


def end_by(number: int) -> None:
    """End by a signal."""
    os.kill(os.getpid(), number)
    time.sleep(10)


def close_everything() -> None:
    """Close what is open, as a daemon does."""
    os.closerange(3, 256)


def reuse_descriptors(path: str) -> str:
    """Close what is open, and open files in its place."""
    os.closerange(3, 256)
    kept.extend(Path(f"{path}{one}").open("w") for one in range(60))  # noqa: SIM115
    return "done"


def print_much() -> str:
    """Print some megabytes."""
    for _ in range(2000):
        print("x" * 1000)
        print("y" * 1000, file=sys.stderr)
    return "printed"


def return_much() -> str:
    """Return more than anybody wants."""
    return "x" * 50_000_000


class Mute:
    """Has no text, and cannot be pickled."""

    def __repr__(self) -> str:
        raise SystemExit("no text")

    def __reduce__(self) -> NoReturn:
        raise TypeError("stays here")


def return_mute() -> Mute:
    """Return what has no text."""
    return Mute()


def raise_mute() -> NoReturn:
    """Raise what has no text."""
    raise Exception(Mute())


def fill_memory(megabytes: int) -> int:
    """Keep so much memory."""
    kept.append(b"x" * (megabytes * 1024 * 1024))
    return os.getpid()


kept: list[Any] = []


def tell_progress(path: str) -> int:
    """Tell progress in a tight loop, then take some time."""
    from jobstore.runs import progress

    for number in range(50_000):
        progress(number + 1, 50_000, "working")
    touch(path)
    time.sleep(1)
    return os.getpid()


def name_run() -> str:
    """Tell which run this is."""
    from jobstore.runs import current_run

    run = current_run()
    assert run is not None
    return f"{run.execution_id} {run.job_id} {run.attempt} {run.epoch}"


def look_around() -> dict[str, Any]:
    """Return what a job finds in its process."""
    return {
        "session": os.getsid(0) == os.getpid(),
        "python path": os.environ.get("PYTHONPATH"),
        "files": sorted(os.readlink(f"/proc/self/fd/{name}") for name in _files()),
    }


def _files() -> list[str]:
    return [name for name in os.listdir("/proc/self/fd") if Path(f"/proc/self/fd/{name}").exists()]


class ImportsBadly:
    """Cannot be read by the process that it is sent to."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _refuse, ()


class KillsReader:
    """Ends the process that reads it."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os._exit, (9,)


class HangsReader:
    """Keeps the process that reads it."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return time.sleep, (30,)


def _refuse() -> NoReturn:
    raise ValueError("not here")
