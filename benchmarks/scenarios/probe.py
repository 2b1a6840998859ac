"""The cost of one health check of a container that runs jobs."""

import statistics
import subprocess
import time
from typing import Any

import measure
from baking import clean_environment
from contenders import Contender, Failed

NAME = "probe"
TITLE = "One health check of a container that runs jobs"
CONTENDERS = ("ours", "django-apscheduler", "celery-beat")
PARAMETERS = ("command",)
# How many checks are made.
SIZES = {"smoke": 3, "small": 20, "full": 20}

# Seconds in which a contender gets ready to answer yes.
PATIENCE = 60.0
# From compose.yaml, or from the contender's documentation. They run on the process's machine.
COMMANDS: dict[str, tuple[str, ...]] = {
    "ours": ("-I", "-S", "-E", "jobstore/probe.py", "ready"),
    "django-apscheduler": ("-m", "django", "check", "--database", "default"),
    "celery-beat": ("-m", "celery", "-A", "beat_app", "inspect", "ping"),
}
NOTES = {
    "django-apscheduler": "it has none; this one only asks whether Django and its database work",
    "celery-beat": "it has none; this one is the worker's",
}
# A Python that does nothing, beside this template's check.
LIMITS = (("-I", "-S", "-E", "-c", "pass"), ("-c", "pass"))


def run(bench: Any) -> list[dict[str, Any]]:
    """Check each contender while it is idle."""
    rows = []
    for contender in bench.contenders(CONTENDERS):
        with bench.step(f"{contender.title}: {SIZES[bench.size]} checks"):
            rows += measured(bench, contender)
    return rows


def measured(bench: Any, contender: Contender) -> list[dict[str, Any]]:
    """Measure one contender's check, and with ours an empty Python."""
    bench.empty(contender)
    group = {"count": 10, "spread": 3600.0, "every": 24 * 3600.0, "seconds": 0.0}
    options = {"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
    scenario = {"at": round(time.time()) + 86400, "threads": 10, "groups": [group], "options": options}
    contender.store(scenario)
    command, before = COMMANDS[contender.name], contender.environment
    contender.start(scenario)
    # Its address is the first free port, which is another one once it listens.
    address = {name: before[name] for name in ("SCHEDULER_HEALTH_ADDRESS",) if name in before}
    environment = contender.environment | address
    try:
        deadline = time.monotonic() + PATIENCE
        while asked(contender, command, environment)[0].code:
            contender.assert_alive()
            if time.monotonic() > deadline:
                raise Failed(f"{contender.title} does not answer its check.")
            time.sleep(0.5)
        rows = [row(bench, contender, command, environment)]
        rows[0]["note"] = NOTES.get(contender.name)
        if contender.name == "ours":
            limits = (row(bench, contender, limit, environment) for limit in LIMITS)
            rows += [limit | {"contender": "an empty Python (limit)"} for limit in limits]
    finally:
        contender.stop()
    return rows


def row(
    bench: Any, contender: Contender, command: tuple[str, ...], environment: dict[str, str]
) -> dict[str, Any]:
    """Return the figures of one command for a table."""
    tries = [asked(contender, command, environment) for _ in range(SIZES[bench.size])]
    if any(ended.code for ended, _ in tries):
        raise Failed(f"{contender.title}: a check failed: {' '.join(command)}")
    cpu = [ended.cpu_seconds * 1000 for ended, _ in tries]
    return {
        "contender": contender.name,
        "command": f"python {' '.join(command)}",
        "cpu_ms": round(statistics.median(cpu), 1),
        "cpu_max_ms": round(max(cpu), 1),
        "wall_ms": round(statistics.median(seconds for _, seconds in tries) * 1000, 1),
        "memory_mb": round(statistics.median(ended.memory_mb for ended, _ in tries), 1),
    }


def asked(
    contender: Contender, command: tuple[str, ...], environment: dict[str, str]
) -> tuple[measure.Ended, float]:
    """Check once; return what the check used, and the seconds that it took."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [str(contender.python), *command],
        cwd=contender.cwd,
        env=clean_environment(**environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    ended = measure.ended(process)
    return ended, time.perf_counter() - began
