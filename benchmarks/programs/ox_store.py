"""Stores a scenario's jobs as django-ox's rows: intervals of whole seconds."""

import django

import spec

django.setup()

from django_ox.stored import create_schedules  # type: ignore[import-not-found]  # noqa: E402


def main() -> None:
    """Store them all at once."""
    create_schedules(
        {
            "name": job.id,
            "task_key": "work",
            "trigger": "interval",
            "every_seconds": max(round(job.every), 1),
            # Intervals count from 1970; what is left of a second is given up.
            "phase_seconds": int(job.at.timestamp() % max(round(job.every), 1)),
            "start_time": job.at.replace(microsecond=0),
            "arguments": {"number": job.number, "seconds": job.seconds},
        }
        for job in spec.jobs(spec.given())
    )


if __name__ == "__main__":
    main()
