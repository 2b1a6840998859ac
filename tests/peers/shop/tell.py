"""Prints, as JSON, the jobs and the history as the package itself reads them."""

import datetime as dt
import json

import django

django.setup()

from django.utils import timezone  # noqa: E402
from django_apscheduler.models import DjangoJob, DjangoJobExecution  # noqa: E402


def text(when: dt.datetime | None) -> str | None:
    if when is None:
        return None
    aware = when if timezone.is_aware(when) else timezone.make_aware(when)
    return aware.astimezone(dt.UTC).isoformat()


jobs = {job.id: text(job.next_run_time) for job in DjangoJob.objects.all()}
runs = [
    [
        run.job_id,
        text(run.run_time),
        run.status,
        run.exception,
        run.traceback,
        None if run.finished is None else round(float(run.finished), 2),
    ]
    for run in DjangoJobExecution.objects.order_by("job_id", "run_time")
]
print(json.dumps({"jobs": jobs, "runs": sorted(runs, key=str)}))
