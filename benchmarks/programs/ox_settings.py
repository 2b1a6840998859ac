"""Settings of a small Django project around django-ox, whose schedules are rows."""

from peer_settings import *  # noqa: F403

TASKS = {
    "default": {
        "BACKEND": "django_ox.backend.OxBackend",
        "OPTIONS": {
            "SCHEDULE_SOURCE": "django_ox.stored.DatabaseScheduleSource",
            "SCHEDULABLE_TASKS": {"work": {"task": "ox_tasks.work", "form": "ox_tasks.Arguments"}},
        },
    }
}
