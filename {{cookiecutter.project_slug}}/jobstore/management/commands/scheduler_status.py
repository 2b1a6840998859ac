"""`manage.py scheduler_status`: who is active, who stands by, and whether jobs start on time."""

import json
import time
from collections.abc import Sequence
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, InterfaceError, router

from jobstore.conf import DAY, Setting
from jobstore.health import status
from jobstore.management.arguments import judged
from jobstore.models import DjangoJob
from jobstore.texts import flattened

# Seconds between two looks at what is running.
POLL_SECONDS = 2.0
TIMEOUT = Setting(kind="number", unit="seconds", default=3600, most=30 * DAY)


class Command(BaseCommand):
    """Prints a table for people, or JSON for scripts."""

    help = (
        "Shows the schedulers. Exit code 0: one is active and jobs start on time. 1: not so; the "
        "reason is shown. 2: the database does not answer."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare --json, --wait-for-jobs and --timeout."""
        parser.add_argument("--json", action="store_true", help="print JSON instead of a table")

        parser.add_argument(
            "--wait-for-jobs",
            action="store_true",
            help="before a stop or a deployment: wait until it would cut no run short; exit code "
            "3 if that takes longer than --timeout",
        )
        parser.add_argument(
            "--timeout",
            type=judged(TIMEOUT),
            help=f"seconds that --wait-for-jobs waits at most ({TIMEOUT.default})",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the state, and exit with a code for scripts."""
        if options["timeout"] is not None and not options["wait_for_jobs"]:
            raise CommandError("--timeout says how long --wait-for-jobs waits; add that as well.")
        try:
            if options["wait_for_jobs"]:
                timeout = options["timeout"]
                self._wait_for_jobs(TIMEOUT.default if timeout is None else timeout)
                return
            seen = status.overview(router.db_for_read(DjangoJob))
        except (DatabaseError, InterfaceError) as error:
            text = flattened(error)
            if options["json"]:
                self.stdout.write(json.dumps({"status": "unknown", "reason": text}))
            raise CommandError(f"The database does not answer: {text}", returncode=2) from error
        self.stdout.write(json.dumps(seen, indent=2) if options["json"] else _table(seen))
        if seen["reason"]:
            raise CommandError(seen["reason"], returncode=1)

    def _wait_for_jobs(self, timeout: float) -> None:
        using = router.db_for_read(DjangoJob)
        deadline = time.monotonic() + timeout
        told: list[int] = []
        while True:
            # Short runs end within the drain time anyway, and some short run is always running.
            cut = [one for one in status.running(using) if one["may_be_cut"]]
            if not cut:
                self.stdout.write("A stop would cut no run short.")
                return
            if told != [one["run"] for one in cut]:
                told = [one["run"] for one in cut]
                self.stdout.write("Waiting for " + ", ".join(map(_running, cut)))
            if time.monotonic() >= deadline:
                names = ", ".join(map(_running, cut))
                raise CommandError(
                    f"After {timeout:g} s a stop would still cut these runs short: {names}.",
                    returncode=3,
                )
            time.sleep(POLL_SECONDS)


def _running(one: dict[str, Any]) -> str:
    return f"{one['job']} (run {one['run']}, for {one['seconds']:.0f} s, in {one['process']})"


def _paused(one: dict[str, Any]) -> str:
    return f"paused    {flattened(one['job'])}: {flattened(one['reason'])}"


def _table(seen: dict[str, Any]) -> str:
    left = seen["lease_expires_in"]
    lines = [
        f"lease     epoch {seen['epoch']}, {seen['holder']}, {left:.1f} s left"
        if left is not None and left > 0
        else "lease     held by nobody",
        "jobs      " + _counts(seen["jobs"]) + f", {seen['due_lag']:.1f} s late" + _busy(seen),
        "runs      " + _counts(seen["runs"]),
        *seen["advice"],
    ]
    lines += map(_paused, seen["paused"][:10])
    if seen["running"]:
        lines.append(
            f"A stop now would wait {seen['drain_seconds']:g} s for these runs, and then "
            "abandon them:"
        )
        lines += [f"  {_running(one)}" for one in seen["running"][:10]]
    lines.append("")
    rows = [("PROCESS", "ROLE", "EPOCH", "LAST SIGN OF LIFE", "STARTED", "VERSION")]
    for one in seen["processes"]:
        age = f"{one['heartbeat_age']:.1f} s ago"
        epoch = str(one["epoch"] or "")
        rows.append((one["process"], one["role"], epoch, age, one["started"], one["version"]))
    unfit = [f"{one['process']}: {one['problem']}" for one in seen["processes"] if one["problem"]]
    if unfit:
        unfit = ["", "PROCESSES THAT CANNOT RUN JOBS", *unfit]
    return "\n".join(lines + _columns(rows) + unfit + _problems(seen["declaration_problems"]))


def _problems(problems: Sequence[dict[str, Any]]) -> list[str]:
    """Return the problems of declared jobs, which are shown but do not make it unhealthy."""
    if not problems:
        return []
    lines = [f"{one['place']}: {one['text']}".removeprefix(": ") for one in problems]
    return ["", "PROBLEMS WITH DECLARED JOBS", *lines]


def _busy(seen: dict[str, Any]) -> str:
    busy = ", ".join(seen["saturated"])
    return f" (all workers busy: {busy})" if busy else ""


def _counts(numbers: dict[str, int]) -> str:
    return ", ".join(f"{number} {word}" for word, number in numbers.items())


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
