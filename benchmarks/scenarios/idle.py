"""The cost of a scheduler while no stored job is due for a day."""

import time
from typing import Any

import measure
import setups  # noqa: F401 - names of contenders
from contenders import Contender, Failed
from databases import Database, MariaDB, PostgreSQL

NAME = "idle"
TITLE = "Nothing to do: no job is due for a day"
CONTENDERS = (
    "ours",
    "ours-standby",
    "ours-no-detector",
    "django-apscheduler",
    "celery-beat",
    "django-ox",
)
# Numbers of jobs, seconds in which a scheduler settles, and seconds of the measurement.
SIZES = {
    "smoke": ((10,), 6.0, 10.0),
    "small": ((10,), 20.0, 60.0),
    "full": ((0, 10, 10_000), 20.0, 180.0),
}

DAY = 24 * 3600.0


def run(bench: Any) -> list[dict[str, Any]]:
    """Let each contender idle once for each number of jobs: repeats would give the same."""
    rows = []
    for count in SIZES[bench.size][0]:
        for contender in bench.contenders(CONTENDERS):
            with bench.step(f"{contender.title}: idle with {count} jobs"):
                rows.append(one(bench, contender, count))
    return rows


def one(bench: Any, contender: Contender, count: int) -> dict[str, Any]:
    """Measure one contender once."""
    database, (_, settling, length) = bench.database, SIZES[bench.size]
    bench.empty(contender)
    options = {"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
    group = {"count": count, "spread": 3600.0, "every": DAY, "seconds": 0.0}
    scenario = {"at": round(time.time() + DAY), "threads": 10, "groups": [group], "options": options}
    contender.store(scenario)
    contender.start(scenario)
    try:
        time.sleep(settling)
        contender.assert_alive()
        if isinstance(database, PostgreSQL):
            # Otherwise the server might do so meanwhile, which would count as commits and WAL.
            database.ask("VACUUM ANALYZE")
            database.ask("CHECKPOINT")
            database.ask("SELECT pg_stat_statements_reset()")
        began, cpu = time.monotonic(), measure.cpu_seconds(contender.pids())
        before = database.counters()
        time.sleep(length)
        done = database.counters().since(before)
        used = measure.cpu_seconds(contender.pids()) - cpu
        minutes = (time.monotonic() - began) / 60
        contender.assert_alive()
        if measure.count_starts(contender.trace):
            raise Failed(f"{contender.title} ran jobs that are not due for a day.")
        row: dict[str, Any] = {
            "contender": contender.name,
            "jobs": count,
            "statements_per_minute": each(done.statements, minutes),
            "transactions_opened_per_minute": each(transactions(database), minutes),
            "commits_per_minute": each(done.commits, minutes),
            "wal_bytes_per_minute": each(done.wal_bytes, minutes),
            "scheduler_cpu_ms_per_minute": each(used * 1000, minutes),
            "database_cpu_ms_per_minute": each(
                None if done.cpu_seconds is None else done.cpu_seconds * 1000, minutes
            ),
            "connections": connections(database),
            "processes": len(list(contender.pids())),
            "memory_mb": measure.resident_mb(contender.pids()),
        }
        if contender.name.startswith("ours") and isinstance(database, PostgreSQL):
            row["by_statement"] = by_statement(database, minutes)
    finally:
        contender.stop()
    return row


def each(value: float | None, minutes: float) -> float | None:
    """Return a value a minute, None if it is not known."""
    return None if value is None else round(value / minutes, 1)


def transactions(database: Database) -> int | None:
    """Return how many transactions were opened by a statement of its own since the last reset.

    MariaDB's commits are such already: a statement that commits by itself does not count there.
    """
    if not isinstance(database, PostgreSQL):
        return None
    return int(
        database.ask("SELECT coalesce(sum(calls), 0) FROM pg_stat_statements WHERE query ~* '^BEGIN'")[0]
    )


def connections(database: Database) -> int | None:
    """Return how many connections clients hold, without this one; None without a server."""
    if isinstance(database, PostgreSQL):
        return int(
            database.ask(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )[0]
        )
    if isinstance(database, MariaDB):
        return int(
            database.ask(
                "SELECT count(*) FROM information_schema.processlist"
                " WHERE db = 'app' AND id <> connection_id()"
            )[0]
        )
    return None


def by_statement(database: PostgreSQL, minutes: float) -> list[tuple[float, str]]:
    """Return the most frequent statements since the last reset: (calls a minute, beginning of the text)."""
    lines = database.ask(
        "SELECT calls || '|' || left(regexp_replace(query, '\\s+', ' ', 'g'), 120)"
        " FROM pg_stat_statements WHERE query !~ 'pg_stat' ORDER BY calls DESC LIMIT 10"
    )
    split = (line.partition("|") for line in lines)
    return [(round(int(calls) / minutes, 1), text) for calls, _, text in split]
