"""How long nothing runs after a fault of the active process or of the database."""

import contextlib
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import measure
import setups  # noqa: F401 - names of contenders
from contenders import Contender, Failed
from databases import Database, Sqlite
from servers import Server

NAME = "failover"
TITLE = "Faults: the longest time without a run, runs made twice, runs left out"
CONTENDERS = (
    "ours-standby",
    "ours-restarted",
    "django-apscheduler-twice",
    "django-apscheduler-restarted",
)
FAULTS = ("SIGTERM", "SIGKILL", "SIGSTOP 20 s", "database restart")
# The faults, and how often each is made.
SIZES = {"smoke": (FAULTS[1:2], 1), "small": (FAULTS, 1), "full": (FAULTS, 3)}

# 20 runs a second. A job's next run is so far away that a late start is not taken for it.
JOBS, EVERY = 40, 2.0
# Seconds without faults before a fault, and after it. After it must be longer than a dead process may
# count as alive, since until then its unfinished run can keep a job from running again.
BEFORE, AFTER = 4.0, 20.0
# Seconds after which runs count as never; longer for faults of the database.
PATIENCE, DATABASE_PATIENCE = 40.0, 60.0
PAUSE = 20.0
# Seconds between two runs of all jobs that are no gap.
USUAL = 0.5

Starts = list[tuple[int, float]]
# A job's number, and the number of its time, counted from 0.
Slot = tuple[int, int]

# A run's job, and its time in seconds since 1970.
RUN = {
    "postgresql": "concat(job_id, ' ', extract(epoch FROM run_time))",
    "mariadb": "concat(job_id, ' ', timestampdiff(microsecond, '1970-01-01', run_time) / 1000000)",
    "sqlite": "job_id || ' ' || ((julianday(run_time) - 2440587.5) * 86400)",
}


def run(bench: Any) -> list[dict[str, Any]]:
    """Make each fault for each contender, which is started again before."""
    faults, times = SIZES[bench.size]
    rows = []
    for contender in bench.contenders(CONTENDERS):
        for fault in faults:
            if fault == "database restart" and not isinstance(bench.database, Server):
                rows.append({"contender": contender.name, "fault": fault, "note": "a file has no server"})
                continue
            for repeat in range(times):
                with bench.step(f"{contender.title}: {fault} ({repeat + 1})"):
                    rows.append(attempt(bench, contender, fault) | {"repeat": repeat})
    return rows


def attempt(bench: Any, contender: Contender, fault: str) -> dict[str, Any]:
    """Make one fault. A contender that does not run without faults gets a note."""
    try:
        return one(bench, contender, fault)
    except Failed as failure:
        lines = [line.strip() for line in str(failure).splitlines()]
        return {"contender": contender.name, "fault": fault, "note": f"{lines[0]} {lines[-1]}"[:200]}


def one(bench: Any, contender: Contender, fault: str) -> dict[str, Any]:
    """Make one fault and see what follows."""
    bench.empty(contender)
    # One run replaces those of an outage, as most jobs are set up.
    options = {"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
    group = {"count": JOBS, "spread": EVERY, "every": EVERY, "seconds": 0.0}
    at = round(time.time() + 8 + JOBS * contender.store_seconds)
    scenario = {"at": at, "threads": 10, "groups": [group], "options": options}
    contender.store(scenario)
    restarts: list[float] = []
    try:
        contender.start(scenario)
        with supervised(contender, scenario, restarts):
            settle(contender, at)
            fault_at, over_at = make(bench, contender, fault)
            goes_on = follow(contender, fault, over_at)
            end = time.time()
        # The last results are written by then.
        known = history(bench.database, contender, at)
    finally:
        for process in contender.processes:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
        contender.stop()
    return {
        "contender": contender.name,
        "fault": fault,
        **figures(measure.starts(contender.trace), known, at, fault_at, over_at, end),
        "goes_on": "yes" if goes_on else f"never within {patience(fault):.0f} s",
        "restarts": len(restarts),
    }


# --- Before ---------------------------------------------------------------------------------------


@contextlib.contextmanager
def supervised(contender: Contender, scenario: dict[str, Any], restarts: list[float]) -> Iterator[None]:
    """Start a contender's process, and restart it as soon as it ends."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            if contender.processes[0].poll() is not None:
                restarts.append(time.time())
                contender.processes[0] = contender.launch(contender.commands(scenario)[0])

    thread = threading.Thread(target=watch)
    if contender.name.endswith("-restarted"):
        thread.start()
    try:
        yield
    finally:
        over.set()
        if thread.ident is not None:
            thread.join()


def settle(contender: Contender, at: float) -> None:
    """Wait until all jobs run, and until every process has its final role."""
    measure.sleep_until(at + 2 * EVERY)
    deadline = at + 30
    while not is_settled(contender):
        if time.time() > deadline:
            contender.assert_alive()
            raise Failed(f"{contender.title} does not run all jobs.")
        time.sleep(0.2)
    time.sleep(BEFORE)


def is_settled(contender: Contender) -> bool:
    """Tell whether all jobs have run, and a standby stands by."""
    seen = {number for number, _ in measure.starts(contender.trace)}
    if contender.name == "ours-standby":
        waiting = "SELECT count(*) FROM jobstore_schedulerinstance WHERE role = 'standby'"
        return len(seen) == JOBS and bool(contender.count(waiting))
    return len(seen) == JOBS


# --- The fault ------------------------------------------------------------------------------------


def make(bench: Any, contender: Contender, fault: str) -> tuple[float, float]:
    """Make a fault; return when it began and when it was over."""
    began = time.time()
    if fault == "database restart":
        restart(bench.database)
        return began, time.time()
    victim = active(contender)
    began = time.time()
    if fault == "SIGTERM":
        victim.send_signal(signal.SIGTERM)
    elif fault == "SIGKILL":
        victim.send_signal(signal.SIGKILL)
    else:
        victim.send_signal(signal.SIGSTOP)
        time.sleep(PAUSE)
        victim.send_signal(signal.SIGCONT)
    return began, time.time()


def active(contender: Contender) -> Any:
    """Return the process that runs jobs; if all do, the first."""
    if contender.name == "ours-standby":
        pid = contender.count(
            "SELECT i.pid FROM jobstore_schedulerinstance i JOIN jobstore_schedulerlease l ON l.holder = i.id"
        )
        return next(process for process in contender.processes if process.pid == pid)
    return contender.processes[0]


def restart(database: Server) -> None:
    """Restart the server as an operator would, and wait until it serves."""
    database.go(signal.SIGINT if database.port == 5432 else signal.SIGTERM)
    database.come_back()


def patience(fault: str) -> float:
    """Return the seconds within which runs must continue."""
    return DATABASE_PATIENCE if fault == "database restart" else PATIENCE


def follow(contender: Contender, fault: str, over_at: float) -> bool:
    """Wait until runs have continued for a while; return whether they did."""
    deadline = over_at + patience(fault)
    wait_for(lambda: any(when > over_at for _, when in measure.starts(contender.trace)), deadline)
    if not any(when > over_at for _, when in measure.starts(contender.trace)):
        return False
    time.sleep(AFTER)
    return True


def wait_for(condition: Callable[[], bool], deadline: float) -> None:
    """Wait until a condition holds, or the time is over."""
    while not condition() and time.time() < deadline:
        time.sleep(0.1)


# --- What the trace tells -------------------------------------------------------------------------


def figures(
    starts: Starts, known: set[Slot], at: float, fault_at: float, over_at: float, end: float
) -> dict[str, Any]:
    """Return the gap and the runs that were made twice or left out.

    A start belongs to the last time at which its job was due. A run that is due in an outage and
    made afterwards belongs to the last such time. The times before it are left out, as the job's
    options say. A further start for a time is no second run if the history has a run of an earlier
    time without a start: that one started late.
    """
    starts = sorted(starts, key=lambda one: one[1])
    times = [when for _, when in starts if fault_at - BEFORE < when <= end]
    # From each run to the next, and from the last one to the end of the watch.
    gaps = [
        (later - sooner, sooner)
        for sooner, later in zip(times, [*times[1:], end], strict=True)
        if later > fault_at
    ]
    gap, since = max(gaps, default=(end - fault_at, fault_at))
    made = {slot_of(number, when, at) for number, when in starts}
    waiting = known - made
    seen: set[Slot] = set()
    twice = {"before": 0, "after": 0, "late": 0}
    for number, when in starts:
        slot = slot_of(number, when, at)
        late = {one for one in waiting if one[0] == number and one < slot}
        if slot not in seen:
            seen.add(slot)
        elif late:
            twice["late"] += 1
            made.add(max(late))
            waiting.remove(max(late))
        else:
            twice["before" if when < fault_at else "after"] += 1
    due = [
        (number, k)
        for number in range(JOBS)
        for k in range(int((end - at) // EVERY) + 1)
        if fault_at - EVERY <= when_of((number, k), at) <= end - USUAL
    ]
    going_on = {number for number, when in starts if when > end - EVERY - USUAL}
    return {
        "gap_ms": round(gap * 1000),
        "gap_begins_after_ms": round((since - fault_at) * 1000),
        "fault_took_ms": round((over_at - fault_at) * 1000),
        "runs": len(starts),
        "twice_before": twice["before"],
        "twice": twice["after"],
        "late": twice["late"],
        "due": len(due),
        "left_out": sum(slot not in made for slot in due),
        "jobs_that_go_on": f"{len(going_on)} of {JOBS}",
    }


def history(database: Database, contender: Contender, at: float) -> set[Slot]:
    """Return the runs that were handed out, as the contender's own history has them."""
    table = getattr(contender, "table", "")
    if not table:
        return set()
    statement = (
        f"SELECT {RUN[database.kind]} FROM {table}"  # noqa: S608 - constants
        " WHERE status NOT IN ('Requested', 'Missed!', 'Max instances!')"
    )
    if isinstance(database, Sqlite):
        with sqlite3.connect(database.path, timeout=30) as connection:
            lines = [row[0] for row in connection.execute(statement)]
    else:
        lines = database.ask(statement)
    runs = (line.split() for line in lines)
    return {slot_of(int(job.removeprefix("job-")), float(when), at) for job, when in runs}


def slot_of(number: int, when: float, at: float) -> Slot:
    """Return the last time at which a job was due, as its number and the count of such times."""
    return number, int((when - when_of((number, 0), at) + 0.005) // EVERY)


def when_of(slot: Slot, at: float) -> float:
    """Return when a job was due for the k-th time."""
    number, k = slot
    return at + EVERY * number / JOBS + k * EVERY
