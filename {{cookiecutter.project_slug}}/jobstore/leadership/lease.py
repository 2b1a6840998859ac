"""The lease: at most one process at a time may claim runs.

This rests on two facts. The epoch changes by compare-and-set only, so two processes never hold the
same epoch. A claim checks the epoch inside its own transaction (claims/claim.py). No client's clock
matters: all times are the database's.
"""

import dataclasses
import datetime as dt
import uuid

from django.db import connections
from django.db.models import Min

from jobstore import conf
from jobstore.database.timeouts import set_transaction_timeout
from jobstore.models import (
    DjangoJob,
    DjangoJobExecution,
    JobQuerySet,
    SchedulerInstance,
    SchedulerLease,
    database_now,
)


class NotHolder(Exception):
    """The lease is not, or no longer, held with this epoch."""


@dataclasses.dataclass(frozen=True)
class Term:
    """The right to claim runs: won with an epoch, lost when the epoch moves on."""

    instance: uuid.UUID
    epoch: int


@dataclasses.dataclass(frozen=True)
class LeaseView:
    """What one look at the lease showed, at the database's time `now`."""

    now: dt.datetime
    term: Term | None = None
    holder: str = ""
    epoch: int = 0
    expires_at: dt.datetime | None = None
    session_lock: bool = False
    next_run_time: dt.datetime | None = None
    requested: bool = False
    # Whether another process has been silent for too long, or has left runs behind; None if that
    # was not asked.
    silent: bool | None = None
    # The former holder, if its lease had not expired but its database session had ended.
    former: uuid.UUID | None = None


def acquire(
    instance: uuid.UUID,
    using: str,
    *,
    session_lock: bool = False,
    silent: tuple[int, dt.datetime | None] | None = None,
    above: int = 0,
) -> LeaseView:
    """Take the lease if it is free, has expired, or its holder is gone; otherwise say who holds it.

    :param session_lock: whether this process has the session lock. If the lease says that its
        holder has the lock, the holder is gone.
    :param silent: epoch and expiry of a lease that has not been renewed for longer than a lease
        lives, but has not expired, because the database's clock was set back. If the lease is still
        the same, its holder is gone.
    :param above: the highest epoch that was ever seen. After a failover that lost the last commits,
        the database may know only lower ones.
    """
    leases = SchedulerLease.objects.using(using).filter(name=SchedulerLease.DEFAULT)
    lease = leases.first()
    now = database_now(using)
    if lease is None:
        SchedulerLease.objects.using(using).bulk_create([SchedulerLease()], ignore_conflicts=True)
        lease = leases.get()
    is_silent = silent == (lease.epoch, lease.expires_at)
    is_gone = is_silent or (session_lock and lease.session_lock)
    if lease.expires_at is not None and lease.expires_at > now and not is_gone:
        return LeaseView(
            now,
            holder=name_of(lease.holder, using),
            epoch=lease.epoch,
            expires_at=lease.expires_at,
            session_lock=lease.session_lock,
        )
    epoch = max(lease.epoch, above) + 1
    # The expiry is compared, too: a renewal in the meantime must win.
    won = leases.filter(epoch=lease.epoch, expires_at=lease.expires_at).update(
        epoch=epoch,
        holder=instance,
        session_lock=session_lock,
        acquired_at=now,
        renewed_at=now,
        expires_at=now + dt.timedelta(seconds=conf.get("SCHEDULER_LEASE_SECONDS")),
    )
    if not won:
        return LeaseView(now, holder="a process that was faster", epoch=lease.epoch)
    had_time_left = lease.expires_at is not None and lease.expires_at > now
    former = lease.holder if had_time_left and session_lock and lease.session_lock else None
    return LeaseView(
        now, term=Term(instance, epoch), epoch=epoch, session_lock=session_lock, former=former
    )


def renew(
    term: Term,
    using: str,
    *,
    session_lock: bool = False,
    saturated: str = "",
    suspect: uuid.UUID | None = None,
) -> LeaseView:
    """Prolong the lease and write the heartbeat; the view has no term if the lease is lost.

    The same round trip returns the earliest run time, so that every change, made anywhere, is
    noticed at the next renewal without a further statement.

    :param saturated: the executors without a free worker, for the holder's row.
    :param suspect: a process that counts as silent unless it has written a heartbeat in this term.
    """
    life = conf.get("SCHEDULER_LEASE_SECONDS")
    if connections[using].vendor == "postgresql":
        return _renew_postgresql(term, using, life, session_lock, saturated, suspect)
    now = database_now(using)
    kept = SchedulerLease.objects.using(using).filter(
        name=SchedulerLease.DEFAULT, holder=term.instance, epoch=term.epoch, expires_at__gt=now
    )
    changes = {"renewed_at": now, "expires_at": now + dt.timedelta(seconds=life)}
    if not kept.update(**changes, session_lock=session_lock):
        return LeaseView(now)
    SchedulerInstance.objects.using(using).filter(pk=term.instance).update(
        heartbeat_at=now, saturated=saturated
    )
    return LeaseView(
        now,
        term=term,
        epoch=term.epoch,
        session_lock=session_lock,
        next_run_time=waiting_jobs(using).aggregate(first=Min("next_run_time"))["first"],
        requested=DjangoJobExecution.objects.using(using)
        .filter(status=DjangoJobExecution.REQUESTED)
        .exists(),
    )


def _renew_postgresql(
    term: Term,
    using: str,
    life: float,
    session_lock: bool,
    saturated: str,
    suspect: uuid.UUID | None,
) -> LeaseView:
    with connections[using].cursor() as cursor:
        cursor.execute(
            """
            WITH renewed AS (
                UPDATE jobstore_schedulerlease
                SET renewed_at = clock_timestamp(), session_lock = %(session_lock)s,
                    expires_at = clock_timestamp() + make_interval(secs => %(life)s)
                WHERE name = %(lease)s AND holder = %(holder)s AND epoch = %(epoch)s
                    AND expires_at > clock_timestamp()
                RETURNING holder, renewed_at, acquired_at
            ), alive AS (
                UPDATE jobstore_schedulerinstance AS instance
                SET heartbeat_at = renewed.renewed_at, saturated = %(saturated)s
                FROM renewed WHERE instance.id = renewed.holder
            )
            SELECT
                renewed_at,
                (SELECT min(next_run_time) FROM jobstore_djangojob WHERE quarantined_at IS NULL),
                EXISTS (SELECT FROM jobstore_djangojobexecution WHERE status = %(requested)s),
                EXISTS (
                    SELECT FROM jobstore_schedulerinstance AS other
                    WHERE other.id <> renewed.holder AND other.role <> ALL(%(gone)s)
                        AND (other.heartbeat_at
                                < clock_timestamp() - make_interval(secs => %(dead)s)
                            OR other.id = %(suspect)s
                                AND other.heartbeat_at <= renewed.acquired_at)
                ) OR EXISTS (
                    SELECT FROM jobstore_djangojobexecution AS run
                    JOIN jobstore_schedulerinstance AS leaver ON leaver.id = run.instance_id
                    WHERE run.status = %(running)s AND leaver.role = ANY(%(gone)s)
                        AND leaver.id <> renewed.holder
                )
            FROM renewed
            """,
            {
                "life": life,
                "session_lock": session_lock,
                "lease": SchedulerLease.DEFAULT,
                "holder": term.instance,
                "epoch": term.epoch,
                "requested": DjangoJobExecution.REQUESTED,
                "gone": [str(role) for role in SchedulerInstance.GONE],
                "dead": conf.get("SCHEDULER_DEAD_SECONDS"),
                "saturated": saturated,
                "suspect": suspect,
                "running": DjangoJobExecution.RUNNING,
            },
        )
        row = cursor.fetchone()
    if row is None:
        return LeaseView(database_now(using))
    return LeaseView(
        row[0],
        term=term,
        epoch=term.epoch,
        session_lock=session_lock,
        next_run_time=row[1],
        requested=row[2],
        silent=row[3],
    )


def release(holder: uuid.UUID, using: str) -> bool:
    """Let this process's lease expire now, whatever its epoch; return whether it held it."""
    now = database_now(using)
    held = SchedulerLease.objects.using(using).filter(
        name=SchedulerLease.DEFAULT, holder=holder, expires_at__gt=now
    )
    return bool(held.update(expires_at=now))


def name_of(instance: uuid.UUID | None, using: str) -> str:
    """Return a process as host:pid, or its id if it has no row."""
    known = SchedulerInstance.objects.using(using).filter(pk=str(instance)).first()
    return str(known or instance)


def waiting_jobs(using: str) -> JobQuerySet:
    """Return the jobs that a claim may take when they are due."""
    jobs: JobQuerySet = DjangoJob.objects.using(using).filter(
        next_run_time__isnull=False, quarantined_at__isnull=True
    )
    return jobs


def assert_holder(term: Term, using: str) -> dt.datetime:
    """Lock the lease against a take-over until the transaction ends; return the database's time.

    :raises NotHolder: if the lease is not held with this epoch.
    """
    lease = SchedulerLease.objects.using(using).filter(
        name=SchedulerLease.DEFAULT, holder=term.instance, epoch=term.epoch
    )
    set_transaction_timeout(using)
    # Locked by a write, since SQLite cannot upgrade a transaction that began with a read.
    lease.update(epoch=term.epoch)
    now = database_now(using)
    if not lease.filter(expires_at__gt=now).exists():
        raise NotHolder
    return now
