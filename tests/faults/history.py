"""The checker: compares what ran, by the trace that jobs leave, with what the history tells.

The trace is the truth about what ran: it lies outside the database, and every run appends a line
when it starts and one when it ends. Each finding is a sentence; no finding means that every time
of every job was started exactly once, by the process that the history names, or is accounted for.
"""

import bisect
import dataclasses
import datetime as dt
import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from faults.cluster import Event

SENT, EXECUTED, MISSED, LOST = "Started execution", "Executed", "Missed!", "Lost!"
SKIPPED, ERROR, REQUESTED = "Max instances!", "Error!", "Requested"

# A process is known to be silent from the moment of the signal, and its runs are lost some seconds
# later; one that ended may have been declared dead after it was already starting to stop.
DISTURBED = ("killed", "told to stop", "frozen", "cut", "stalled")
# Findings of one kind that are written out; the others are counted.
SHOWN = 5


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """A row of history; times are seconds since 1970, `pid` is that of the row's instance."""

    id: int
    job: str
    run_time: float
    status: str
    claimed_at: float | None
    finished: float | None
    epoch: int | None
    pid: int | None
    requested_by: str
    # A row may stand for several times in a row that were skipped or missed, up to this one.
    times: int = 1
    last_run_time: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Start:
    """A run by its trace: when it began and, unless its process did not live to see it, ended."""

    job: str
    execution: int
    run_time: float
    epoch: int | None
    pid: int
    began: float
    ended: float | None


@dataclasses.dataclass(frozen=True)
class Declared:
    """What a job promises: seconds between its times (0: people change it), and how many at once."""

    every: float = 0.0
    at_once: int = 1000


@dataclasses.dataclass
class History:
    """All that is known at the end of a mix."""

    rows: Sequence[Row]
    starts: Sequence[Start]
    jobs: dict[str, Declared]
    events: Sequence[Event]
    # Runs that were seen lost while the mix went on.
    seen_lost: frozenset[int] = frozenset()

    def checked(self) -> dict[str, list[str]]:
        """Return for each promise, in words, a sentence for each time that it was broken."""
        return {check.__name__.replace("_", " "): list(check(self)) for check in CHECKS}

    def findings(self) -> list[str]:
        """Return what is wrong, in sentences; of many alike, the first few."""
        found: list[str] = []
        for sentences in self.checked().values():
            found += sentences[:SHOWN]
            if len(sentences) > SHOWN:
                found.append(f"... and {len(sentences) - SHOWN} more like the last one.")
        return found

    def count(self, status: str) -> int:
        """Return how many runs ended like this."""
        return sum(row.status == status for row in self.rows)


# --- (a) Nothing runs twice -------------------------------------------------------------------------


def no_time_is_started_twice(history: History) -> Iterator[str]:
    """Compare the starts with each other; the database is not asked."""
    seen: dict[tuple[str, float], Start] = {}
    for start in history.starts:
        first = seen.setdefault((start.job, start.run_time), start)
        if first is not start:
            yield (
                f"{start.job} at {clock(start.run_time)} was started twice: by process {first.pid} under "
                f"epoch {first.epoch}, and by process {start.pid} under epoch {start.epoch}."
            )


# --- (b) History and trace tell the same ------------------------------------------------------------


def what_started_has_its_row(history: History) -> Iterator[str]:
    """A start has a row, which names its process and its epoch."""
    rows = {row.id: row for row in history.rows}
    for start in history.starts:
        row = rows.get(start.execution)
        what = f"{start.job} at {clock(start.run_time)} ran in process {start.pid}"
        if row is None or (row.job, row.run_time) != (start.job, start.run_time):
            yield f"{what}, and the history does not know of it."
        elif row.status in (MISSED, SKIPPED, REQUESTED):
            yield f"{what}, and the history calls it {row.status!r}."
        elif row.pid != start.pid:
            yield f"{what}, and the history says in process {row.pid}."
        elif row.epoch != start.epoch:
            yield f"{what} under epoch {start.epoch}, and the history says {row.epoch}."


def what_is_said_to_have_run_did(history: History) -> Iterator[str]:
    """A row that says "Executed" has a start and an end in the trace, if its job leaves any."""
    ended = {start.execution for start in history.starts if start.ended is not None}
    for row in history.rows:
        if row.job not in history.jobs:
            continue
        if row.status == EXECUTED and row.id not in ended:
            yield f"{row.job} at {clock(row.run_time)} is called executed, and did not run to its end."
        if row.status == ERROR:
            yield f"{row.job} at {clock(row.run_time)} is called {ERROR!r}, and no job here raises."


# --- (c) Nothing is missing -------------------------------------------------------------------------


def no_time_is_left_out(history: History) -> Iterator[str]:
    """The scheduled times of a steady job have no gap, from the first to the last."""
    times: dict[str, set[float]] = defaultdict(set)
    for row in history.rows:
        if not row.requested_by:
            times[row.job].update(times_of(row))
    for job, declared in history.jobs.items():
        if declared.every and job not in times:
            yield f"{job} never ran."
        if declared.every:
            for before, after in itertools.pairwise(sorted(times[job])):
                if abs(after - before - declared.every) > 0.001:
                    missing = round((after - before) / declared.every) - 1
                    yield f"{job} left out {missing} times after {clock(before)}."


def times_of(row: Row) -> list[float]:
    """Return the times that a row stands for, evenly from its first to its last."""
    if row.times == 1 or row.last_run_time is None:
        return [row.run_time]
    step = (row.last_run_time - row.run_time) / (row.times - 1)
    return [round(row.run_time + number * step, 6) for number in range(row.times)]


def nothing_is_missed(history: History) -> Iterator[str]:
    """The grace is an hour, so no outage here is a reason to miss a time, nor to leave one waiting."""
    for row in history.rows:
        if row.status == MISSED:
            yield f"{row.job} at {clock(row.run_time)} was missed, within its grace."
        elif row.status in (SENT, REQUESTED):
            yield f"{row.job} at {clock(row.run_time)} is still {row.status!r} when all has ended."
        elif row.status == SKIPPED and row.job in history.jobs and history.jobs[row.job].at_once > 1:
            yield f"{row.job} at {clock(row.run_time)} was skipped, although it may run many times at once."


# --- (d) No overlap ---------------------------------------------------------------------------------


def nothing_overlaps_beyond_its_limit(history: History) -> Iterator[str]:
    """Count, by the trace, how many runs of a job go on at the same time.

    An unfinished run ends with its process. One that was declared lost counts until then: whoever
    is frozen or cut off cannot be told that its time is over, so it may go on beside its successor.
    """
    lost = {row.id: row.finished for row in history.rows if row.status == LOST}
    deaths = {event.pid: event.at for event in history.events if event.what == "killed"}
    deaths |= {
        event.pid: event.at for event in history.events if event.what == "ended" and event.pid not in deaths
    }
    running: dict[str, list[tuple[float, int, int]]] = defaultdict(list)
    for start in history.starts:
        if history.jobs.get(start.job, Declared()).at_once > 500:
            continue
        end = start.ended if start.ended is not None else deaths.get(start.pid, start.began)
        end = min(end, lost.get(start.execution) or end)
        if end > start.began:
            running[start.job] += [(start.began, 1, start.pid), (end, -1, start.pid)]
    for job, changes in running.items():
        count = 0
        for at, change, pid in sorted(changes):
            count += change
            if change > 0 and count > history.jobs[job].at_once:
                yield f"{job} ran {count} times at once at {clock(at)}, when process {pid} started it."


# --- (e) Epochs grow --------------------------------------------------------------------------------


def epochs_grow_in_the_order_of_claims(history: History) -> Iterator[str]:
    """Whoever claimed later did so under the same epoch or a later one, and one process has an epoch."""
    claimed = [row for row in history.rows if row.claimed_at is not None and row.epoch is not None]
    claimed.sort(key=lambda row: (row.claimed_at, row.id))
    for before, after in itertools.pairwise(claimed):
        if (after.epoch or 0) < (before.epoch or 0):
            yield (
                f"{after.job} was claimed under epoch {after.epoch} at {clock(after.claimed_at or 0)}, after "
                f"a claim under epoch {before.epoch}."
            )
    owners: dict[int | None, set[int | None]] = defaultdict(set)
    for row in claimed:
        owners[row.epoch].add(row.pid)
    for epoch, pids in owners.items():
        if len(pids) > 1:
            yield f"Epoch {epoch} was used by {len(pids)} processes: {sorted(pid or 0 for pid in pids)}."


# --- (f) Lost is final, and has a reason ------------------------------------------------------------


def lost_is_final(history: History) -> Iterator[str]:
    """A run that was seen lost is lost at the end: a late result changed nothing."""
    rows = {row.id: row for row in history.rows}
    for number in sorted(history.seen_lost):
        row = rows.get(number)
        if row is None or row.status != LOST:
            status = row.status if row else "gone"
            yield f"Run {number} was declared lost and is {status!r} in the end."


def lost_runs_are_of_processes_that_were_disturbed(history: History) -> Iterator[str]:
    """Only a process that died, was stopped, frozen or cut off before can lose a run."""
    disturbed: dict[int, float] = {}
    for event in history.events:
        if event.what in DISTURBED and event.pid is not None:
            disturbed.setdefault(event.pid, event.at)
    for row in history.rows:
        if row.status != LOST:
            continue
        since = disturbed.get(row.pid or 0)
        if since is None or (row.finished is not None and row.finished < since):
            yield f"Run {row.id} of {row.job} was declared lost; nothing had been done to process {row.pid}."


CHECKS: tuple[Callable[[History], Iterable[str]], ...] = (
    no_time_is_started_twice,
    what_started_has_its_row,
    what_is_said_to_have_run_did,
    no_time_is_left_out,
    nothing_is_missed,
    nothing_overlaps_beyond_its_limit,
    epochs_grow_in_the_order_of_claims,
    lost_is_final,
    lost_runs_are_of_processes_that_were_disturbed,
)


# --- Reading ----------------------------------------------------------------------------------------


def read_trace(path: Path) -> list[Start]:
    """Return the runs that a trace file tells of, in the order in which they started."""
    order: list[Start] = []
    positions: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    with path.open() as lines:
        for line in lines:
            sign, job, execution, when, epoch, pid, at = line.split()
            key = (execution, pid, when)
            if sign == "+":
                fenced = None if epoch == "None" else int(epoch)
                begun = Start(job, int(execution), seconds(when), fenced, int(pid), float(at), None)
                positions[key].append(len(order))
                order.append(begun)
            else:
                position = positions[key][-1]
                order[position] = dataclasses.replace(order[position], ended=float(at))
    return order


def seconds(text: str) -> float:
    """Return a time in ISO format as seconds since 1970, exact to the microsecond."""
    return round(dt.datetime.fromisoformat(text).timestamp(), 6)


def clock(at: float) -> str:
    """Return a time as people read it, in UTC."""
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%H:%M:%S.%f")[:-3]


# --- Figures ----------------------------------------------------------------------------------------


def pause_after(claims: Sequence[float], at: float, within: float = 2.0) -> float | None:
    """Return the longest time without a claim that began at `at` or within some seconds after.

    :param claims: when anybody claimed, sorted.
    :return: seconds, None if nobody ever claimed again.
    """
    first = bisect.bisect_right(claims, at)
    begins = [
        at,
        *itertools.takewhile(lambda claim: claim < at + within, itertools.islice(claims, first, None)),
    ]
    longest = 0.0
    for number, begin in enumerate(begins):
        if first + number >= len(claims):
            return None if number == 0 else longest
        longest = max(longest, claims[first + number] - begin)
    return longest


def by_status(rows: Sequence[Row]) -> dict[str, int]:
    """Return how many runs ended how."""
    return dict(Counter(row.status for row in rows).most_common())
