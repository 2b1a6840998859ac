"""Brings the stored jobs in line with those that are declared, as a start does; prints what it took."""

import json
import resource
import time
from typing import Any

import django

django.setup()

from django.db import connection  # noqa: E402
from jobstore import registry  # type: ignore[import-not-found]  # noqa: E402
from jobstore.process.scheduler import SchedulerProcess  # type: ignore[import-not-found]  # noqa: E402

statements = 0


def count(execute: Any, *statement: Any) -> Any:
    """Count a statement."""
    global statements
    statements += 1
    return execute(*statement)


process = SchedulerProcess()
# The module that declares them is imported before: a start would wait for it, be there a sync or not.
declared = len(registry.declarations())
connection.ensure_connection()
cpu, began = time.process_time(), time.perf_counter()
collected = registry.collect(process.scheduler)
validated = time.perf_counter()
with connection.execute_wrapper(count):
    changes = registry.sync(process.store, process.scheduler, collected=collected)
print(
    json.dumps(
        {
            "seconds": time.perf_counter() - began,
            "validation_seconds": validated - began,
            "cpu_seconds": time.process_time() - cpu,
            "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "statements": statements,
            "changes": len(changes),
            "declared": declared,
        }
    )
)
