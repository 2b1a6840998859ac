"""Signatures of stored jobs: what they cover, and which key made them.

A signature covers the job's id, its pickled state, and the columns that say what runs and how. So
somebody who can write to the table cannot make a job run something that is not shown, not even with
the state of another job, or an older state of the same job. The signature does not cover when the
job runs next, what becomes of a lost run, or whether the job is paused, retired or quarantined.

A stored state begins with a mark of its key, so that one query tells how many jobs an old key has
signed. The mark does not reveal the key: like each signature, it is an HMAC.
"""

import base64
import dataclasses
import enum
import functools
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Any

from django.conf import settings
from django.core import signing
from django.utils.encoding import force_bytes

# The columns that are signed, in this order. A name is only a label.
SHOWN = (
    "func",
    "arguments",
    "trigger",
    "executor",
    "coalesce",
    "max_instances",
    "misfire_grace_time",
)
MARK_LENGTH = 12

SALT = b"jobstore.signing"
FORMER_SALT = "jobstore.job_state"


class SignedBy(enum.StrEnum):
    """Which key has signed a state."""

    CURRENT = "current"
    FALLBACK = "fallback"
    FORMER = "former format"
    UNKNOWN = "unknown"


class BadSignature(Exception):
    """A signature that does not match the job and its columns; the text says why."""


@dataclasses.dataclass(frozen=True)
class Key:
    """A signing key, derived from a secret key, and the mark of its signatures."""

    secret: bytes
    mark: str


def known_keys() -> tuple[Key, ...]:
    """Return the key that signs, followed by those of SECRET_KEY_FALLBACKS."""
    return _keys(settings.SECRET_KEY, tuple(settings.SECRET_KEY_FALLBACKS))


def sign(job_id: str, pickled: bytes, shown: Mapping[str, Any]) -> bytes:
    """Return a pickled state with its signature, as it is stored for this job.

    :param shown: the job's columns as they are stored beside it.
    """
    encoded = base64.b64encode(pickled).decode()
    key = known_keys()[0]
    signature = _signature(key, job_id, encoded, [shown[name] for name in SHOWN])
    return f"{key.mark}:{encoded}:{signature}".encode()


def verified(row: Any) -> bytes:
    """Return the pickled state of a job's row. Unpickle only what this returns.

    :raises BadSignature: if the signature does not match; its text says what may be the reason.
    """
    mark, _, rest = bytes(row.job_state).decode("ascii", "replace").partition(":")
    encoded, _, signature = rest.partition(":")
    key = next((one for one in known_keys() if one.mark == mark), None)
    if key is None:
        raise BadSignature(_why_unknown(row))
    shown = [getattr(row, name) for name in SHOWN]
    expected = _signature(key, row.pk, encoded, shown)
    if not hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace")):
        raise BadSignature(
            "The signature of the stored state does not match: the row was changed from outside, "
            "so what is shown may differ from what would run."
        )
    return base64.b64decode(encoded)


def sign_run(pickled: bytes, named: Sequence[str]) -> bytes:
    """Return the pickled arguments of a single run as they are stored.

    :param named: the parts that identify this run, and the shown text of the arguments.
    """
    encoded = base64.b64encode(pickled).decode()
    key = known_keys()[0]
    return f"{key.mark}:{encoded}:{_digest(key, ['run', *named, encoded])}".encode()


def verified_run(stored: bytes, named: Sequence[str]) -> bytes:
    """Return the pickled arguments of a run. Unpickle only what this returns.

    :raises BadSignature: if they were not signed for this run by a key that is known here.
    """
    mark, _, rest = bytes(stored).decode("ascii", "replace").partition(":")
    encoded, _, signature = rest.partition(":")
    for key in known_keys():
        if key.mark == mark:
            expected = _digest(key, ["run", *named, encoded])
            if hmac.compare_digest(expected.encode(), signature.encode("utf-8", "replace")):
                return base64.b64decode(encoded)
    raise BadSignature(
        "The signature of this run's own arguments does not match: they were changed from outside, "
        "or the key that signed them is not known here."
    )


def verified_former(row: Any) -> bytes:
    """Return the pickled state of a row whose signature is of the old format.

    That format does not cover the columns: write them again, from the state.

    :raises BadSignature: if the signature does not match.
    """
    signed = f"{len(row.pk)}:{row.pk}:{bytes(row.job_state).decode('ascii', 'replace')}"
    signer = signing.Signer(
        key=settings.SECRET_KEY,
        fallback_keys=list(settings.SECRET_KEY_FALLBACKS),
        salt=FORMER_SALT,
    )
    try:
        return base64.b64decode(signer.unsign(signed).rpartition(":")[2])
    except signing.BadSignature:
        raise BadSignature(_why_unknown(row)) from None


def signed_by(row: Any) -> SignedBy:
    """Tell which key has signed a row, if its signature matches."""
    try:
        verified(row)
    except BadSignature:
        try:
            verified_former(row)
        except BadSignature:
            return SignedBy.UNKNOWN
        return SignedBy.FORMER
    is_current = bytes(row.job_state).startswith(known_keys()[0].mark.encode())
    return SignedBy.CURRENT if is_current else SignedBy.FALLBACK


def _why_unknown(row: Any) -> str:
    data = bytes(row.job_state)
    if data.count(b":") == 1:
        return (
            "The signature of the stored state is of a former format. The active scheduler signs "
            "such jobs anew when it starts; `manage.py sign_jobs_anew` does so without one."
        )
    return (
        "The signature of the stored state is of a key that is not known here: SECRET_KEY was "
        "changed without the old key in SECRET_KEY_FALLBACKS, or the row was changed from outside."
    )


def _signature(key: Key, job_id: str, encoded: str, shown: list[Any]) -> str:
    """Return the signature. Lengths keep the end of one value apart from the next value."""
    parts = [job_id, encoded]
    parts += [str(int(one)) if isinstance(one, int) else one or "" for one in shown]
    # A member of an Enum may format as another text than the one that is stored.
    return _digest(key, [str.__str__(part) for part in parts])


def _digest(key: Key, parts: Sequence[str]) -> str:
    message = "".join([f"{len(part)}:{part}" for part in parts])
    digest = hmac.digest(key.secret, message.encode("utf-8", "surrogatepass"), "sha256")
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


@functools.lru_cache(maxsize=4)
def _keys(key: str | bytes, fallbacks: tuple[str | bytes, ...]) -> tuple[Key, ...]:
    return tuple(_key(one) for one in (key, *fallbacks))


def _key(secret_key: str | bytes) -> Key:
    secret = hashlib.sha256(SALT + force_bytes(secret_key)).digest()
    return Key(secret, hmac.digest(secret, b"mark", "sha256").hex()[:MARK_LENGTH])
