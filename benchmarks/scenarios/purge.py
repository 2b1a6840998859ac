"""What deleting a long history takes, and what it does to jobs that run meanwhile."""

import time
from collections.abc import Iterator
from typing import Any

import measure
from contenders import Contender, Failed
from databases import PostgreSQL
from scenarios import admin, steady

NAME = "purge"
TITLE = "Deletion of old history while 20 jobs run each second"
CONTENDERS = ("ours", "django-apscheduler")
PARAMETERS = ("rows", "what")
# Rows of history.
SIZES = {"smoke": 2000, "small": 1_000_000, "full": 1_000_000}

RATE = 20
# Seconds in which jobs run undisturbed, before and after.
BEFORE, AFTER = 5, 3
# Seconds after which a purge is given up.
PATIENCE = 3600.0
# The whole history is older than DAYS. The other way keeps this many runs of each job.
DAYS, KEEP = 35, 10
PEER = (
    "import django; django.setup();"
    "from django_apscheduler.models import DjangoJobExecution;"
    f"DjangoJobExecution.objects.delete_old_job_executions({DAYS * 86400})"
)
COMMANDS: dict[str, dict[str, tuple[str, ...]]] = {
    "ours": {
        "by age": ("manage.py", "prune_job_history", f"--days={DAYS}"),
        "by number": ("manage.py", "prune_job_history", "--days=36500", f"--keep-per-job={KEEP}"),
    },
    "django-apscheduler": {"by age": ("-c", PEER)},
}


def run(bench: Any) -> list[dict[str, Any]]:
    """Let each contender delete the history in each way that it has, once for each repeat."""
    return [
        row | {"repeat": repeat}
        for repeat in range(bench.repeats)
        for contender in bench.contenders(CONTENDERS)
        for row in measured(bench, contender)
    ]


def measured(bench: Any, contender: Contender) -> Iterator[dict[str, Any]]:
    """Measure one contender in each way that it has, and print it."""
    count = SIZES[bench.size]
    for what, command in COMMANDS[contender.name].items():
        with bench.step(f"{contender.title}: deletion of {count} rows {what}"):
            row = one(bench, contender, count, command)
        yield {"contender": contender.name, "rows": count, "what": what} | row


def one(bench: Any, contender: Contender, count: int, command: tuple[str, ...]) -> dict[str, Any]:
    """Measure one purge."""
    database = bench.database
    bench.empty(contender)
    # Old enough for either way. The jobs of the history are not due.
    admin.filled(contender, count, newest_days=DAYS + 5)
    rows = contender.finished() or 0
    at = begin(contender)
    try:
        measure.sleep_until(at + BEFORE)
        contender.assert_alive()
        if isinstance(database, PostgreSQL):
            database.ask("SELECT pg_stat_statements_reset()")
        began, purge = time.time(), contender.launch(command)
        try:
            ended = measure.ended(purge)
        finally:
            if purge.returncode is None:
                purge.kill()
                purge.wait()
        took = time.time() - began
        longest = longest_statement(database)
        measure.sleep_until(began + took + AFTER)
        contender.assert_alive()
        now, starts = time.time(), measure.starts(contender.trace)
    finally:
        contender.stop()
    if ended.code:
        raise Failed(
            f"{contender.title}: the deletion ended with {ended.code}: {contender.log.read_text()[-2000:]}"
        )
    left = contender.finished() or 0
    deleted = rows + len(starts) - left
    before = delays_of(starts, at, at + 1, began, now)
    meanwhile = delays_of(starts, at, began, began + took, now)
    return {
        "deleted": deleted,
        "seconds": round(took, 2),
        "rows_per_second": round(deleted / took),
        "longest_statement_ms": longest,
        "purge_cpu_seconds": round(ended.cpu_seconds, 2),
        "purge_memory_mb": ended.memory_mb,
        **{f"delay_{key}": value for key, value in measure.summary(meanwhile).items()},
        "delay_max_before_ms": measure.summary(before)["max_ms"],
        "curve": measure.curve(meanwhile),
    }


def begin(contender: Contender) -> float:
    """Store jobs that run each second and start the contender; return the first time."""
    group = {"count": RATE, "spread": 1.0, "every": 1.0, "seconds": 0.0}
    at = round(time.time() + 15)
    scenario: dict[str, Any] = {"at": at, "threads": 10, "groups": [group], "options": steady.OPTIONS}
    # The jobs of the history have the numbers before.
    scenario["first"] = admin.JOBS
    contender.store(scenario)
    contender.start(scenario)
    return at


def delays_of(
    starts: list[tuple[int, float]], at: float, since: float, until: float, now: float
) -> list[float]:
    """Return the delays of runs that were due in between; a run that has not started waits until now."""
    times = steady.starts_by_job(starts)
    delays = []
    for number in range(RATE):
        own = times.get(admin.JOBS + number, [])
        for k in range(int(until - at) + 1):
            due = at + number / RATE + k
            if since <= due < until:
                delays.append((own[k] if k < len(own) else now) - due)
    return delays


def longest_statement(database: Any) -> float | None:
    """Return the milliseconds of the longest deletion, which is a transaction of its own."""
    if not isinstance(database, PostgreSQL):
        return None
    statement = "SELECT coalesce(max(max_exec_time), 0) FROM pg_stat_statements WHERE query ~* '^DELETE'"
    return round(float(database.ask(statement)[0]), 1)
