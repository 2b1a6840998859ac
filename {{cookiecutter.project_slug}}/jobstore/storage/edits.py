"""The parts of a job that operators changed; deploys keep them until the code changes these parts.

The column `edited` names each changed part, with a digest of what the code declared at the time. A
declaration in which that part differs from the digest takes effect.
"""

import hashlib
from collections.abc import Iterable
from typing import Any

from apscheduler.job import Job

from jobstore.models import DjangoJob
from jobstore.storage import replacement, serializer

OPTIONS = ("name", "executor", "coalesce", "max_instances", "misfire_grace_time")
PARTS = ("schedule", "arguments", *OPTIONS, "on_lost")
# Characters of a digest. A few are enough, since only two texts of one part are compared.
LENGTH = 12


def parts(row: DjangoJob) -> list[str]:
    """Return the names of the parts of a job that an operator has changed."""
    return list(_parsed(row.edited))


def noted(row: DjangoJob, before: Job, after: Job, on_lost: str) -> str:
    """Return the column `edited` after an operator's change.

    A part that is again as the code declares it does not count as edited.

    :param before: the stored job.
    :param after: the job as it is to be stored, with this `on_lost`.
    """
    known = _parsed(row.edited)
    old, new = _digests(before, row.on_lost), _digests(after, on_lost)
    for part in PARTS:
        if old[part] != new[part]:
            known.setdefault(part, old[part])
        if known.get(part) == new[part]:
            del known[part]
    return _text(known)


def keep(job: Job, on_lost: str, stored: DjangoJob) -> tuple[str, str]:
    """Give a job that replaces a stored one the parts that operators changed and the code did not.

    :param on_lost: the value that the code declares.
    :return: the columns `edited` and `on_lost`.
    """
    known = _parsed(stored.edited)
    if not known:
        return "", on_lost
    try:
        edited = serializer.restore(stored)
    except serializer.UnreadableState:
        return "", on_lost
    now = _digests(job, on_lost)
    kept = {part: digest for part, digest in known.items() if now[part] == digest}
    for part in kept:
        if part == "schedule":
            job.trigger = edited.trigger
        elif part == "arguments":
            job.args, job.kwargs = edited.args, edited.kwargs
        elif part == "on_lost":
            on_lost = stored.on_lost
        else:
            setattr(job, part, getattr(edited, part))
    return _text(kept), on_lost


def _digests(job: Job, on_lost: str) -> dict[str, str]:
    texts: dict[str, Any] = {
        "schedule": replacement.identity(job.trigger),
        # Arguments belong to a function: another function gets those of the code.
        "arguments": (job.func_ref, list(job.args), dict(job.kwargs)),
        "on_lost": str(on_lost),
        **{name: getattr(job, name) for name in OPTIONS},
    }
    return {part: _digest(repr(value)) for part, value in texts.items()}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:LENGTH]


def _parsed(text: str) -> dict[str, str]:
    pairs: Iterable[list[str]] = (one.split("=") for one in text.split() if "=" in one)
    return {name: digest for name, digest in pairs if name in PARTS}


def _text(known: dict[str, str]) -> str:
    return " ".join(f"{part}={known[part]}" for part in PARTS if part in known)
