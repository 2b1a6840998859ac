"""Reads what differs between machines from the environment and from `.env`.

Mistakes are collected, so that one start reports all of them: call `refuse_mistakes` when
everything has been read. No message shows a secret.
"""

import dataclasses
import difflib
import ipaddress
import os
import re
import zoneinfo
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from config import secretfile
from config.dotenv import read
from jobstore.conf import Setting, is_address

# Names with these prefixes are meant for this project: one that nothing reads is a mistake.
PREFIXES = ("APSCHEDULER_", "DATABASE_", "DJANGO_", "JOB_", "SCHEDULER_", "WEB_")
# Read by Django itself, by its commands or by compose.yaml.
ELSEWHERE = {
    *("DJANGO_ALLOW_ASYNC_UNSAFE", "DJANGO_AUTO_COMPLETE", "DJANGO_COLORS"),
    *("DJANGO_RUNSERVER_HIDE_WARNING", "DJANGO_SETTINGS_MODULE", "DJANGO_TEST_PROCESSES"),
    *("DJANGO_WATCHMAN_TIMEOUT", "WEB_PORT"),
}
SUPERUSER = re.compile(r"DJANGO_SUPERUSER_\w+")
# Variables that Kubernetes sets in each container for services named "scheduler" or "database".
OF_KUBERNETES = re.compile(r"\w+_(SERVICE_(HOST|PORT\w*)|PORT(_\d+_(TCP|UDP|SCTP)\w*)?)")

# Where Django looks for time zones, if the folder exists.
ZONES = Path("/usr/share/zoneinfo")

# A host name as a browser sends it. A dot in front includes subdomains.
HOST = r"(\[[0-9A-Fa-f:.]+\]|[^\s:/@\[\]?#*]+)"
ALLOWED_HOST = re.compile(rf"\*|{HOST}")
ORIGIN = re.compile(rf"https?://(\*\.)?{HOST}(:\d+)?")
# What gunicorn takes beside host:port.
OTHER_BIND = re.compile(r"unix:.+|fd://\d+")

QUOTED = re.compile(r"""(['"]).*\1""", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Variable:
    """A variable that the settings read: its values in words, and its default as in `.env`."""

    wanted: str = "text"
    default: str = ""


class Environment:
    """The variables of this process, and the mistakes that were found in them."""

    def __init__(self, file: Path) -> None:
        """Read the environment, and what `file` says and the environment does not."""
        self.known: dict[str, Variable] = {}
        self.problems: list[str] = []
        # Names whose value could not be read (reported already), and the files that were read.
        self.missed: set[str] = set()
        self.files: dict[str, Path] = {}
        self.folder = file.parent
        # NAME and NAME_FILE are one variable: in the environment, either one overrides the file.
        said = {name.removesuffix("_FILE") for name in os.environ}
        values, problems = read(file, but=said | {f"{name}_FILE" for name in said})
        self.problems += problems
        self._of_file = values
        self.variables = {**os.environ, **values}

    def raw(self, name: str, empty: bool = False, exact: bool = False) -> str | None:
        """Return a variable, or the content of the file that NAME_FILE names; None if unset.

        :param empty: whether such a file may be empty.
        :param exact: whether another program reads the file too, which strips line breaks only.
        """
        self.known.setdefault(name, Variable())
        place = self.variables.get(f"{name}_FILE", "").strip()
        if not place:
            return self.variables.get(name)
        problem = ""
        if self.variables.get(name):
            problem = (
                f"{name} and {name}_FILE are both set: remove one. compose.yaml reads secrets from "
                "files, since `docker inspect` shows what variables hold."
            )
        else:
            try:
                value = secretfile.read(self.folder / place, empty, exact)
            except ValueError as error:
                problem = f"{name}_FILE names {place!a}, which {error}"
        if problem:
            self.missed.add(name)
            self.problems.append(problem)
            return None
        self.files[name] = self.folder / place
        return value

    def get(self, name: str, setting: Setting, default: Any = None) -> Any:
        """Return a variable as its setting wants it, or a default when it is unset or wrong."""
        default = setting.default if default is None else default
        self._note(name, setting.wanted, default)
        text = self.raw(name)
        if text is None:
            return default
        try:
            return setting.parse(text)
        except ValueError:
            self.problems.append(setting.refusal(name, text))
            return default

    def text(self, name: str, default: str = "", wanted: str = "text") -> str:
        """Return a variable without the white space around it.

        :param wanted: what it must be like, for docs/settings.md.
        """
        self._note(name, wanted, default)
        return (self.raw(name) or default).strip()

    def switch(self, name: str, default: bool) -> bool:
        """Return whether a variable says yes."""
        return bool(self.get(name, Setting(kind="switch", default=default)))

    def whole(
        self, name: str, default: int, least: int = 0, most: int = 10**9, unit: str = ""
    ) -> int:
        """Return a variable that counts something."""
        kind = Setting(kind="whole", default=default, least=least, most=most, unit=unit)
        return int(self.get(name, kind))

    def choice(self, name: str, default: str, choices: Iterable[str]) -> str:
        """Return a variable that is one of a few words."""
        return str(self.get(name, Setting(kind="choice", default=default, choices=tuple(choices))))

    def items(self, name: str, default: Iterable[str] = ()) -> list[str]:
        """Return a comma-separated variable as a list, without white space and empty items.

        In a file, which may be empty, each item may have a line of its own.
        """
        self._note(name, "a comma-separated list", default)
        text = self.raw(name, empty=True)
        if text is None:
            return list(default)
        return [item for part in re.split(r"[,\n]", text) if (item := part.strip())]

    def _checked(
        self, name: str, default: Iterable[str], accepts: Callable[[str], Any], wanted: str
    ) -> list[str]:
        """Return a comma-separated variable as a list, or the default if an item is wrong."""
        self._note(name, wanted.replace("a list", "a comma-separated list"), default)
        found = self.items(name, default)
        wrong = next((item for item in found if not accepts(item)), None)
        if wrong is None:
            return found
        self.problems.append(f"{name} contains {wrong[:80]!a}; it must be {wanted}.")
        return list(default)

    def networks(self, name: str, default: Iterable[str] = ()) -> list[str]:
        """Return a comma-separated variable that lists addresses and networks, or * for all."""
        wanted = "a list of addresses and networks, such as 127.0.0.1,172.16.0.0/12"
        return self._checked(name, default, is_network, wanted)

    def hosts(self, name: str, default: Iterable[str]) -> list[str]:
        """Return a comma-separated variable that lists names under which the site is asked for."""
        wanted = "a list of names without https://, port and path, such as example.com"
        found = self._checked(name, default, ALLOWED_HOST.fullmatch, wanted)
        if not found:
            self.problems.append(f"{name} is empty; it must be {wanted}.")
        return found

    def origins(self, name: str) -> list[str]:
        """Return a comma-separated variable that lists origins: scheme, host, and perhaps port."""
        wanted = "a list of origins, with scheme and without path, such as https://example.com"
        return self._checked(name, (), ORIGIN.fullmatch, wanted)

    def binds(self, name: str, default: Iterable[str]) -> list[str]:
        """Return a comma-separated variable that lists where gunicorn listens."""
        wanted = "host:port with a port from 1 to 65535, such as 127.0.0.1:8000, or unix:/a/path"
        found = self._checked(name, default, is_bind, wanted)
        if not found:
            self.problems.append(f"{name} is empty; it must be {wanted}.")
        return found

    def zone(self, name: str, default: str) -> str:
        """Return a variable that is a name of the tz database."""
        self._note(name, "a name of the tz database", default)
        zone = (self.raw(name) or "").strip() if self.raw(name) is not None else default
        if is_zone(zone):
            return zone
        meant = difflib.get_close_matches(zone, zoneinfo.available_timezones(), n=1)
        hint = f"did you mean {meant[0]}" if meant else "such as Europe/Berlin, or UTC"
        self.problems.append(
            f"{name} is {zone[:80]!a}; it must be a name of the tz database: {hint}."
        )
        return default

    def secret(self, name: str, remedy: str) -> str:
        """Return a variable that must be set and is never shown; `remedy` says how to get one."""
        self._note(name, "text, never shown", "")
        raw = self.raw(name)
        value = (raw or "").strip()
        if not value and name not in self.missed:
            state = "is not set" if raw is None else "is empty"
            self.problems.append(f"{name} {state}. {remedy}")
        self._distrust(name, value)
        return value

    def password(self, name: str) -> str:
        """Return a variable that is never shown and may be unset; empty if it is.

        Its file is the one that the database's container reads as well.
        """
        self._note(name, "text, never shown", "")
        value = self.raw(name, exact=True) or ""
        self._distrust(name, value)
        return value

    def _note(self, name: str, wanted: str, default: Any) -> None:
        """Remember for docs/settings.md what a variable must be like, as it was first described."""
        if isinstance(default, bool):
            shown = "true" if default else "false"
        elif isinstance(default, (int, float)):
            shown = f"{default:.12g}"
        else:
            shown = default if isinstance(default, str) else ",".join(default)
        self.known.setdefault(name, Variable(wanted, shown))

    def _distrust(self, name: str, value: str) -> None:
        if QUOTED.fullmatch(value):
            # `docker run --env-file` takes quotes for a part of the value; Compose and .env do not.
            self.problems.append(f"{name} begins and ends with quotes: write it without them.")
        elif len(value.splitlines()) > 1:
            self.problems.append(f"{name} has more than one line: leave only the one that counts.")

    def refuse(self, problem: str) -> None:
        """Add a mistake that was found elsewhere: one sentence that says what would be right."""
        self.problems.append(problem)

    def refuse_mistakes(self) -> None:
        """Raise ImproperlyConfigured, one line for each mistake, if there were any.

        If there were none, the file's variables are put into the environment, for programs that
        this process starts. Otherwise they are not: Django imports settings that raised once more,
        and must find the same mistakes in the file.
        """
        if self.problems:
            raise ImproperlyConfigured("\n".join(dict.fromkeys(self.problems)))
        os.environ.update(self._of_file)

    def unknown(self) -> dict[str, str]:
        """Return names with this project's prefixes that nothing reads, and what each may mean."""
        names = {*self.known} | ELSEWHERE
        return {
            name: next(iter(difflib.get_close_matches(name, names, n=1, cutoff=0.8)), "")
            for name in sorted(os.environ)
            if name.startswith(PREFIXES)
            and name.removesuffix("_FILE") not in names
            and not SUPERUSER.fullmatch(name)
            and not OF_KUBERNETES.fullmatch(name)
        }


def is_network(text: str) -> bool:
    """Whether a text is an address, a network, or * for all."""
    try:
        return text == "*" or bool(ipaddress.ip_network(text))
    except ValueError:
        return False


def is_bind(text: str) -> bool:
    """Whether gunicorn can listen there; port 0 is any that is free."""
    host, _, port = text.rpartition(":")
    return bool(OTHER_BIND.fullmatch(text)) or is_address(f"{host}:1" if port == "0" else text)


def is_zone(name: str) -> bool:
    """Whether Python and Django know a time zone."""
    try:
        zoneinfo.ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # a folder, a path, or nothing
        return False
    return not ZONES.exists() or ZONES.joinpath(*name.split("/")).is_file()
