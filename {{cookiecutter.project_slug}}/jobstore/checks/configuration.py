"""System checks: settings that cannot work are refused with a sentence that says what to change."""

import os
import re
import stat
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Tags, Warning, register
from django.db import DatabaseError, InterfaceError, connections, router

from jobstore import conf

Answer = TypeVar("Answer")

# Seconds after the drain time by which a scheduler process has ended in any case.
SHUTDOWN_RESERVE_SECONDS = 8.0
# Types of network file systems, as /proc/self/mounts names them.
NETWORKS = {
    *(
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "afs",
        "ceph",
        "lustre",
        "glusterfs",
        "gfs2",
        "ocfs2",
    ),
    *("fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.s3fs", "fuse.rclone"),
}
# Quarantined jobs that the check names; the admin lists them all.
MAX_LISTED_JOBS = 20


@register()
def values(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Refuse a setting of the wrong kind or out of its range, wherever it was set."""
    return [
        Error(setting.refusal(name, getattr(settings, name)), id="jobstore.E003")
        for name, setting in conf.SETTINGS.items()
        if hasattr(settings, name) and not setting.accepts(getattr(settings, name))
    ]


@register()
def timing(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Refuse timings that cannot work: a lease must outlive several renewals, for example."""
    if values(app_configs):
        return []
    life, renew = conf.get("SCHEDULER_LEASE_SECONDS"), conf.get("SCHEDULER_RENEW_SECONDS")
    margin, dead = conf.get("SCHEDULER_MARGIN_SECONDS"), conf.get("SCHEDULER_DEAD_SECONDS")
    problems: list[CheckMessage] = []
    if life < 2 * renew + margin:
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
                (
                    f"A process would count as dead after {dead} s while its lease is valid for "
                    f"{life} s."
                ),
                hint="Raise SCHEDULER_DEAD_SECONDS to at least SCHEDULER_LEASE_SECONDS.",
                id="jobstore.E002",
            )
        )
    grace, drain = conf.get("SCHEDULER_STOP_GRACE_SECONDS"), conf.get("SCHEDULER_DRAIN_SECONDS")
    if grace < drain + SHUTDOWN_RESERVE_SECONDS:
        problems.append(
            Error(
                f"Jobs get {drain} s to finish and their results up to "
                f"{SHUTDOWN_RESERVE_SECONDS:g} s to be written, but the process is killed"
                f" {grace} s after SIGTERM.",
                hint="Lower SCHEDULER_DRAIN_SECONDS; or raise stop_grace_period in compose.yaml "
                "(stopwaitsecs, terminationGracePeriodSeconds), and SCHEDULER_STOP_GRACE_SECONDS "
                "with it.",
                id="jobstore.E004",
            )
        )
    limit = conf.get("SCHEDULER_STATEMENT_SECONDS")
    if limit > life:
        problems.append(
            Error(
                f"A statement may take {limit} s while a lease is valid for {life} s: one that "
                "hangs would keep others from taking over.",
                hint="Set SCHEDULER_STATEMENT_SECONDS to more than 0 and at most "
                "SCHEDULER_LEASE_SECONDS.",
                id="jobstore.E005",
            )
        )
    return problems


@register()
def sessions(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Refuse features that need a lasting database session behind a pooler in transaction mode."""
    from jobstore.models import DjangoJob

    if values(app_configs):
        return []
    database = connections[router.db_for_write(DjangoJob)].settings_dict
    asked = [name for name in ("SCHEDULER_SESSION_LOCK", "SCHEDULER_LISTEN") if conf.get(name)]
    if not (asked and database.get("DISABLE_SERVER_SIDE_CURSORS")):
        return []
    return [
        Error(
            f"{' and '.join(asked)} need a lasting session, which a pooler in transaction mode "
            "does not provide (DISABLE_SERVER_SIDE_CURSORS says that there is one).",
            hint=f"Set {' and '.join(f'{name}=false' for name in asked)}, or connect directly.",
            id="jobstore.E007",
        )
    ]


@register()
def sqlite_place(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Refuse SQLite on a network file system: its file locks do not work between hosts."""
    from jobstore.models import DjangoJob

    database = connections[router.db_for_write(DjangoJob)].settings_dict
    if not database["ENGINE"].endswith("sqlite3"):
        return []
    kind = filesystem_of(Path(database["NAME"]).absolute(), mounted())
    if kind not in NETWORKS:
        return []
    return [
        Error(
            f"The SQLite database {database['NAME']} is on a network file system ({kind}), where "
            "locks do not keep two processes from writing at once.",
            hint="Put it on a local disk and run all processes on that host; for several hosts use "
            "PostgreSQL or MariaDB.",
            id="jobstore.E008",
        )
    ]


@register()
def sqlite_is_usable(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Refuse a SQLite file that cannot be written, or that other users can read."""
    from jobstore.models import DjangoJob

    database = connections[router.db_for_write(DjangoJob)].settings_dict
    file = Path(database["NAME"])
    if not database["ENGINE"].endswith("sqlite3") or not file.is_absolute():
        return []
    for place in (file.parent, file):
        if (place == file.parent or place.exists()) and not os.access(place, os.W_OK):
            return [
                Error(
                    f"This process, user {os.geteuid()}, cannot write to {place}, "
                    "which SQLite must be able to do.",
                    hint=f"Give the folder and what is in it to that user, on the host if it is "
                    f"mounted from there: chown -R {os.geteuid()}:{os.getegid()} {file.parent}",
                    id="jobstore.E009",
                )
            ]
    is_open = file.parent.stat().st_mode & stat.S_IXOTH
    if is_open and file.exists() and file.stat().st_mode & stat.S_IROTH:
        return [
            Warning(
                f"Everybody on this machine can read the SQLite database {file}.",
                hint=f"chmod 600 {file}*",
                id="jobstore.W003",
            )
        ]
    return []


def mounted() -> str:
    """Return the content of Linux's /proc/self/mounts; empty on other systems."""
    try:
        return Path("/proc/self/mounts").read_text(errors="replace")
    except OSError:
        return ""


def filesystem_of(path: Path, mounts: str) -> str:
    """Return the type of the file system that holds a path, by lines of /proc/self/mounts."""
    kinds: dict[Path, str] = {}
    for line in mounts.splitlines():
        _, place, kind, *_ = line.split(" ")
        # Spaces and similar characters are written as octal numbers.
        kinds[Path(re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), place))] = kind
    holders = [place for place in kinds if path.is_relative_to(place)]
    return kinds[max(holders, key=lambda place: len(place.parts))] if holders else ""


@register()
def sqlite_transactions(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Warn if transactions on SQLite do not begin IMMEDIATE: a claim could fail beside a writer."""
    from jobstore.models import DjangoJob

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


def _asked(databases: Sequence[str] | None, question: Callable[[str], Answer]) -> Answer | None:
    """Ask the jobs' database; None if it is not to be checked, or does not answer."""
    from jobstore.models import DjangoJob

    using = router.db_for_write(DjangoJob)
    if using not in (databases or ()):
        return None
    try:
        return question(using)
    except (DatabaseError, InterfaceError):
        return None  # not migrated, or away: other checks say so


@register(Tags.database)
def quarantined_jobs(
    app_configs: Any, databases: Sequence[str] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Warn about quarantined jobs. `migrate` and `check --database default` show it."""
    from jobstore.storage import quarantine

    jobs = _asked(
        databases,
        lambda using: list(quarantine.quarantined(using).order_by("pk")[:MAX_LISTED_JOBS]),
    )
    return [
        Warning(
            f"Job {job.pk!r} is in quarantine and does not run: {job.quarantine_reason}",
            hint="Repair what it names, then run `manage.py retry_quarantined_jobs`.",
            id="jobstore.W002",
        )
        for job in jobs or ()
    ]


@register(Tags.database)
def signing_keys(
    app_configs: Any, databases: Sequence[str] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Say whether a former key is still needed, while SECRET_KEY is being changed."""
    from jobstore.storage import key_rotation

    use = _asked(databases, key_rotation.key_use)
    if use is None:
        return []
    is_done = not use.waiting and not use.unknown
    said = key_rotation.advice(use)
    return [
        Info(text, id="jobstore.I021") if is_done else Warning(text, id="jobstore.W021")
        for text in said
    ]
