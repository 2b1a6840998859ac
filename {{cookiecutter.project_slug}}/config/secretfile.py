"""Reads a value from a file of its own, such as a mounted secret."""

import errno
import os
from pathlib import Path

# What to do about a file that cannot be read, by the number of the error.
REMEDIES = {
    errno.EACCES: " for user {user}. In a container, give the file mode 644 so that this user "
    "can read it; mode 700 of its folder on the host keeps others out",
    errno.EISDIR: ": Docker makes a folder of a mounted file that does not exist",
}


def read(file: Path, empty: bool = False, exact: bool = False) -> str:
    """Return what a file holds, without white space around it.

    :param empty: whether it may hold nothing.
    :param exact: whether a database's container reads it too, which strips line breaks only.
    :raises ValueError: with words that follow "which"; they never show what the file holds.
    """
    try:
        # As bytes, since reading text would hide how its lines end.
        text = file.read_bytes().decode()
    except OSError as error:
        remedy = REMEDIES.get(error.errno or 0, "").format(user=os.geteuid())
        raise ValueError(f"cannot be read: {error.strerror}{remedy}.") from None
    except ValueError:
        raise ValueError("cannot be read: it is not text in UTF-8.") from None
    value = text.removeprefix("\ufeff").strip()
    if not value and not empty:
        raise ValueError("is empty: write the value into it.")
    if exact and value != text.rstrip("\n"):
        raise ValueError(
            "contains more than the value: white space, a Windows line end, or a byte order "
            "mark. The database's container would take that for a part of the value. Write "
            "nothing but the value."
        )
    return value
