"""The function that every contender's jobs call: it records when it started, at almost no cost.

Each call appends 12 bytes to the file that BENCH_TRACE names: the job's number and the time by this
machine's clock. `trace.py` reads them.
"""

import functools
import os
import struct
import time

RECORD = struct.Struct("<Id")


@functools.cache
def trace() -> int:
    """Return the open trace file, one for the whole process."""
    return os.open(os.environ["BENCH_TRACE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def work(number: int, seconds: float = 0.0) -> None:
    """Note the start, then take some time."""
    os.write(trace(), RECORD.pack(number, time.time()))
    if seconds:
        time.sleep(seconds)


def burn(number: int, seconds: float) -> None:
    """Note the start, then compute for so many seconds of this thread's CPU."""
    os.write(trace(), RECORD.pack(number, time.time()))
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        sum(range(1000))


# Opened when the module is imported, so that no job pays for it.
if "BENCH_TRACE" in os.environ:
    trace()
