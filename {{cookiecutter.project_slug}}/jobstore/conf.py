"""The settings of the job store: names, defaults, ranges and units, and how a value is checked.

Each name is a Django setting, and `config/settings.py` reads each from an environment variable of
the same name. To add one, add a line here, explain it in `.env.example`, and run `make settings`,
which writes docs/settings.md. A wrong value is refused wherever it comes from: when the environment
is read, by `manage.py check`, and at the latest where it would be used.
"""

import dataclasses
import math
import re
from typing import Any, Literal

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

DAY = 86_400
YEAR = 366 * DAY

TRUE = ("true", "yes", "on", "1", "y", "t", "ok")
FALSE = ("false", "no", "off", "0", "n", "f")

# Characters of a refused value that are shown.
MAX_SHOWN = 80

PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
HOST = re.compile(r"\[[0-9A-Fa-f:.%\w]+\]|[^\s:\[\]/@]*")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """What a value must be like.

    `whole` is an integer, `number` an int or a float, `switch` a bool, `choice` one of `choices`,
    `address` host:port or empty, `path` the dotted name of a function or empty, `patterns` a list
    of regular expressions, `text` any string.
    """

    kind: Literal["whole", "number", "switch", "choice", "address", "path", "patterns", "text"] = (
        "text"
    )
    default: Any = ""
    unit: str = ""
    least: float = 0
    most: float = 10**9
    choices: tuple[str, ...] = ()

    @property
    def wanted(self) -> str:
        """What would be right, in words that follow "must be"."""
        if self.kind == "switch":
            return "true or false"
        if self.kind == "choice":
            return " or ".join(self.choices)
        if self.kind == "address":
            return "host:port with a port from 1 to 65535, such as 127.0.0.1:8001, or empty"
        if self.kind == "path":
            return "the dotted name of a function, such as jobs.access.may, or empty"
        if self.kind == "patterns":
            return "regular expressions, separated by commas, such as password,token"
        if self.kind == "text":
            return "text"
        number = "a whole number" if self.kind == "whole" else "a number"
        unit = f" of {self.unit}" if self.unit else ""
        return f"{number}{unit} from {self.least:g} to {int(self.most)}"

    def accepts(self, value: Any) -> bool:
        """Return whether a Python value, as a settings module holds it, is accepted."""
        if self.kind == "switch":
            return isinstance(value, bool)
        if self.kind == "choice":
            return value in self.choices
        if self.kind == "address":
            return isinstance(value, str) and (not value or is_address(value))
        if self.kind == "path":
            return isinstance(value, str) and (not value or bool(PATH.fullmatch(value)))
        if self.kind == "patterns":
            return isinstance(value, list | tuple) and all(map(is_pattern, value))
        if self.kind == "text":
            return isinstance(value, str)
        numbers = (int,) if self.kind == "whole" else (int, float)
        if isinstance(value, bool) or not isinstance(value, numbers):
            return False
        if isinstance(value, float) and not math.isfinite(value):
            return False
        return self.least <= value <= self.most

    def parse(self, text: str) -> Any:
        """Return the value that a text stands for.

        Numbers are plain digits: "1_000", "1e3" and "nan" are usually typing errors.

        :raises ValueError: if the text is not accepted.
        """
        text = text.strip()
        value: Any = text
        if self.kind == "switch":
            if text.lower() not in TRUE + FALSE:
                raise ValueError(text)
            value = text.lower() in TRUE
        elif self.kind == "choice":
            value = {choice.lower(): choice for choice in self.choices}.get(text.lower(), text)
        elif self.kind == "patterns":
            value = tuple(part for one in text.split(",") if (part := one.strip()))
        elif self.kind in ("whole", "number"):
            pattern = r"[+-]?\d+" if self.kind == "whole" else r"[+-]?(\d+\.?\d*|\.\d+)"
            if not re.fullmatch(pattern, text, re.ASCII):
                raise ValueError(text)
            value = int(text) if text.lstrip("+-").isdigit() else float(text)
        if not self.accepts(value):
            raise ValueError(text)
        return value

    def refusal(self, name: str, value: Any) -> str:
        """Return the sentence that says what is wrong with a value, and what would be right."""
        text = ascii(value)
        shown = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
        return f"{name} is {shown}; it must be {self.wanted}."


def is_address(text: str) -> bool:
    """Whether a text is host:port, the host a name, an IPv4 address or [an IPv6 address]."""
    host, colon, port = text.rpartition(":")
    digits = re.fullmatch(r"\d{1,5}", port, re.ASCII)
    return bool(colon and digits and 1 <= int(port) <= 65_535 and HOST.fullmatch(host))


def is_pattern(text: Any) -> bool:
    """Whether a value is a regular expression."""
    try:
        re.compile(text)
    except (re.error, TypeError):
        return False
    return isinstance(text, str)


def seconds(default: float, least: float = 0.05, most: float = DAY) -> Setting:
    """Return a setting that counts seconds."""
    return Setting(kind="number", unit="seconds", default=default, least=least, most=most)


SETTINGS: dict[str, Setting] = {
    # For how long a lease lives without being renewed: the longest gap after a power loss.
    "SCHEDULER_LEASE_SECONDS": seconds(10.0, most=YEAR),
    # Between two renewals; four of them may fail before the lease is lost.
    "SCHEDULER_RENEW_SECONDS": seconds(2.0),
    # How long before the lease's end its holder stops relying on it.
    "SCHEDULER_MARGIN_SECONDS": seconds(2.0, least=0),
    # Between two looks at the lease by a process that does not hold it; half of that where the
    # session lock makes a look cheap.
    "SCHEDULER_POLL_SECONDS": seconds(1.0),
    # What a further scheduler is: "refuse" lets its health check fail, "standby" calls it healthy.
    "SCHEDULER_SURPLUS": Setting(kind="choice", default="refuse", choices=("refuse", "standby")),
    # Whether the active scheduler keeps a lock in its session, so that its death is noticed at
    # once; useless behind a pooler in transaction mode.
    "SCHEDULER_SESSION_LOCK": Setting(kind="switch", default=True),
    # When the database ends a statement of the scheduler's own, or a transaction that idles because
    # the scheduler is frozen. Jobs are not limited.
    "SCHEDULER_STATEMENT_SECONDS": seconds(5.0),
    # Whether to listen for changes on PostgreSQL; needless behind a pooler in transaction mode.
    "SCHEDULER_LISTEN": Setting(kind="switch", default=True),
    # How long a process may give no sign of life before it counts as dead and its runs as lost.
    "SCHEDULER_DEAD_SECONDS": seconds(15.0, most=YEAR),
    # How long running jobs may take to finish after SIGTERM.
    "SCHEDULER_DRAIN_SECONDS": seconds(30.0, least=0, most=7 * DAY),
    # How long after SIGTERM the process is killed: stop_grace_period in compose.yaml,
    # stopwaitsecs of supervisor, terminationGracePeriodSeconds of Kubernetes.
    "SCHEDULER_STOP_GRACE_SECONDS": seconds(40.0, most=8 * DAY),
    # What a start does about declared jobs that are wrong: "skip" leaves out those alone, "refuse"
    # ends with exit 1. At night a restart with one bad file must not stop all other jobs.
    "SCHEDULER_ON_BAD_JOBS": Setting(kind="choice", default="skip", choices=("skip", "refuse")),
    # How long a starting scheduler waits for its database before it exits with 1.
    "SCHEDULER_DATABASE_WAIT_SECONDS": seconds(30.0, least=0),
    # How long the scheduling loop may be silent before it counts as hung.
    "SCHEDULER_HUNG_SECONDS": seconds(30.0),
    # Jobs that run at the same time.
    "SCHEDULER_THREADS": Setting(kind="whole", unit="threads", default=10, least=1, most=1000),
    # What the program that runs is called, an image's tag for example; empty for APScheduler's.
    "SCHEDULER_VERSION": Setting(),
    # Where the scheduler process answers probes; empty for nowhere.
    "SCHEDULER_HEALTH_ADDRESS": Setting(kind="address", default="127.0.0.1:8001"),
    # How late a run may start before it is recorded as missed, unless its job has a
    # misfire_grace_time of its own.
    "SCHEDULER_MISFIRE_GRACE_SECONDS": Setting(
        kind="whole", unit="seconds", default=3600, least=1, most=YEAR
    ),
    # The shortest interval of a schedule that an operation may set; 0 for no limit. Declared jobs
    # are not limited.
    "SCHEDULER_MIN_INTERVAL_SECONDS": Setting(
        kind="number", unit="seconds", default=0, least=0, most=YEAR
    ),
    # Decides for each job, beside permissions, whether a user may do something with it: a function
    # (user, verb, job) -> bool.
    "JOB_ACCESS": Setting(kind="path", default=""),
    # Says the same of "view" for many jobs at once: a function (user, jobs) -> jobs, of querysets.
    "JOB_ACCESS_QUERYSET": Setting(kind="path", default=""),
    # Names of arguments, and of keys inside of them, whose values are shown nowhere.
    "JOB_SECRET_ARGUMENTS": Setting(
        kind="patterns",
        default=(
            *("passw", "passphrase", "secret", "token", "credential", "authorization", "cookie"),
            *("api_?key", r"(^|_)key\Z"),
        ),
    ),
    # History: age in days, and rows kept of each job. Zero would delete all of it.
    "JOB_HISTORY_DAYS": Setting(kind="number", unit="days", default=30, least=1, most=36_500),
    "JOB_HISTORY_PER_JOB": Setting(kind="whole", unit="rows", default=1000, least=1),
    # How much of a job's result is kept; 0 keeps nothing.
    "JOB_HISTORY_RESULT_LENGTH": Setting(
        kind="whole", unit="characters", default=1000, most=1_000_000
    ),
    # How long the admin waits for a requested run before it shows it as running.
    "APSCHEDULER_RUN_NOW_TIMEOUT": seconds(5.0, least=0, most=3600),
    # A Django date format; empty for the site's own, with seconds.
    "APSCHEDULER_DATETIME_FORMAT": Setting(),
}


def get(name: str) -> Any:
    """Return the setting, or its default.

    :raises KeyError: for a name that is not in SETTINGS.
    :raises ImproperlyConfigured: for a wrong value, so that a typing error deletes nothing.
    """
    setting = SETTINGS[name]
    value = getattr(settings, name, setting.default)
    if not setting.accepts(value):
        raise ImproperlyConfigured(setting.refusal(name, value))
    return value
