"""Reads DATABASE_URL. Errors say what is wrong with it, and never show its password."""

import contextlib
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import environ

SCHEMES = ("postgres", "postgresql", "mysql", "sqlite")
# Other schemes that people write, and the ones that they mean.
MEANT = {
    **dict.fromkeys(("mariadb", "mysql2", "mysql+pymysql", "mysql+mysqldb"), "mysql"),
    **dict.fromkeys(("pgsql", "psql", "pg", "postgresql+psycopg", "postgis"), "postgres"),
    **dict.fromkeys(("sqlite3", "file"), "sqlite"),
}
EXAMPLES = "postgres://user:password@host:5432/name, mysql://user:password@host:3306/name or sqlite:////data/db.sqlite3"
ESCAPES = "/ as %2F, ? as %3F, # as %23, @ as %40, : as %3A, [ as %5B, % as %25"
ENCODE = f"characters such as these must be percent-encoded in its user and password: {ESCAPES}"


def parse(url: str, folder: Path) -> dict[str, Any]:
    """Return Django's settings of the database that a URL names.

    :param folder: the folder that a relative path of SQLite starts from.
    :raises ValueError: with a sentence that begins with what is wrong; it never shows the URL.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or re.search(r"\s", url):
        raise ValueError(f"is not a URL; it must be like {EXAMPLES}.")
    if scheme not in SCHEMES:
        meant = MEANT.get(scheme.lower(), scheme.lower())
        hint = f"did you mean {meant}://" if meant in SCHEMES else f"it must be like {EXAMPLES}"
        raise ValueError(f"begins with {scheme[:20]!a}://, which is not known; {hint}.")
    return _file(rest, folder) if scheme == "sqlite" else _server(url, rest)


def _file(rest: str, folder: Path) -> dict[str, Any]:
    if not rest.startswith("/"):
        raise ValueError(
            "has two slashes; write sqlite:///var/db.sqlite3 for a path from the project's folder, "
            "or sqlite:////data/db.sqlite3 for one from the root."
        )
    name, _, options = rest[1:].partition("?")
    if not name or name.endswith(("/", ":memory:")):
        raise ValueError("names no file; write for example sqlite:////data/db.sqlite3.")
    waits = re.fullmatch(r"timeout=(\d{1,5})", options)
    if (options and not waits) or "#" in name or re.search(r"%(?![0-9A-Fa-f]{2})", name):
        raise ValueError(
            "has a ?, # or % in its path; write ? as %3F, # as %23 and % as %25. Behind a ? only "
            "timeout=20 is known, the seconds to wait for another process that writes."
        )
    settings = {"ENGINE": "django.db.backends.sqlite3", "NAME": folder / unquote(name)}
    return settings | {"OPTIONS": {"timeout": int(waits[1])} if waits else {}}


def keep_private(file: Path) -> None:
    """Create a file for SQLite that only its owner can read; SQLite itself would let everybody.

    SQLite gives the files beside it (-wal, -shm) the same mode. An existing file is left alone. If
    the file cannot be created, a system check reports it.
    """
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def _server(url: str, rest: str) -> dict[str, Any]:
    # As a URL is read: the user and the host end at the first of these.
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    account, at, _ = authority.rpartition("@")
    path = rest[len(authority) :]
    odd = re.search(r"[@\[\]]|%(?![0-9A-Fa-f]{2})", account)
    if odd or "@" in path or "#" in rest or (not at and "@" in rest):
        raise ValueError(f"cannot be read: {ENCODE}.")
    try:
        settings: dict[str, Any] = environ.Env.db_url_config(url)
    except ValueError:
        raise ValueError(
            f"cannot be read: its host or its port (up to 65535) is wrong, or {ENCODE}."
        ) from None
    if not settings["NAME"]:
        raise ValueError("names no database; write its name at the end, such as @host:5432/name.")
    return settings
