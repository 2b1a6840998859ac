"""A Celery application whose broker is a folder, so that tests need no server."""

import os
from pathlib import Path

from celery import Celery

FOLDER = Path(os.environ.get("CELERY_FOLDER", ""))

app = Celery("jobstore-tests")
app.conf.update(
    broker_url="filesystem://",
    broker_transport_options={
        "data_folder_in": str(FOLDER),
        "data_folder_out": str(FOLDER),
        "control_folder": str(FOLDER / "control"),
    },
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    imports=["jobstore.executors.celery"],
)
app.set_default()
