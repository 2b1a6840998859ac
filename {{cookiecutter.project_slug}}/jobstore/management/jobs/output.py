"""What `manage.py jobs` prints: tables for people, JSON for scripts."""

import datetime as dt
import json
from collections.abc import Iterable, Sequence
from typing import Any

from django.utils import timezone
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobstore.api import shown_arguments, state_of
from jobstore.history.progress import worded
from jobstore.models import DjangoJob, DjangoJobExecution
from jobstore.texts import one_line
from jobstore.util import as_aware

STYLES = {
    "scheduled": "green",
    "paused": "yellow",
    "quarantined": "red",
    "retired": "dim",
    DjangoJobExecution.SUCCESS: "green",
    DjangoJobExecution.ERROR: "red",
    DjangoJobExecution.LOST: "red",
    DjangoJobExecution.MISSED: "yellow",
    DjangoJobExecution.MAX_INSTANCES: "yellow",
}
# From this many rows on, a table has plain columns, which are fifty times as fast.
MANY = 300


def as_json(value: Any) -> str:
    """Return a value as JSON; times are ISO 8601 with their zone."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, dt.date) else str(value)


def of_job(job: DjangoJob) -> dict[str, Any]:
    """Return the shown values of a job, secret arguments masked."""
    return {
        "id": job.pk,
        "state": state_of(job),
        "next_run_time": aware(job.next_run_time),
        "schedule": job.trigger,
        "function": job.func,
        "arguments": shown_arguments(job),
        "name": job.name,
        "executor": job.executor,
        "coalesce": job.coalesce,
        "max_instances": job.max_instances,
        "misfire_grace_time": job.misfire_grace_time,
        "on_lost": job.on_lost,
        "is_declared": bool(job.declaration),
        "pause_reason": job.pause_reason if job.next_run_time is None else "",
        "quarantine_reason": job.quarantine_reason,
    }


def of_run(run: DjangoJobExecution) -> dict[str, Any]:
    """Return the shown values of a run."""
    delay = run.start_delay
    return {
        "run": run.pk,
        "job": run.job_id,
        "status": run.status,
        "scheduled": aware(run.run_time),
        "started": aware(run.started_at),
        "finished": aware(run.finished),
        "delay": None if delay is None else delay.total_seconds(),
        "duration": None if run.duration is None else float(run.duration),
        "times": run.times,
        "attempt": run.attempt,
        "requested_by": run.requested_by,
        "arguments": shown_arguments(run),
        "progress": None
        if run.progress_done is None
        else {
            "done": run.progress_done,
            "total": run.progress_total,
            "text": run.progress_text or "",
        },
        "result": run.result,
        "exception_type": run.exception_type,
        "exception": run.exception,
    }


def outcome(run: DjangoJobExecution) -> str:
    """Return what a run raised or returned; of one that goes on, how far it has come."""
    if run.status in DjangoJobExecution.UNFINISHED:
        return worded(run)
    return ": ".join(filter(None, (run.exception_type, run.exception))) or run.result or ""


def aware(when: dt.datetime | None) -> dt.datetime | None:
    """Return a stored time in the project's zone."""
    zone = timezone.get_default_timezone()
    return None if when is None else as_aware(when).astimezone(zone)


def moment(when: dt.datetime | None) -> str:
    """Return a time as people read it, with its zone."""
    return "" if when is None else f"{when:%Y-%m-%d %H:%M:%S %Z}"


def seconds(length: float | None) -> str:
    """Return a length of time as people read it."""
    if length is None:
        return ""
    if length < 60:
        return f"{length:.3g} s"
    return str(dt.timedelta(seconds=round(length)))


def print_table(
    console: Console, columns: Sequence[str], rows: Iterable[Sequence[object]], styled: int = -1
) -> None:
    """Print rows under their headings.

    :param styled: the column whose words have colours.
    """
    texts = [[one_line("" if cell is None else cell, 200) for cell in row] for row in rows]
    if len(texts) > MANY or not console.is_terminal:
        print_plain(console, [column.upper() for column in columns], texts)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in texts:
        table.add_row(
            *(
                Text(cell, style=STYLES.get(cell, "") if position == styled else "")
                for position, cell in enumerate(row)
            )
        )
    console.print(table)


def print_plain(console: Console, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows in columns as wide as they need to be, a line each."""
    everything = [columns, *rows]
    widths = [max(map(len, column)) for column in zip(*everything, strict=True)]
    for row in everything:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        console.file.write("  ".join(padded).rstrip() + "\n")


def print_pairs(console: Console, pairs: Iterable[tuple[str, object]]) -> None:
    """Print names and values, those that have none left out."""
    shown = [(name, one_line(value, 2000)) for name, value in pairs if value not in (None, "")]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        console.print(Text(f"{name.ljust(width)}  ", style="bold") + Text(value), soft_wrap=True)
