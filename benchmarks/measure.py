"""Delays, rates and CPU of what contenders did."""

import math
import os
import struct
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

RECORD = struct.Struct("<Id")
TICKS = os.sysconf("SC_CLK_TCK")


def starts(trace: Path) -> list[tuple[int, float]]:
    """Return (job's number, time of the start) for each run, in the order of their notes."""
    content = trace.read_bytes() if trace.exists() else b""
    return [tuple(record) for record in RECORD.iter_unpack(content)]


def count_starts(trace: Path) -> int:
    """Return how many runs have started so far."""
    return trace.stat().st_size // RECORD.size if trace.exists() else 0


def percentile(values: Sequence[float], part: float) -> float | None:
    """Return the smallest value that `part` of all values do not exceed."""
    if not values:
        return None
    return sorted(values)[max(math.ceil(part * len(values)) - 1, 0)]


def summary(delays: Sequence[float]) -> dict[str, float | None]:
    """Return the figures of delays for a table, in milliseconds."""
    parts = {"p50_ms": 0.5, "p99_ms": 0.99, "max_ms": 1.0}
    return {
        name: None if (value := percentile(delays, part)) is None else round(value * 1000, 1)
        for name, part in parts.items()
    }


def curve(delays: Sequence[float], points: int = 200) -> list[float]:
    """Return delays in seconds at evenly spaced percentiles: enough to draw their distribution."""
    ordered = sorted(delays)
    if not ordered:
        return []
    return [round(ordered[round(i * (len(ordered) - 1) / (points - 1))], 5) for i in range(points)]


def cpu_seconds(pids: Iterable[int], *, with_ended: bool = False) -> float:
    """Return the CPU that these processes have used, and their ended children if asked for.

    Processes that are gone are left out.
    """
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(map(int, fields[11 : 15 if with_ended else 13]))
    return total / TICKS


def resident_mb(pids: Iterable[int]) -> float:
    """Return the resident memory of these processes in MB."""
    total = 0
    for pid in pids:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        total += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    return round(total / 1024, 1)


@dataclass(frozen=True)
class Ended:
    """What a process needed that has ended, with the children that it waited for."""

    code: int
    cpu_seconds: float
    memory_mb: float


def ended(process: "subprocess.Popen[bytes]") -> Ended:
    """Wait for the end of a child; its memory is the most that it ever had resident."""
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return Ended(process.returncode, used.ru_utime + used.ru_stime, round(used.ru_maxrss / 1024, 1))


def sleep_until(when: float) -> None:
    """Sleep until a time by this machine's clock."""
    time.sleep(max(when - time.time(), 0))


def children(pid: int) -> list[int]:
    """Return the processes that a process has started and that are there."""
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(one) for one in found.stdout.split()]


def end(process: "subprocess.Popen[bytes]", patience: float = 20.0) -> None:
    """End a process: first politely, after a while not."""
    process.terminate()
    try:
        process.wait(patience)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
