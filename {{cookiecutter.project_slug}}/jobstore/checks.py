"""System checks: settings that cannot work are refused with a sentence that says what to change."""

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import DatabaseError, InterfaceError, connections, router

from . import conf

# Quarantined jobs that the check names; the admin lists them all.
LISTED = 20


@register()
def timing(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """A lease must outlive several renewals, and the death of its holder must be told later."""
    life, renew = conf.get("SCHEDULER_LEASE_SECONDS"), conf.get("SCHEDULER_RENEW_SECONDS")
    margin, dead = conf.get("SCHEDULER_MARGIN_SECONDS"), conf.get("SCHEDULER_DEAD_SECONDS")
    problems: list[CheckMessage] = []
    if renew <= 0 or life < 2 * renew + margin:
        problems.append(
            Error(
                f"A lease of {life} s cannot be kept by renewing it every {renew} s.",
                hint="Raise SCHEDULER_LEASE_SECONDS to at least twice SCHEDULER_RENEW_SECONDS "
                "plus SCHEDULER_MARGIN_SECONDS.",
                id="jobstore.E001",
            )
        )
    if dead < life:
        problems.append(
            Error(
                f"A process would count as dead after {dead} s while its lease lives {life} s.",
                hint="Raise SCHEDULER_DEAD_SECONDS to at least SCHEDULER_LEASE_SECONDS.",
                id="jobstore.E002",
            )
        )
    if conf.get("SCHEDULER_THREADS") < 1:
        problems.append(
            Error(
                "Without a thread no job can run.",
                hint="Set SCHEDULER_THREADS to at least 1.",
                id="jobstore.E003",
            )
        )
    return problems


@register()
def sqlite_transactions(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """On SQLite a claim that begins by reading cannot be upgraded while another process writes."""
    from .models import DjangoJob

    database = connections[router.db_for_write(DjangoJob)].settings_dict
    immediate = database.get("OPTIONS", {}).get("transaction_mode", "").upper() == "IMMEDIATE"
    if not database["ENGINE"].endswith("sqlite3") or immediate:
        return []
    return [
        Warning(
            "SQLite transactions do not begin IMMEDIATE; jobs can fail with 'database is locked'.",
            hint='Set OPTIONS["transaction_mode"] = "IMMEDIATE" for this database.',
            id="jobstore.W001",
        )
    ]


@register(Tags.database)
def quarantined_jobs(
    app_configs: Any, databases: Sequence[str] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Jobs in quarantine do not run. Told by `migrate`, and by `check --database default`."""
    from . import quarantine
    from .models import DjangoJob

    using = router.db_for_write(DjangoJob)
    if using not in (databases or ()):
        return []
    try:
        jobs = list(quarantine.quarantined(using).order_by("pk")[:LISTED])
    except (DatabaseError, InterfaceError):
        return []  # not migrated, or away: others say so
    return [
        Warning(
            f"Job {job.pk!r} is in quarantine and does not run: {job.quarantine_reason}",
            hint="Repair what it names, then run `manage.py retry_quarantined_jobs`.",
            id="jobstore.W002",
        )
        for job in jobs
    ]
