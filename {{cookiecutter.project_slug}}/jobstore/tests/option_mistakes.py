"""What people write by mistake for options that APScheduler does not have, and what they are told.

The decorator, `api.add_job` and `api.change` take the same values, and refuse them in the same
words.
"""

import datetime as dt
import decimal
import math
from collections.abc import Iterator
from typing import Any

from jobstore.exception_names import LONGEST


class Hostile:
    """An object without a text."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")


class NotAnError:
    """A class, but no exception."""


def local_class() -> type[Exception]:
    class Inside(Exception):
        """An exception that no other code can name."""

    return Inside


def generated() -> Iterator[type[Exception]]:
    yield ValueError


TIMEOUT = "timeout is a number of seconds above 0 and up to 604800 (7 days), such as 600, not "
RETRIES = "retries is a whole number from 0 to 100, not "
DELAY = "retry_delay is a number of seconds from 0 to 3600 (an hour), such as 30, not "
KINDS = "retry_on takes classes of exceptions, or their names"
OVERLAP = "overlap is 'skip', 'queue' or 'cancel_running', not "
CATCH_UP = (
    "catch_up is 'none', 'latest', 'all', or how many of the last times run, from 1 to 1000, not "
)
QUEUE = "queue is the name of a queue, of up to 100 letters, digits, _ . and -, such as heavy, not "

MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"timeout": "30"}, f"{TIMEOUT}'30'"),
    ({"timeout": "10m"}, f"{TIMEOUT}'10m'"),
    ({"timeout": 0}, f"{TIMEOUT}0; without it, a run may take as long as it needs"),
    ({"timeout": -1}, f"{TIMEOUT}-1"),
    ({"timeout": 0.0001}, f"{TIMEOUT}0.0001"),
    ({"timeout": True}, f"{TIMEOUT}True"),
    ({"timeout": math.nan}, f"{TIMEOUT}nan"),
    ({"timeout": math.inf}, f"{TIMEOUT}inf"),
    ({"timeout": 10**400}, TIMEOUT),
    ({"timeout": 604_801}, f"{TIMEOUT}604801"),
    ({"timeout": dt.timedelta(0)}, f"{TIMEOUT}datetime.timedelta(0)"),
    ({"timeout": dt.timedelta(minutes=-5)}, TIMEOUT),
    ({"timeout": dt.timedelta(days=8)}, TIMEOUT),
    ({"timeout": dt.time(0, 5)}, f"{TIMEOUT}datetime.time(0, 5)"),
    ({"timeout": (3.05, 27)}, f"{TIMEOUT}(3.05, 27)"),
    ({"timeout": {"minutes": 5}}, TIMEOUT),
    ({"timeout": decimal.Decimal(5)}, f"{TIMEOUT}Decimal('5')"),
    ({"timeout": Hostile()}, f"{TIMEOUT}Hostile without a text"),
    ({"retries": True}, f"{RETRIES}True"),
    ({"retries": -1}, f"{RETRIES}-1"),
    ({"retries": "3"}, f"{RETRIES}'3'"),
    ({"retries": 3.0}, f"{RETRIES}3.0"),
    ({"retries": None}, f"{RETRIES}None"),
    ({"retries": 101}, f"{RETRIES}101"),
    ({"retries": 10**30}, RETRIES),
    ({"retries": 10**5000}, f"{RETRIES}int without a text"),
    ({"retries": math.inf}, f"{RETRIES}inf"),
    ({"retries": [10, 20, 40]}, f"{RETRIES}[10, 20, 40]"),
    ({"retries": {"max": 3}}, RETRIES),
    ({"retry_delay": "10"}, f"{DELAY}'10'"),
    ({"retry_delay": "10s"}, f"{DELAY}'10s'"),
    ({"retry_delay": -1}, f"{DELAY}-1"),
    ({"retry_delay": None}, f"{DELAY}None"),
    ({"retry_delay": True}, f"{DELAY}True"),
    ({"retry_delay": math.nan}, f"{DELAY}nan"),
    ({"retry_delay": math.inf}, f"{DELAY}inf"),
    ({"retry_delay": 3601}, f"{DELAY}3601"),
    ({"retry_delay": dt.timedelta(hours=2)}, DELAY),
    ({"retry_delay": [10, 60]}, f"{DELAY}[10, 60]"),
    ({"retry_on": "ConnectionErorr"}, "did you mean ConnectionError?"),
    ({"retry_on": "connectionerror"}, "did you mean ConnectionError?"),
    ({"retry_on": ["Timeout", ValueError]}, "holds 'Timeout', which Python itself does not have"),
    ({"retry_on": "OrderFailed"}, "write it with its module, such as requests.exceptions.Timeout"),
    ({"retry_on": "jobs.orders:OrderFailed"}, "holds 'jobs.orders:OrderFailed', which is no name"),
    ({"retry_on": "ValueError TypeError"}, "holds 'ValueError TypeError', which is no name"),
    ({"retry_on": "(ValueError, TypeError)"}, "holds '(ValueError', which is no name"),
    ({"retry_on": "requests..Timeout"}, "which is no name of an exception"),
    ({"retry_on": "*"}, "holds '*', which is no name"),
    ({"retry_on": "a\0.b"}, "which is no name of an exception"),
    ({"retry_on": " , "}, "retry_on names no exception; leave it out"),
    ({"retry_on": ()}, "retry_on names no exception; leave it out"),
    ({"retry_on": [""]}, "retry_on names no exception; leave it out"),
    ({"retry_on": ValueError("x")}, "ValueError('x') is a single exception; write ValueError."),
    ({"retry_on": NotAnError}, KINDS),
    ({"retry_on": [int]}, f"{KINDS} such as ConnectionError or requests.exceptions.Timeout, not "),
    ({"retry_on": [ValueError, None]}, KINDS),
    ({"retry_on": [(ValueError, TypeError)]}, KINDS),
    ({"retry_on": 503}, f"{KINDS} such as ConnectionError or requests.exceptions.Timeout, not 503"),
    ({"retry_on": True}, KINDS),
    ({"retry_on": lambda error: True}, KINDS),
    ({"retry_on": generated()}, KINDS),
    ({"retry_on": {"ValueError": 3}}, KINDS),
    ({"retry_on": b"ValueError"}, KINDS),
    ({"retry_on": local_class()}, "a class inside of a function; move it out"),
    *[
        ({"overlap": one}, f"{OVERLAP}{shown}")
        for one, shown in [
            ("", "''"),
            ("wait", "'wait'"),
            ("Queue", "'Queue'"),
            ("queue ", "'queue '"),
            ("cancel", "'cancel'"),
            ("cancel-running", "'cancel-running'"),
            (None, "None"),
            (True, "True"),
            (0, "0"),
            (["queue"], "['queue']"),
            (b"queue", "b'queue'"),
            (Hostile(), "Hostile without a text"),
        ]
    ],
    *[
        ({"catch_up": one}, f"{CATCH_UP}{shown}")
        for one, shown in [
            ("last", "'last'"),
            ("All", "'All'"),
            ("3 times", "'3 times'"),
            ("-1", "'-1'"),
            ("03", "'03'"),
            ("٣", "'٣'"),
            (0, "0"),
            (-1, "-1"),
            (1001, "1001"),
            (10**30, "1000000"),
            (2.0, "2.0"),
            (True, "True"),
            (False, "False"),
            (["latest"], "['latest']"),
            (math.inf, "inf"),
            (dt.timedelta(hours=1), "datetime.timedelta(seconds=3600)"),
            (Hostile(), "Hostile without a text"),
        ]
    ],
    *[
        ({"queue": one}, f"{QUEUE}{shown}")
        for one, shown in [
            (" ", "' '"),
            ("two words", "'two words'"),
            ("heavy,light", "'heavy,light'"),
            ("a/b", "'a/b'"),
            ("größe", "'größe'"),
            ("a\0", "'a"),
            ("heavy\n", "'heavy"),
            ("q" * 101, "'qqq"),
            (1, "1"),
            (True, "True"),
            (["heavy"], "['heavy']"),
            (b"heavy", "b'heavy'"),
            ({"name": "heavy"}, "{'name': 'heavy'}"),
            (Hostile(), "Hostile without a text"),
        ]
    ],
    ({"retry_on": ", ".join(f"a.B{one}" for one in range(LONGEST))}, "more than 500 characters"),
]
