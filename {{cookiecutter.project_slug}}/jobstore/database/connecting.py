"""Says in one sentence why a database cannot be used, and what to do."""

import os
import re
from pathlib import Path

from django.db import connections

from jobstore.texts import flattened

REFUSED = re.compile(
    r"password authentication failed|no password supplied|Access denied for user|\(1045\b"
)
UNKNOWN = re.compile(r'database "[^"]*" does not exist|Unknown database|\(1049\b')
SILENT = re.compile(
    r"Connection refused|could not translate|Name or service not known|failed to resolve"
    r"|timeout expired|Temporary failure in name resolution|Network is unreachable|No route to host"
    r"|Can't connect|Unknown (MySQL |MariaDB )?server host|\(200[235]\b"
)
FOREIGN_FILE = re.compile(r"file is not a database")
UNWRITABLE = re.compile(r"unable to open database file|readonly database")


def explain(error: Exception, using: str = "default") -> str | None:
    """Return a sentence for an error of connecting; None for an error of another kind.

    :param using: alias of the database that the error came from.
    """
    text = flattened(error, limit=10_000)
    settings = connections[using].settings_dict
    port = f":{settings['PORT']}" if settings["PORT"] else ""
    place = f"{settings['HOST']}{port}" if settings["HOST"] else str(settings["NAME"])
    if REFUSED.search(text):
        return (
            f"The database at {place} refused the password of user {settings['USER']!r}. In "
            "containers its volume keeps the password that it was first filled with: put that one "
            "back into .secrets/database_password; or, if nothing in the volume is needed, remove "
            "it with `docker compose down --volumes` and start again."
        )
    if UNKNOWN.search(text):
        return (
            f"There is no database {settings['NAME']!r} at {place}: create it, or correct the name "
            "at the end of DATABASE_URL."
        )
    if SILENT.search(text):
        return (
            f"The database at {place} does not answer: {text}. Check that it runs and that "
            "DATABASE_URL is right."
        )
    if UNWRITABLE.search(text):
        return (
            f"SQLite cannot write {settings['NAME']}: the file and its folder must belong to user "
            f"{os.geteuid()} of this process, on the host as well if they are mounted from there: "
            f"`chown -R {os.geteuid()}:{os.getegid()} {Path(settings['NAME']).parent}`. "
            "If the file should be another, correct DATABASE_URL."
        )
    if FOREIGN_FILE.search(text):
        return (
            f"{settings['NAME']} is not a SQLite database: correct DATABASE_URL, or move the "
            "file away."
        )
    return None
