"""Statements that Django composes once: composing them takes longer than the database does."""

import datetime as dt
import functools
from collections.abc import Callable, Sequence
from typing import Any

from django.conf import settings
from django.db import connections
from django.db.models import QuerySet

from jobstore.util import get_django_internal_datetime

# Texts or times that differ each time a statement is asked.
Given = str | dt.datetime


def rows(
    compose: Callable[..., QuerySet[Any]],
    using: str,
    *given: Given,
    is_kept: bool = True,
    is_converted: bool = False,
    **options: Any,
) -> list[tuple[Any, ...]]:
    """Return the rows of a statement.

    :param compose: returns the statement for an alias, for what is given, and for options. It must
        not look at what is given, which is something else when the statement is composed.
    :param given: texts, and times as Django stores them.
    :param is_kept: whether it is composed again only for another alias, another number of what is
        given, or other options, which have to be hashable and to mean the same each time.
    :param is_converted: whether Django converts the values; else they are as the driver gives them.
    """
    composed = _composed if is_kept else _composed.__wrapped__
    kinds = tuple(isinstance(one, dt.datetime) for one in given)
    sql, parameters, columns = composed(compose, using, kinds, settings.USE_TZ, **options)
    connection = connections[using]
    stored = [
        connection.ops.adapt_datetimefield_value(one) if isinstance(one, dt.datetime) else one
        for one in given
    ]
    values = [stored[one.number] if isinstance(one, _Place) else one for one in parameters]
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        found = list(cursor.fetchall())
    return _converted(found, columns, connection) if is_converted else found


class _Place:
    """Where a parameter is one of what is given."""

    def __init__(self, number: int) -> None:
        self.number = number


@functools.lru_cache(maxsize=200)
def _composed(
    compose: Callable[..., QuerySet[Any]],
    using: str,
    kinds: tuple[bool, ...],
    _use_tz: bool,
    **options: Any,
) -> tuple[str, tuple[Any, ...], tuple[Any, ...]]:
    """Compose it with stand-ins, which nothing else has, for what is given."""
    begin = dt.datetime(1971, 1, 1, 0, 0, 0, 123_456, tzinfo=dt.UTC)
    stand_ins: list[Given] = [
        get_django_internal_datetime(begin + dt.timedelta(minutes=number))
        if is_time
        else f"jobstore: text {number}"
        for number, is_time in enumerate(kinds)
    ]
    adapt = connections[using].ops.adapt_datetimefield_value
    known = {
        adapt(one) if isinstance(one, dt.datetime) else one: _Place(number)
        for number, one in enumerate(stand_ins)
    }
    compiler = compose(using, *stand_ins, **options).query.get_compiler(using)
    sql, parameters = compiler.as_sql()
    columns = tuple(expression for expression, *_ in compiler.select)
    return sql, tuple(known.get(one, one) for one in parameters), columns


def _converted(
    found: Sequence[tuple[Any, ...]], columns: Sequence[Any], connection: Any
) -> list[tuple[Any, ...]]:
    """Convert values as Django does when it reads rows, by Django's own means."""
    compiler = connection.ops.compiler("SQLCompiler")(None, connection, connection.alias)
    return list(map(tuple, compiler.apply_converters(found, compiler.get_converters(columns))))
