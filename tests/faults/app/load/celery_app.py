"""Celery's application for workers and schedulers of these tests; its settings are in load_settings.py."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "load_settings")

app = Celery("load")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.set_default()
app.autodiscover_tasks(lambda: ["jobstore.executors"], related_name="celery")
