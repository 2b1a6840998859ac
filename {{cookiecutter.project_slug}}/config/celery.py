"""Celery's application. `celery -A config worker` runs the jobs whose executor is "celery".

Its settings are those of config/settings.py that begin with CELERY_. `tasks.py` of each app is
searched for tasks of your own, as usual.
"""

import contextlib
import os
import sys
import warnings
from pathlib import Path

from celery import Celery
from celery.exceptions import SecurityWarning
from celery.signals import celeryd_init, heartbeat_sent, setup_logging

from jobstore.probe import WORKER_FILE

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

app = Celery("config")
app.config_from_object("django.conf:settings", namespace="CELERY")
# What schedulers and web servers send goes through it, too.
app.set_default()
app.autodiscover_tasks()
app.autodiscover_tasks(lambda: ["jobstore.executors"], related_name="celery")


def begin(**_: object) -> None:
    """Prepare a worker. It ends if nobody told it where its broker is: Celery would guess."""
    if not app.conf.broker_url:
        sys.exit("CELERY_BROKER_URL is not set: this worker does not know its broker.")
    if os.geteuid() != 0:
        # A container's user has a number and no name, and Celery would take it for a superuser.
        warnings.simplefilter("ignore", SecurityWarning)


def keep_logging(**_: object) -> None:
    """Leave logging as LOGGING has set it up: Celery does nothing if this signal is heard."""


def note_life(**_: object) -> None:
    """Tell `jobstore/probe.py worker` that this worker moves and has reached its broker."""
    with contextlib.suppress(OSError):
        Path(WORKER_FILE).touch()


celeryd_init.connect(begin)
setup_logging.connect(keep_logging)
heartbeat_sent.connect(note_life)
