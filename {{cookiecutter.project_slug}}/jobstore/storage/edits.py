"""The parts of a job that operators changed; deploys keep them until the code changes these parts.

The column `edited` names each changed part, with a digest of what the code declared at the time. A
declaration in which that part differs from the digest takes effect.
"""

import hashlib
from collections.abc import Iterable
from typing import Any

from apscheduler.job import Job

from jobstore import job_options
from jobstore.models import DjangoJob
from jobstore.storage import replacement, serializer

OPTIONS = ("name", "executor", "coalesce", "max_instances", "misfire_grace_time")
PARTS = ("schedule", "arguments", *OPTIONS, *job_options.NAMES)
# Characters of a digest. A few are enough, since only two texts of one part are compared.
LENGTH = 12


def parts(row: DjangoJob) -> list[str]:
    """Return the names of the parts of a job that an operator has changed."""
    return list(_parsed(row.edited))


def noted(row: DjangoJob, before: Job, after: Job, own: job_options.Values) -> str:
    """Return the column `edited` after an operator's change.

    A part that is again as the code declares it does not count as edited.

    :param before: the stored job.
    :param after: the job as it is to be stored, with these options of its `own`.
    """
    known = _parsed(row.edited)
    old, new = _digests(before, job_options.of(row)), _digests(after, own)
    for part in PARTS:
        if old[part] != new[part]:
            known.setdefault(part, old[part])
        if known.get(part) == new[part]:
            del known[part]
    return _text(known)


def keep(job: Job, own: job_options.Values, stored: DjangoJob) -> tuple[str, job_options.Values]:
    """Give a job that replaces a stored one the parts that operators changed and the code did not.

    :param own: the options of `jobstore.job_options` that the code declares.
    :return: the column `edited`, and those options as they are to be stored.
    """
    known = _parsed(stored.edited)
    if not known:
        return "", own
    try:
        edited = serializer.restore(stored)
    except serializer.UnreadableState:
        return "", own
    now, own = _digests(job, own), dict(own)
    kept = {part: digest for part, digest in known.items() if now[part] == digest}
    for part in kept:
        if part == "schedule":
            job.trigger = edited.trigger
        elif part == "arguments":
            job.args, job.kwargs = edited.args, edited.kwargs
        elif part in own:
            own[part] = getattr(stored, part)
        else:
            setattr(job, part, getattr(edited, part))
    return _text(kept), own


def _digests(job: Job, own: job_options.Values) -> dict[str, str]:
    texts: dict[str, Any] = {
        "schedule": replacement.identity(job.trigger),
        # Arguments belong to a function: another function gets those of the code.
        "arguments": (job.func_ref, list(job.args), dict(job.kwargs)),
        **{name: getattr(job, name) for name in OPTIONS},
        **own,
    }
    return {part: _digest(repr(value)) for part, value in texts.items()}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:LENGTH]


def _parsed(text: str) -> dict[str, str]:
    pairs: Iterable[list[str]] = (one.split("=") for one in text.split() if "=" in one)
    return {name: digest for name, digest in pairs if name in PARTS}


def _text(known: dict[str, str]) -> str:
    return " ".join(f"{part}={known[part]}" for part in PARTS if part in known)
