"""Runs as CSV, sent row by row: a long file needs no more memory than a short one."""

import csv
import datetime as dt
from collections.abc import Iterator
from typing import Any

from django.http import StreamingHttpResponse
from django.utils import timezone

from jobstore import api
from jobstore.batches import batched
from jobstore.models import DjangoJobExecution

# Runs in one file, and in one statement.
MAX_EXPORTED_RUNS = 100_000
BATCH_RUNS = 1_000

COLUMNS = (
    *("run", "job", "status", "scheduled", "started", "finished", "start_delay_seconds"),
    *("duration_seconds", "times", "attempt", "requested_by", "process", "arguments"),
    *("exception_type", "exception", "result"),
)
# Beginnings with which a spreadsheet takes a text for a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r")


class _Line:
    """A file object that returns what a CSV writer writes."""

    def write(self, line: str) -> str:
        return line


def as_csv(ids: list[int]) -> StreamingHttpResponse:
    """Return a response that sends runs in this order, except those that are gone by then."""
    now = timezone.localtime() if timezone.is_aware(timezone.now()) else timezone.now()
    # The zone of this request, since the request has ended when the rows are made.
    zone = now.tzinfo
    name = f"runs-{now:%Y-%m-%d-%H%M%S}.csv"
    return StreamingHttpResponse(
        lines(ids, zone),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


def lines(ids: list[int], zone: dt.tzinfo | None) -> Iterator[str]:
    """Yield the lines of the file."""
    writer: Any = csv.writer(_Line())
    yield writer.writerow(COLUMNS)
    runs = DjangoJobExecution.objects.select_related("instance").defer("traceback", "note")
    for batch in batched(ids, BATCH_RUNS):
        found = runs.in_bulk(batch)
        yield "".join(writer.writerow(_row(found[key], zone)) for key in batch if key in found)


def _row(run: DjangoJobExecution, zone: dt.tzinfo | None) -> list[object]:
    delay = run.start_delay
    return [
        run.pk,
        _text(run.job_id),
        run.status,
        _time(run.run_time, zone),
        _time(run.started_at, zone),
        _time(run.finished, zone),
        None if delay is None else f"{delay.total_seconds():.6f}",
        run.duration,
        run.times,
        run.attempt,
        _text(run.requested_by),
        _text(str(run.instance or run.instance_id or "")),
        _text(api.shown_arguments(run)),
        _text(run.exception_type),
        _text(run.exception),
        _text(run.result),
    ]


def _text(text: str | None) -> str | None:
    return f"'{text}" if text and text.startswith(FORMULA) else text


def _time(when: dt.datetime | None, zone: dt.tzinfo | None) -> str | None:
    if when is None:
        return None
    return (when if zone is None else when.astimezone(zone)).isoformat()
