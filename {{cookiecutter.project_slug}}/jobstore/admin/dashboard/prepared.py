"""Statements that Django composes once: composing them takes longer than the database does."""

import datetime as dt
import functools
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db import connections
from django.db.models import QuerySet

from jobstore.util import get_django_internal_datetime

# Stand for times until the statement is asked. Nothing else has these.
PLACES = tuple(
    dt.datetime(1971, 1, 1, 0, 0, second, 123_456, tzinfo=dt.UTC) for second in range(1, 5)
)


def rows(
    compose: Callable[..., QuerySet[Any]],
    using: str,
    *times: dt.datetime,
    is_kept: bool,
    **options: Any,
) -> list[tuple[Any, ...]]:
    """Return the rows of a statement as the database's driver gives them.

    :param compose: returns the statement for an alias, for times, and for options.
    :param times: as Django stores them.
    :param is_kept: whether it is composed again only for another alias or other options, which have
        to be hashable and to mean the same each time.
    """
    composed = _composed if is_kept else _composed.__wrapped__
    sql, parameters = composed(compose, using, len(times), settings.USE_TZ, **options)
    connection = connections[using]
    stored = [connection.ops.adapt_datetimefield_value(time) for time in times]
    given = [stored[one.number] if isinstance(one, _Place) else one for one in parameters]
    with connection.cursor() as cursor:
        cursor.execute(sql, given)
        return list(cursor.fetchall())


class _Place:
    """Where a parameter is one of the times."""

    def __init__(self, number: int) -> None:
        self.number = number


@functools.lru_cache(maxsize=100)
def _composed(
    compose: Callable[..., QuerySet[Any]], using: str, number: int, _use_tz: bool, **options: Any
) -> tuple[str, tuple[Any, ...]]:
    places = [get_django_internal_datetime(place) for place in PLACES[:number]]
    ops = connections[using].ops
    known = {ops.adapt_datetimefield_value(place): _Place(n) for n, place in enumerate(places)}
    sql, parameters = compose(using, *places, **options).query.get_compiler(using).as_sql()
    return sql, tuple(known.get(one, one) for one in parameters)
