"""What can be set, with its default and the reason for it.

Each name is a Django setting of the same name; the generated `config/settings.py` reads the
usual ones from the environment.
"""

from typing import Any

from django.conf import settings

DEFAULTS: dict[str, Any] = {
    # Seconds that a lease lives without being renewed: the longest gap after a power loss.
    "SCHEDULER_LEASE_SECONDS": 10.0,
    # Seconds between renewals; four of them may fail before the lease is lost.
    "SCHEDULER_RENEW_SECONDS": 2.0,
    # Seconds before the lease's end at which its holder stops trusting it.
    "SCHEDULER_MARGIN_SECONDS": 2.0,
    # Seconds between two looks at the lease by a process that does not hold it; with the detector,
    # which asks for less, twice in that time.
    "SCHEDULER_POLL_SECONDS": 1.0,
    # What a further scheduler is: "refuse" lets its health check fail, "standby" calls it healthy.
    "SCHEDULER_EXTRA": "refuse",
    # Whether the active scheduler keeps a lock in its session, so that its death is noticed at
    # once; useless behind a pooler in transaction mode.
    "SCHEDULER_DETECTOR": True,
    # Seconds after which the database ends a statement of the scheduler's own, or a transaction of
    # its that idles because the process is paused. Jobs are not limited.
    "SCHEDULER_STATEMENT_SECONDS": 5.0,
    # Whether to listen for changes on PostgreSQL; needless behind a pooler in transaction mode.
    "SCHEDULER_LISTEN": True,
    # Seconds without a sign of life after which a process counts as dead and its runs as lost.
    "SCHEDULER_DEAD_SECONDS": 15.0,
    # Seconds that running jobs get to finish after SIGTERM.
    "SCHEDULER_DRAIN_SECONDS": 30.0,
    # Seconds after which whoever sent SIGTERM kills the process: stop_grace_period in compose.yaml,
    # stopwaitsecs of supervisor, terminationGracePeriodSeconds of Kubernetes.
    "SCHEDULER_STOP_GRACE_SECONDS": 40.0,
    # Seconds that a starting scheduler waits for its database before it gives up with exit 1.
    "SCHEDULER_DATABASE_WAIT_SECONDS": 30.0,
    # Seconds after which a silent scheduling loop counts as hung.
    "SCHEDULER_HUNG_SECONDS": 30.0,
    # Jobs that run at the same time.
    "SCHEDULER_THREADS": 10,
    # What the program that runs is called, an image's tag for example; empty for APScheduler's.
    "SCHEDULER_VERSION": "",
    # Where the scheduler process answers probes; empty for nowhere.
    "SCHEDULER_HEALTH_ADDRESS": "127.0.0.1:8001",
    # Seconds by which a run may be late before it is recorded as missed (declared jobs).
    "SCHEDULER_MISFIRE_GRACE_SECONDS": 3600,
    # History: age in days, and rows kept of each job.
    "JOB_HISTORY_DAYS": 30,
    "JOB_HISTORY_PER_JOB": 1000,
    # Characters kept of what a job returns; 0 keeps nothing.
    "JOB_HISTORY_RESULT_LENGTH": 1000,
    # Seconds that the admin waits for a run that somebody asked for, before it shows it as running.
    "APSCHEDULER_RUN_NOW_TIMEOUT": 5.0,
    # A Django date format; empty for the site's own, with seconds.
    "APSCHEDULER_DATETIME_FORMAT": "",
}


def get(name: str) -> Any:
    """Return the setting, or its default. Raises KeyError for a name that is not in DEFAULTS."""
    return getattr(settings, name, DEFAULTS[name])
