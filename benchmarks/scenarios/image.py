"""What the image adds to Python's, and how long it takes from nothing to the first run."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from contenders import Failed
from stacks import Stack, docker

NAME = "image"
TITLE = "The image, and `docker compose up` with an empty database"
CONTENDERS = ("ours",)
# Always the same; a benchmark for the harness alone leaves it out.
SIZES = {"small": 1, "full": 1}

# Seconds after which the first run is taken never to come.
PATIENCE = 120.0
# Seconds after it was stored at which the sample job is due for the first time.
INTERVAL = 10
BASE = "python:3.13-slim-trixie"
FIRST = """
SELECT extract(epoch FROM started_at) FROM jobstore_djangojobexecution
WHERE started_at IS NOT NULL ORDER BY started_at LIMIT 1
"""
ACTIVE = "SELECT extract(epoch FROM acquired_at) FROM jobstore_schedulerlease"


def run(bench: Any) -> list[dict[str, Any]]:
    """Build and start the baked project, once for each repeat."""
    if bench.database.kind != "postgresql":
        return [{"contender": "ours", "note": "measured with PostgreSQL"}]
    rows = []
    for contender in bench.contenders(CONTENDERS):
        for repeat in range(bench.repeats):
            stack = Stack(contender.cwd)
            try:
                with bench.step(f"{contender.title}: image and first run ({repeat + 1})"):
                    rows.append({"contender": contender.name, **one(stack), "repeat": repeat})
            except pytest.fail.Exception as failure:  # which is how a stack tells of failures
                raise Failed(str(failure)) from None
            finally:
                stack.down()
    others = ("django-apscheduler", "celery-beat", "django-ox")
    return rows + [{"contender": name, "note": "brings no image"} for name in others]


def one(stack: Stack) -> dict[str, Any]:
    """Measure once. The packages come from pip's cache, if an earlier build has filled it."""
    began = time.time()
    stack.compose("build", "--no-cache", timeout=900)
    built = time.time() - began
    layers, base = (sum(sizes(image)) for image in (f"{stack.name}-app", BASE))
    began = time.time()
    stack.up()
    up = time.time() - began
    ((first,),) = stack.wait_for(lambda: stack.sql(FIRST), PATIENCE)
    active = float(stack.sql(ACTIVE)[0][0]) - began
    return {
        "build_seconds": round(built, 1),
        "added_mb": round((layers - base) / 1e6, 1),
        "base_mb": round(base / 1e6, 1),
        "active_seconds": round(active, 1),
        "healthy_seconds": round(up, 1),
        "first_run_seconds": round(float(first) - began, 1),
        "note": f"the sample job is due for the first time {INTERVAL} s after the scheduler became active",
    }


def sizes(image: str) -> Iterator[int]:
    """Return the bytes of an image's layers, unpacked."""
    for line in docker("history", "--human=false", "--format={{.Size}}", image).stdout.split():
        yield int(line)
