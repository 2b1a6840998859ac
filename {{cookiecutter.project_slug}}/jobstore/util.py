"""Times as Django and APScheduler need them, and connections that are not kept too long."""

import asyncio
import concurrent.futures
import datetime as dt
import functools
import json
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar, overload

from django import db
from django.conf import settings
from django.utils import formats, timezone

from jobstore import conf
from jobstore.texts import one_line

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger(__name__)

LOST_CONNECTION = (db.OperationalError, db.InterfaceError)
TRIES = 3
# Seconds without use after which a connection is tried before it is trusted.
IDLE_SECONDS = 30.0


def get_dt_format() -> str:
    """Return the format that times are shown in: APSCHEDULER_DATETIME_FORMAT, else with seconds.

    Without it dates are as the present language has them.
    """
    if given := conf.get("APSCHEDULER_DATETIME_FORMAT"):
        return str(formats.get_format(given))
    return f"{formats.get_format('DATE_FORMAT')}, H:i:s"


def get_local_dt_format(when: dt.datetime) -> str:
    """Return a time as text, in the current time zone."""
    if settings.USE_TZ and timezone.is_aware(when):
        when = timezone.localtime(when)
    return formats.date_format(when, get_dt_format())


@overload
def get_django_internal_datetime(when: dt.datetime) -> dt.datetime: ...


@overload
def get_django_internal_datetime(when: None) -> None: ...


def get_django_internal_datetime(when: dt.datetime | None) -> dt.datetime | None:
    """Return a time as Django stores it: aware with USE_TZ, else naive in TIME_ZONE."""
    if when is None or timezone.is_aware(when) == settings.USE_TZ:
        return when
    zone = timezone.get_default_timezone()
    if settings.USE_TZ:
        return timezone.make_aware(when, zone)
    # No database stores which of two equal hours is meant.
    return timezone.make_naive(when, zone).replace(fold=0)


def get_apscheduler_datetime(when: dt.datetime | None, scheduler: Any) -> dt.datetime | None:
    """Return a stored time as a scheduler needs it: aware, in the scheduler's time zone."""
    if when is None:
        return None
    return as_aware(when).astimezone(getattr(scheduler, "timezone", None) or dt.UTC)


def as_aware(when: dt.datetime) -> dt.datetime:
    """Return a stored time as an aware one; a naive time is in Django's TIME_ZONE."""
    if timezone.is_aware(when):
        return when
    return timezone.make_aware(when, timezone.get_default_timezone())


def as_json(rows: Iterable[dict[str, Any]]) -> str:
    """Return rows as JSON for PostgreSQL's json_to_recordset, which is faster than arrays."""
    return json.dumps(list(rows), default=dt.datetime.isoformat)


def is_storable(when: dt.datetime) -> bool:
    """Tell whether an aware time is the same when it is read back from the database.

    Without USE_TZ, times in the repeated hour when clocks are set back are not.
    """
    if settings.USE_TZ:
        return True
    # In UTC: Python calls times in different zones unequal if one is in a repeated hour.
    back = as_aware(get_django_internal_datetime(when)).astimezone(dt.UTC)
    return back == when.astimezone(dt.UTC)


def release_connections() -> None:
    """Close this thread's database connections, unless a transaction is open on one."""
    for connection in db.connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close()


def renew_idle_connection(using: str) -> None:
    """Replace this thread's connection if it was idle for long and the server has closed it.

    Servers close idle sessions. That is no outage, and must not look like one.
    """
    connection: Any = db.connections[using]
    if connection.connection is None or connection.in_atomic_block:
        return
    now = time.monotonic()
    used_at, connection._used_at = getattr(connection, "_used_at", now), now
    if now - used_at > IDLE_SECONDS and not connection.is_usable():
        logger.debug("The server closed a connection that was idle for %.0f s.", now - used_at)
        connection.close()


def close_old_connections(func: Callable[P, R]) -> Callable[P, R]:
    """Close unusable and outdated connections before and after a job.

    Kept for code that used it with django-apscheduler; the job store does this for every job.
    """

    @functools.wraps(func)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        db.close_old_connections()
        try:
            return func(*args, **kwargs)
        finally:
            db.close_old_connections()

    return wrapper


def retry_on_db_operational_error(func: Callable[P, R]) -> Callable[P, R]:
    """Call again on a new connection if the database connection was lost.

    Use it only for operations that may be repeated.

    :raises OperationalError, InterfaceError: the last error, after three tries.
    """

    @functools.wraps(func)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        for attempt in range(1, TRIES + 1):
            try:
                return func(*args, **kwargs)
            except LOST_CONNECTION as error:
                if attempt == TRIES or any(
                    connection.in_atomic_block
                    for connection in db.connections.all(initialized_only=True)
                ):
                    raise
                # The first failure is usually a connection that the server closed while idle.
                logger.log(
                    logging.DEBUG if attempt == 1 else logging.WARNING,
                    "Database error in %s (%s); trying again on a new connection.",
                    func.__qualname__,
                    one_line(error),
                )
                release_connections()
                time.sleep(0.1 * attempt)
        raise AssertionError("unreachable")

    return wrapper


@functools.cache
def _database_thread() -> concurrent.futures.ThreadPoolExecutor:
    return concurrent.futures.ThreadPoolExecutor(1, "jobstore-database")


def outside_event_loop(func: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function, on a thread of its own if this one runs an event loop, as Django demands."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return func(*args, **kwargs)
    return _database_thread().submit(func, *args, **kwargs).result()
