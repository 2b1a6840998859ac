"""How long it takes until a running scheduler acts on what another process changed in a job."""

import json
import random
import subprocess
import time
from typing import Any, Self

import measure
import setups  # noqa: F401 - names of contenders
from baking import clean_environment
from contenders import PROGRAMS, Contender, Failed

NAME = "change"
TITLE = "From a change by another process to its effect"
CONTENDERS = ("ours", "ours-no-listen", "django-apscheduler", "celery-beat")
# Tries of each change, and seconds after which its effect counts as never.
SIZES = {"smoke": (1, 8.0), "small": (5, 30.0), "full": (12, 30.0)}

# The changes that make a job start, and those that make one stop. A contender that can only change
# rows has fewer. If a row has another time than its state, django-apscheduler's loop never sleeps and
# would notice every later change at once, so that change is the last.
STARTS = ("due by call", "run now", "add", "due by row")
STOPS = ("pause by row", "pause by call", "delete by row", "delete by call")
LACKS = {
    "django-apscheduler": {"run now"},
    "celery-beat": {"due by call", "run now", "pause by call", "delete by call"},
}
PROGRAM = {"celery-beat": "changes_beat.py"}

DAY = 24 * 3600.0
# After this many tries in a row without an effect, no more are made.
NEVERS = 2
# Seconds in which jobs must begin to run.
START = 30.0
# Seconds without a start after which a job that runs each second has stopped.
SILENCE = 3.0
TICKER = 0


def run(bench: Any) -> list[dict[str, Any]]:
    """Let each contender notice each change, with nothing else to do and with a job each second."""
    tries, _ = SIZES[bench.size]
    rows = []
    for contender in bench.contenders(CONTENDERS):
        lacking = LACKS.get(contender.name, set())
        starting = [change for change in STARTS if change not in lacking]
        for beside in ("nothing", "a job each second"):
            with bench.step(f"{contender.title}: changes beside {beside}"), Running(bench, contender) as it:
                it.begin(waiting=tries * len(starting), ticks=beside != "nothing")
                rows += [it.row(change, beside, it.start_by(change, tries)) for change in starting]
        stopping = [change for change in STOPS if change not in lacking]
        with bench.step(f"{contender.title}: jobs that stop"), Running(bench, contender) as it:
            for change in stopping:
                if not it.is_alive:
                    it.begin(running=tries * len(stopping), ticks=True)
                rows.append(it.row(change, "a job each second", it.stop_by(change, tries)))
    return rows


class Running:
    """A running contender, and a process that changes its jobs. Both are ended with the block."""

    def __init__(self, bench: Any, contender: Contender) -> None:
        self._bench = bench
        _, self._patience = SIZES[bench.size]
        self._contender = contender
        self._changer: subprocess.Popen[str] | None = None
        self._ticks = False
        self._next = 1
        self._count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def begin(self, *, waiting: int = 0, running: int = 0, ticks: bool) -> None:
        """Start it again, with jobs that are due tomorrow or that run each second."""
        self._end()
        contender = self._contender
        self._bench.empty(contender)
        self._ticks, self._next, self._count = ticks, 1, 1 + waiting + running
        groups: list[dict[str, Any]] = [
            # Number 0 is not changed. It shows whether the others stopped because all jobs did.
            {"count": 1, "spread": 0.0, "every": 1.0 if ticks else DAY, "later": 0.0 if ticks else DAY},
            {"count": waiting, "spread": 0.0, "every": DAY, "later": DAY},
            {"count": running, "spread": 1.0, "every": 1.0},
        ]
        at = round(time.time() + 6 + self._count * contender.store_seconds)
        scenario = {
            "at": at,
            "threads": 10,
            "groups": [{"seconds": 0.0} | group for group in groups],
            "options": {"misfire_grace_time": None, "coalesce": True, "max_instances": 1},
        }
        contender.store(scenario)
        contender.start(scenario)
        self._changer = subprocess.Popen(
            [str(contender.python), str(PROGRAMS / PROGRAM.get(contender.name, "changes.py"))],
            cwd=contender.cwd,
            env=clean_environment(**contender.environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # Its log, which only has a traceback if it fails.
            stderr=(contender.folder / "changes.log").open("wb"),
            start_new_session=True,
            text=True,
        )
        self._ask()
        measure.sleep_until(at + 4)
        while not self.is_alive:
            contender.assert_alive()
            if time.time() > at + START:
                raise Failed(f"{contender.title} does not run jobs.")
            time.sleep(0.2)

    @property
    def is_alive(self) -> bool:
        """Whether it was started and still runs jobs, as far as can be seen."""
        if self._changer is None or any(one.poll() is not None for one in self._contender.processes):
            return False
        return not self._ticks or time.time() - (self._last(TICKER) or 0.0) < SILENCE

    def start_by(self, change: str, tries: int) -> list[float | None]:
        """Return the seconds from each change until its job started, None for never."""
        delays: list[float | None] = []
        for position in range(tries):
            number = self._number(is_new=change == "add")
            # Spread over the period of contenders that look every second or two.
            time.sleep(0.3 + 2.0 * position / tries)
            at = self._change(change, number)
            while not (started := self._last(number)) and time.time() < at + self._patience:
                time.sleep(0.05)
            delays.append(max(started - at, 0.0) if started else None)
            if delays[-NEVERS:] == [None] * NEVERS:
                break
        return delays

    def stop_by(self, change: str, tries: int) -> list[float | None]:
        """Return the seconds from each change until its job's last start, None for never."""
        changed = {}
        for _ in range(tries):
            number = self._number()
            # At any moment, not always when the job happens to be due.
            time.sleep(random.uniform(0.2, 1.2))  # noqa: S311 - no secret
            changed[number] = self._change(change, number)
        deadline = time.time() + self._patience
        while True:
            time.sleep(0.5)
            now = time.time()
            last = {number: self._last(number) or 0.0 for number in changed}
            going = {number for number in changed if now - max(last[number], changed[number]) < SILENCE}
            if not going or now > deadline:
                break
        return [None if number in going else max(last[number] - at, 0.0) for number, at in changed.items()]

    def row(self, change: str, beside: str, delays: list[float | None]) -> dict[str, Any]:
        """Return the figures of one change for a table."""
        seen = [delay for delay in delays if delay is not None]
        p50, most = measure.percentile(seen, 0.5), measure.percentile(seen, 1.0)
        effect = "seen" if len(seen) == len(delays) else "not always" if seen else "never"
        return {
            "contender": self._contender.name,
            "change": change,
            "beside": beside,
            "tries": len(delays),
            "seen": len(seen),
            "p50_ms": None if p50 is None else round(p50 * 1000, 1),
            "max_ms": None if most is None else round(most * 1000, 1),
            # A loop that has ended runs nothing, whether or not it was changed.
            "effect": effect if self.is_alive else "all jobs stopped",
        }

    def _number(self, *, is_new: bool = False) -> int:
        """Return the number of a job that was not changed yet, or does not exist yet."""
        if is_new:
            self._count += 1
            return self._count
        self._next += 1
        return self._next - 1

    def _last(self, number: int) -> float | None:
        """Return when a job last started."""
        return next(
            (when for one, when in reversed(measure.starts(self._contender.trace)) if one == number), None
        )

    def _change(self, change: str, number: int) -> float:
        """Return when a change was committed."""
        return float(self._ask(json.dumps({"change": change, "job": number}) + "\n"))

    def _ask(self, line: str = "") -> str:
        """Return the next line of the process that changes jobs, after writing one to it."""
        if self._changer and self._changer.stdin and self._changer.stdout:
            self._changer.stdin.write(line)
            self._changer.stdin.flush()
            if answer := self._changer.stdout.readline():
                return answer
        text = (self._contender.folder / "changes.log").read_text()
        raise Failed(f"{self._contender.title}: the process that changes jobs ended:\n{text[-2000:]}")

    def _end(self) -> None:
        self._contender.stop()
        if self._changer is not None:
            self._changer.kill()
            self._changer.communicate()
            self._changer = None
