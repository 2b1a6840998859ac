"""The statements that this template makes for jobs that are due, and nothing else.

At the due time one thread reads due jobs with their state, claims them and writes their runs, 500 at
a time; another writes the results, 500 at a time, on a connection of its own. Nothing is unpickled,
no trigger is computed and no function is called. A start is noted when its claim is committed.
"""

import datetime as dt
import json
import os
import queue
import signal
import threading
import time
import uuid
from typing import Any

import psycopg

import load
import spec

HOLDER = uuid.uuid4()

READ = """
    SELECT id, version, next_run_time, job_state FROM jobstore_djangojob
    WHERE next_run_time <= clock_timestamp() ORDER BY next_run_time, id LIMIT 500
"""
# As jobstore/claims/claim.py has it.
CLAIM = """
    WITH term AS (
        SELECT holder, epoch FROM jobstore_schedulerlease
        WHERE name = 'default' AND holder = %(holder)s AND epoch = 1 AND expires_at > clock_timestamp()
        FOR SHARE
    ), moved AS (
        UPDATE jobstore_djangojob AS job
        SET next_run_time = plan.following, version = job.version + 1, retired_at = NULL
        FROM term, json_to_recordset(%(plans)s) AS plan (
            id text, version bigint, due timestamptz, following timestamptz
        )
        WHERE job.id = plan.id AND job.version = plan.version AND job.next_run_time = plan.due
        RETURNING job.id, term.holder, term.epoch, plan.due
    )
    INSERT INTO jobstore_djangojobexecution (
        job_id, run_time, status, claimed_at, epoch, instance_id, exception_type, requested_by, attempt
    )
    SELECT id, due, 'Started execution', statement_timestamp(), epoch, holder, '', '', 1 FROM moved
    ON CONFLICT (job_id, run_time) DO NOTHING
    RETURNING id, job_id
"""
# As jobstore/history/recorder.py has it.
END = """
    UPDATE jobstore_djangojobexecution AS run
    SET status = result.status, finished = result.finished, started_at = result.started_at,
        duration = result.duration, result = NULL, exception_type = '', exception = NULL, traceback = NULL
    FROM json_to_recordset(%s) AS result (
        execution_id bigint, status text, started_at timestamptz, finished timestamptz,
        duration double precision
    )
    WHERE run.id = result.execution_id AND run.instance_id = %s AND run.status = 'Started execution'
"""


def main() -> None:
    """Wait for the due time, do it, and wait for the end."""
    scenario = spec.given()
    count = sum(group["count"] for group in scenario["groups"])
    every = scenario["groups"][0]["every"]
    claims, ends = connection(), connection()
    claims.execute(
        "INSERT INTO jobstore_schedulerlease (name, epoch, holder, expires_at, session_lock)"
        " VALUES ('default', 1, %s, now() + interval '1 hour', false)"
        " ON CONFLICT (name) DO UPDATE SET epoch = 1, holder = excluded.holder,"
        " expires_at = excluded.expires_at",
        [HOLDER],
    )
    claimed: queue.SimpleQueue[list[int]] = queue.SimpleQueue()
    writer = threading.Thread(target=end, args=(ends, claimed, count), daemon=True)
    writer.start()
    time.sleep(max(scenario["at"] - time.time(), 0))
    while count > 0:
        ids = claim(claims, every)
        claimed.put(ids)
        count -= len(ids)
    signal.pause()


def connection() -> psycopg.Connection[Any]:
    """Return a connection that commits each statement."""
    return psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)


def claim(database: psycopg.Connection[Any], every: float) -> list[int]:
    """Claim what is due; return the runs."""
    rows = database.execute(READ).fetchall()
    if not rows:
        time.sleep(0.001)
        return []
    plans = [
        {
            "id": key,
            "version": version,
            "due": due.isoformat(),
            "following": (due + dt.timedelta(seconds=every)).isoformat(),
        }
        for key, version, due, _ in rows
    ]
    written = database.execute(CLAIM, {"holder": HOLDER, "plans": json.dumps(plans)}).fetchall()
    for _, job_id in written:
        load.work(int(job_id.rpartition("-")[2]))
    return [pk for pk, _ in written]


def end(database: psycopg.Connection[Any], claimed: "queue.SimpleQueue[list[int]]", count: int) -> None:
    """Write the results of what was claimed."""
    while count > 0:
        ids = claimed.get()
        now = dt.datetime.now(dt.UTC).isoformat()
        results = [
            {"execution_id": pk, "status": "Executed", "started_at": now, "finished": now, "duration": 0.0}
            for pk in ids
        ]
        database.execute(END, [json.dumps(results), HOLDER])
        count -= len(ids)


if __name__ == "__main__":
    main()
