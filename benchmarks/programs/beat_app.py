"""The Celery application of celery-beat and its worker."""

import os

import django
from celery import Celery  # type: ignore[import-not-found]

import load

django.setup()

app = Celery("bench", broker=os.environ["BENCH_BROKER"])
app.conf.timezone = "UTC"
if os.environ.get("BENCH_RESULTS"):
    app.conf.result_backend = os.environ["BENCH_RESULTS"]
else:
    app.conf.task_ignore_result = True


@app.task(name="work")  # type: ignore[untyped-decorator]
def work(number: int, seconds: float) -> None:
    """Do what every contender's jobs do."""
    load.work(number, seconds)
