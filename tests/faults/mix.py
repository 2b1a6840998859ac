"""A random mix of faults on real scheduler processes, decided by a seed, and what came of it.

The same seed makes the same decisions in the same order; what they meet depends on how fast this
machine is. A decision that makes no sense at its moment (to freeze what is frozen) is left out, and
counted.
"""

import contextlib
import dataclasses
import datetime as dt
import heapq
import itertools
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from faults.cluster import Cluster, Scheduler, Sqlite, memory_and_threads
from faults.figures import Fault, lost, measure, terms
from faults.history import LOST, Declared, History, Row, by_status, read_trace, seconds
from faults.mistakes import MISTAKES, Mistakes
from servers import MariaDB, PostgreSQL, wait_until

# Kinds of faults, and how often each is drawn; those of a server or a network mean nothing to a file.
PROCESS = {"kill": 4, "term": 3, "freeze": 3}
NETWORK = {"cut": 3, "stall": 2}
SERVER = {
    PostgreSQL: {"restart": 1, "crash": 1, "away": 1},
    MariaDB: {"restart": 1, "crash": 1, "away": 1},
}
EDITS = {"pause": 1, "resume": 2, "reschedule": 1, "request": 2, "touch": 2}
# How the server ends: by itself, or at once; and seconds until it is started again.
OUTAGES = {
    (PostgreSQL, "restart"): (signal.SIGINT, 0.0),
    (PostgreSQL, "crash"): (signal.SIGQUIT, 0.0),
    (PostgreSQL, "away"): (signal.SIGINT, 8.0),
    (MariaDB, "restart"): (signal.SIGTERM, 0.0),
    (MariaDB, "crash"): (signal.SIGKILL, 0.0),
    (MariaDB, "away"): (signal.SIGTERM, 8.0),
}
# Seconds between two samples and two lines on the terminal.
SAMPLE, LINE = 2.0, 5.0
# Seconds that a process which ended is left alone, and seconds in which a starting one may give up.
RESTART, STARTING = 1.0, 45.0
# Seconds until the jobs have caught up, and until nothing is unfinished, at the end.
CATCH_UP, DRAIN = 120.0, 90.0


@dataclasses.dataclass(frozen=True)
class Decision:
    """What the seed says: after a pause, this kind of fault, to the active one or to another."""

    pause: float
    kind: str
    to_active: bool
    other: int
    seconds: float
    job: int


def decisions(seed: int, kinds: dict[str, int], others: int) -> Iterator[Decision]:
    """Return the decisions of a seed, without end."""
    chance = random.Random(seed)  # noqa: S311 - to be repeated, not to be secret
    names, weights = list(kinds), list(kinds.values())
    while True:
        yield Decision(
            pause=chance.uniform(0.3, 6.0),
            kind=chance.choices(names, weights)[0],
            to_active=chance.random() < 0.65,
            other=chance.randrange(others),
            seconds=chance.uniform(3.0, 25.0),
            job=chance.randrange(1000),
        )


class Mix:
    """Runs a mix on a cluster that nobody has started."""

    def __init__(
        self, cluster: Cluster, seed: int, say: Callable[[str], None] = print, jobs: int = 100
    ) -> None:
        """Prepare.

        :param say: gets a line every few seconds.
        :param jobs: as given to the cluster.
        """
        self.cluster = cluster
        self.seed = seed
        self.jobs = jobs
        self.faults: list[Fault] = []
        self.edits: list[tuple[float, str, str]] = []
        self.left_out = 0
        self.samples: list[dict[str, Any]] = []
        self.seen_lost: set[int] = set()
        self.findings: list[str] = []
        self.runs = 0
        self.take_overs = 0
        self.began = time.time()
        self._say = say
        self._pending: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._expected: dict[int, int] = {}
        self._ended: set[int] = set()
        self._outage: threading.Thread | None = None
        self._trace = cluster.trace.open("rb")
        self._next_sample = self._next_line = 0.0
        self._active: str | None = None
        self._active_pid: int | None = None
        self._wanted = 0
        self._mistakes = Mistakes(cluster, self._later, self._stop)

    # --- The course of events ------------------------------------------------------------------------

    def run(self, duration: float, runs: int | None = None, take_overs: int = 0) -> dict[str, Any]:
        """Go on for so many seconds, or until so many runs have started; return all about it.

        :param runs: if given, ends earlier or later than `duration`, as soon as they are reached.
        :param take_overs: goes on until so many were seen, however long that takes.
        """
        self._wanted = take_overs
        self.cluster.start()
        self.began = time.time()
        kinds = PROCESS | EDITS | MISTAKES
        if not isinstance(self.cluster.database, Sqlite):
            kinds = kinds | NETWORK | SERVER[type(self.cluster.database)]
        # The first few seconds show what is usual.
        when = self.began + 3.0
        for one in decisions(self.seed, kinds, len(self.cluster.schedulers) - 1):
            when = max(when, time.time() - 1.0) + one.pause
            while time.time() < when and not self._is_over(duration, runs):
                self._tick()
            if self._is_over(duration, runs):
                break
            self._carry_out(one)
        faults_ended = time.time()
        self.calm_down()
        return self._result(faults_ended)

    def _is_over(self, duration: float, runs: int | None) -> bool:
        if self.take_overs < self._wanted:
            return False
        return self.runs >= runs if runs else time.time() >= self.began + duration

    def _tick(self) -> None:
        time.sleep(0.05)
        now = time.time()
        while self._pending and self._pending[0][0] <= now:
            heapq.heappop(self._pending)[2]()
        for one in self.cluster.schedulers:
            if one.process is not None and one.pid not in self._ended and one.process.poll() is not None:
                self._has_ended(one)
        if now >= self._next_sample:
            self._next_sample = now + SAMPLE
            self._sample()
        if now >= self._next_line:
            self._next_line = now + LINE
            self._say(self._line())

    def _later(self, delay: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._pending, (time.time() + delay, next(self._numbers), action))

    def _has_ended(self, one: Scheduler) -> None:
        """Look at how a process ended, and have another one started."""
        assert one.process is not None
        self._ended.add(one.process.pid)
        one.note_end()
        code, expected = one.process.returncode, self._expected.get(one.process.pid)
        if code != expected and not self._gave_up_at_start(one, code) and not self._had_not_begun(one, code):
            self.findings.append(
                f"Process {one.pid} of {one.name} ended with {code}; "
                f"{'nothing was done to it' if expected is None else f'it should have been {expected}'}."
            )
        self._later(RESTART, one.start)

    @staticmethod
    def _had_not_begun(one: Scheduler, code: int) -> bool:
        """Tell whether SIGTERM came before there was anything to end in an orderly way."""
        return code == -signal.SIGTERM and f"Started as process {one.pid} " not in one.log.read_text()

    def _gave_up_at_start(self, one: Scheduler, code: int) -> bool:
        """Tell whether it found no database when it started, for which exit code 1 is right."""
        mine = [event for event in self.cluster.events if event.pid == one.pid or event.name == "database"]
        started = next(event.at for event in mine if event.what == "started" and event.pid == one.pid)
        was_cut = any(
            event.what in ("cut", "stalled", "healed", "database down", "database up")
            and event.at > started - 30
            for event in mine
        )
        return code == 1 and was_cut and time.time() - started < STARTING

    # --- Faults --------------------------------------------------------------------------------------

    def _carry_out(self, one: Decision) -> None:
        if one.kind in EDITS:
            self._edit(one)
        elif one.kind in ("restart", "crash", "away"):
            self._end_database(one)
        elif one.kind in MISTAKES:
            self._make_mistake(one)
        else:
            self._disturb(one)

    def _disturb(self, one: Decision) -> None:
        active = self._ask_active()
        others = [scheduler for scheduler in self.cluster.schedulers if scheduler is not active]
        target = active if one.to_active and active else others[one.other % len(others)]
        disturbed = [s for s in self.cluster.schedulers if s.is_frozen or s.is_cut_off or not s.is_alive]
        is_one_of_them = target in disturbed
        is_stopping = target.pid in self._expected
        only_kill = one.kind == "kill" and target.is_alive
        # One of three is left in peace, so that there is somebody who can go on.
        if (len(disturbed) >= 2 or is_one_of_them or is_stopping) and not (is_one_of_them and only_kill):
            self.left_out += 1
            return
        fault = Fault(time.time(), one.kind, target.name, target is active)
        if one.kind == "kill":
            self._expected[target.pid or 0] = -signal.SIGKILL
            target.is_frozen = False
            target.kill()
        elif one.kind == "term":
            self._stop(target)
        elif one.kind == "freeze":
            if not self._freeze(target):
                self.left_out += 1
                return
            self._later(one.seconds, lambda: self._thaw(target, fault))
        else:
            (target.cut if one.kind == "cut" else target.stall)()
            self._later(one.seconds / 2, lambda: self._heal(target, fault))
        self.faults.append(fault)

    def _freeze(self, target: Scheduler) -> bool:
        """Freeze a process; on SQLite outside transactions, where it would keep all others waiting."""
        for _ in range(10):
            target.freeze()
            if not isinstance(self.cluster.database, Sqlite) or self._file_is_free():
                return True
            target.thaw()
            time.sleep(0.05)
        return False

    def _file_is_free(self) -> bool:
        """Whether somebody else could write within half a second."""
        path = self.cluster.database.url.removeprefix("sqlite:///")
        with contextlib.closing(sqlite3.connect(path, timeout=0.5, isolation_level=None)) as file:
            try:
                file.execute("BEGIN IMMEDIATE")
                file.execute("ROLLBACK")
            except sqlite3.OperationalError:
                return False
        return True

    def _thaw(self, target: Scheduler, fault: Fault) -> None:
        fault.until = time.time()
        if target.is_frozen:
            self.look_for_lost()
            target.thaw()

    def _heal(self, target: Scheduler, fault: Fault) -> None:
        fault.until = time.time()
        self.look_for_lost()
        target.heal()

    def _end_database(self, one: Decision) -> None:
        if self._database_is_away():
            self.left_out += 1
            return
        how, seconds_away = OUTAGES[type(self.cluster.database), one.kind]  # type: ignore[index]
        fault = Fault(time.time(), one.kind, "database", was_active=False)
        self.faults.append(fault)

        def go_and_come_back() -> None:
            self.cluster.database_down(how)
            time.sleep(seconds_away)
            self.cluster.database_up()
            fault.until = time.time()

        self._outage = threading.Thread(target=go_and_come_back, name="outage", daemon=True)
        self._outage.start()

    def _make_mistake(self, one: Decision) -> None:
        fault = Fault(time.time(), one.kind, "people", was_active=False)
        if self._database_is_away() or not self._mistakes.make(one.kind, one.job, one.seconds):
            self.left_out += 1
            return
        self.faults.append(fault)

    def _stop(self, target: Scheduler) -> None:
        if target.is_alive and target.pid not in self._expected:
            self._expected[target.pid or 0] = 0
            target.terminate()

    def _database_is_away(self) -> bool:
        return self._outage is not None and self._outage.is_alive()

    # --- What people do meanwhile --------------------------------------------------------------------

    def _edit(self, one: Decision) -> None:
        job, steady = f"changed-{one.job % 5}", f"steady-{one.job % self.jobs:03}"
        soon = "now() + dt.timedelta(seconds=3)"
        expression = {
            "pause": f"Job.objects.get(pk='{job}').pause()",
            "resume": f"Job.objects.get(pk='{job}').resume()",
            "reschedule": f"Job.objects.filter(pk='{job}').update(next_run_time={soon})",
            "request": f"Job.objects.get(pk='{steady}').request_run('the mix').pk",
            "touch": f"Job.objects.filter(pk='{steady}').update(name=F('name'))",
        }[one.kind]
        if self._ask(expression) is None:
            self.left_out += 1
        else:
            self.edits.append((time.time(), one.kind, job))

    def _ask(self, expression: str) -> Any:
        """Return an answer, or None where the database is away or somebody holds its locks."""
        if self._database_is_away():
            return None
        try:
            return self.cluster.ask(expression)
        except RuntimeError:
            return None

    # --- What is looked at ---------------------------------------------------------------------------

    def _count_runs(self) -> None:
        self.runs += self._trace.read().count(b"+ ")

    def _ask_active(self) -> Scheduler | None:
        try:
            return None if self._database_is_away() else self.cluster.active()
        except RuntimeError:
            return None

    def look_for_lost(self) -> None:
        """Remember which runs are lost now: they must be so in the end."""
        self.seen_lost |= set(
            self._ask(f"list(Run.objects.filter(status='{LOST}').values_list('pk', flat=True))") or ()
        )

    def _sample(self) -> None:
        self._count_runs()
        active = self._ask_active()
        self._active = active.name if active else None
        if active is not None and active.pid != self._active_pid:
            self.take_overs += self._active_pid is not None
            self._active_pid = active.pid
        self.look_for_lost()
        sample: dict[str, Any] = {"at": time.time(), "runs": self.runs, "schedulers": {}}
        for one in self.cluster.schedulers:
            if one.is_alive and one.pid and (seen := memory_and_threads(one.pid)):
                sample["schedulers"][one.name] = {"pid": one.pid, "mb": round(seen[0], 1), "threads": seen[1]}
        self.samples.append(sample)

    def _line(self) -> str:
        last = self.faults[-1] if self.faults else None
        told = f"{last.title} ({last.name}), {time.time() - last.at:.0f} s ago" if last else "none yet"
        elapsed = dt.timedelta(seconds=round(time.time() - self.began))
        return (
            f"{elapsed}  {self.runs:>7} runs  active: {self._active or '-':<4} "
            f"{len(self.faults):>4} faults, the last: {told}"
        )

    # --- The end -------------------------------------------------------------------------------------

    def calm_down(self) -> None:
        """Heal everything, let the jobs catch up, pause them, wait for what runs, and stop."""
        self._say("No more faults: healing, and waiting until every run has ended.")
        if self._outage:
            self._outage.join()
        # All at once; what has to be done in steps goes on in steps.
        self._pending = [(0.0, number, action) for _, number, action in sorted(self._pending)]
        if not self._wait(lambda: not self._pending, CATCH_UP):
            self.findings.append(f"After {CATCH_UP:g} s what was done could not all be taken back.")
        late = "Job.objects.filter(next_run_time__lt=now() - dt.timedelta(seconds=2)).count()"
        if not self._wait(lambda: self._ask_active() is not None and self._ask(late) == 0, CATCH_UP):
            self.findings.append(f"After {CATCH_UP:g} s of calm jobs are still late.")
        wait_until(
            lambda: (
                self._ask("Job.objects.filter(next_run_time__isnull=False).update(next_run_time=None)")
                is not None
            )
        )
        unfinished = "Run.objects.filter(status__in=Run.UNFINISHED).count()"
        self._wait(lambda: self._ask(unfinished) == 0, DRAIN)
        for one in self.cluster.schedulers:
            self._expected[one.pid or 0] = 0
            if one.is_alive and (code := one.stop()) and not self._had_not_begun(one, code):
                self.findings.append(f"Process {one.pid} of {one.name} ended with {code} in the end.")
        self._trace.close()

    def _wait(self, condition: Callable[[], bool], limit: float) -> bool:
        deadline = time.monotonic() + limit
        while not condition():
            if time.monotonic() > deadline:
                return False
            self._tick()
        return True

    def history(self) -> History:
        """Return all that is known, for the checker."""
        names = (
            "id job_id run_time status claimed_at finished epoch instance__pid requested_by "
            "times last_run_time"
        )
        columns = f"*{names!r}.split()"
        rows: list[Row] = []
        while True:
            last = rows[-1].id if rows else 0
            page = f"Run.objects.filter(pk__gt={last}).order_by('pk').values_list({columns})[:10000]"
            found = self.cluster.ask(page)
            if not found:
                break
            for number, job, run_time, status, claimed, finished, epoch, pid, asked, count, last in found:
                times = (seconds(claimed) if claimed else None, seconds(finished) if finished else None)
                until = seconds(last) if last else None
                first = seconds(run_time)
                rows.append(Row(number, job, first, status, *times, epoch, pid, asked, count, until))
        jobs = {f"steady-{number:03}": Declared(every=1) for number in range(self.jobs)}
        jobs |= {f"slow-{number}": Declared(every=5) for number in range(5)}
        jobs |= {f"changed-{number}": Declared(at_once=1000) for number in range(5)}
        jobs |= {"long": Declared(at_once=1), "again": Declared()}
        jobs |= {"deployed": Declared(every=1), "fork": Declared(every=5)}
        starts = read_trace(self.cluster.trace)
        return History(rows, starts, jobs, list(self.cluster.events), frozenset(self.seen_lost))

    def _surprises(self) -> int:
        """Count how often a scheduler wrote of an error that its code does not foresee."""
        return sum(one.log.read_text().count("unforeseen error") for one in self.cluster.schedulers)

    def _result(self, faults_ended: float) -> dict[str, Any]:
        history = self.history()
        claims = sorted(
            row.claimed_at for row in history.rows if row.claimed_at and row.claimed_at > self.began - 60
        )
        measure(self.faults, claims, history.events)
        first = min((start.began for start in history.starts), default=self.began)
        last = max((start.began for start in history.starts), default=self.began)
        per_second = [0] * (int(last - first) + 1)
        for start in history.starts:
            per_second[int(start.began - first)] += 1
        return {
            "seed": self.seed,
            "database": type(self.cluster.database).__name__,
            "versions": self.cluster.ask("versions()"),
            "began": self.began,
            "faults_ended": faults_ended,
            "ended": time.time(),
            "runs": len(history.starts),
            "rows": by_status(history.rows),
            "lost": lost(history),
            "terms": terms(history),
            "faults": [dataclasses.asdict(fault) | {"title": fault.title} for fault in self.faults],
            "edits": self.edits,
            "left_out": self.left_out,
            "events": [dataclasses.asdict(event) for event in self.cluster.events],
            "per_second": {"from": first, "runs": per_second},
            "samples": self.samples,
            "surprises": self._surprises(),
            "checks": {promise: len(broken) for promise, broken in history.checked().items()},
            "findings": self.findings + history.findings(),
        }
