"""PostgreSQL plans the writing of results by what it knows of the table, which may be old."""

import datetime as dt
import uuid
from typing import Any

import pytest
from django.db import connection

from jobstore.history import recorder
from jobstore.history.recorder import Result
from jobstore.models import DjangoJobExecution, database_now

Run = DjangoJobExecution

US = uuid.uuid4()


def rows_compared(plan: dict[str, Any]) -> int:
    """Return how many rows a plan that was carried out has compared in vain."""
    here: int = plan.get("Rows Removed by Join Filter", 0) * plan.get("Actual Loops", 1)
    return here + sum(map(rows_compared, plan.get("Plans", ())))


@pytest.mark.django_db(transaction=True)
def test_results_are_compared_with_their_own_runs_whatever_the_statistics_say() -> None:
    """Autovacuum looked while few were running; since then thousands have been claimed."""
    now, number = database_now("default"), 5_000
    rows = [
        Run(job_id="a", status=Run.SUCCESS, run_time=now + dt.timedelta(seconds=n), instance_id=US)
        for n in range(number)
    ]
    plans: list[Any] = []

    def explain(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if "UPDATE" not in sql:
            return execute(sql, params, many, context)
        done = execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", params, many, context)
        plans.append(context["cursor"].fetchone()[0][0]["Plan"])
        return done

    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE jobstore_djangojobexecution SET (autovacuum_enabled = false)")
        try:
            Run.objects.bulk_create(rows)
            cursor.execute("ANALYZE jobstore_djangojobexecution")
            Run.objects.update(status=Run.RUNNING)
            # What the planner chooses where its costs are close.
            cursor.execute("SET enable_hashjoin = off")
            newest = Run.objects.order_by("-pk")[:500]
            results = [Result(run.pk, Run.SUCCESS, finished=now) for run in newest]
            with connection.execute_wrapper(explain):
                recorder.write(results, US, "default")
        finally:
            cursor.execute("RESET enable_hashjoin")
            cursor.execute("ALTER TABLE jobstore_djangojobexecution RESET (autovacuum_enabled)")
            cursor.execute(
                "TRUNCATE jobstore_djangojobexecution; ANALYZE jobstore_djangojobexecution"
            )
    # Within the batch at most, and not with each of the running rows.
    assert plans and sum(map(rows_compared, plans)) < len(results) ** 2
    assert len(results) == 500
