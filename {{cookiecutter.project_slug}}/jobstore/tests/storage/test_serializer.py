"""A stored job comes back as it was; what others wrote is never unpickled."""

import base64
import datetime as dt
import enum
import functools
import pickle
from typing import Any

import pytest
from apscheduler.schedulers.background import BackgroundScheduler
from django.core import signing as django_signing
from pytest_django.fixtures import Settings

from jobstore.models import DjangoJob
from jobstore.storage import serializer, signing
from jobstore.tests import callables

ANOTHER_KEY = "a-new-key-of-quite-some-length-0123456789-0123456789"


def job(func: Any = callables.note, **options: Any) -> Any:
    scheduler = BackgroundScheduler(timezone="UTC")
    return scheduler.add_job(func, "interval", minutes=1, id="job", **options)


def complete(added: Any) -> Any:
    """Return the job with the values that a scheduler fills in when it stores one."""
    added._modify(
        executor="default", max_instances=1, coalesce=True, misfire_grace_time=1, next_run_time=None
    )
    return added


def stored(added: Any) -> DjangoJob:
    """Return the row of a job, without a database."""
    return DjangoJob(pk=added.id, **serializer.values(complete(added)))


def former(added: Any) -> DjangoJob:
    """Return the row of a job whose state was signed alone, as the first versions did."""
    row = stored(added)
    encoded = base64.b64encode(signing.verified(row)).decode()
    signer = django_signing.Signer(salt=signing.FORMER_SALT)
    row.job_state = f"{encoded}:{signer.signature(f'3:job:{encoded}')}".encode()
    return row


def test_a_job_comes_back_with_its_arguments() -> None:
    loaded = serializer.load(stored(job(args=["grüß"], kwargs={})))
    assert (loaded["func"], list(loaded["args"])) == ("jobstore.tests.callables:note", ["grüß"])


class Exploit:
    """Unpickling this would show."""

    def __reduce__(self) -> tuple[Any, ...]:
        return callables.note, ("exploited",)


MARK = b"0123456789ab:"


@pytest.mark.parametrize(
    "foreign",
    [
        pytest.param(pickle.dumps(Exploit()), id="plain pickle"),
        pytest.param(MARK + base64.b64encode(pickle.dumps(Exploit())) + b":sign", id="forged"),
        pytest.param(base64.b64encode(pickle.dumps(Exploit())) + b":sign", id="former and forged"),
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff:\xff:\xff", id="no text"),
    ],
)
def test_what_is_not_signed_is_not_unpickled(foreign: bytes) -> None:
    row = stored(job())
    row.job_state = foreign
    with pytest.raises(serializer.UnreadableState, match="signature"):
        serializer.load(row)
    with pytest.raises(serializer.UnreadableState, match="signature"):
        serializer.columns_of_former(row)
    assert callables.calls == []


def test_a_known_mark_does_not_make_a_forged_signature_good() -> None:
    row = stored(job())
    mark, _, signature = bytes(row.job_state).split(b":")
    row.job_state = b":".join([mark, base64.b64encode(pickle.dumps(Exploit())), signature])
    with pytest.raises(serializer.UnreadableState, match="changed from outside"):
        serializer.load(row)
    assert callables.calls == []


def test_the_state_of_another_job_is_refused() -> None:
    row = stored(job())
    row.pk = "another"
    with pytest.raises(serializer.UnreadableState, match="signature"):
        serializer.load(row)


def test_the_state_of_a_job_whose_id_goes_on_is_refused() -> None:
    whole = stored(job())
    mark, encoded, signature = bytes(whole.job_state).split(b":")
    part = stored(job())
    part.pk, part.job_state = "jo", b":".join([mark, b"b" + encoded, signature])
    with pytest.raises(serializer.UnreadableState, match="signature"):
        serializer.load(part)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"func": "os:system"}, id="function"),
        pytest.param({"arguments": "'something else'"}, id="arguments"),
        pytest.param({"trigger": "interval[1 day]"}, id="trigger"),
        pytest.param({"executor": "other"}, id="executor"),
        pytest.param({"coalesce": False}, id="coalesce"),
        pytest.param({"max_instances": 7}, id="max_instances"),
        pytest.param({"misfire_grace_time": 7}, id="misfire_grace_time"),
        pytest.param({"misfire_grace_time": None}, id="no misfire_grace_time"),
    ],
)
def test_a_row_that_shows_what_does_not_belong_to_its_state_is_refused(
    change: dict[str, Any],
) -> None:
    row = stored(job(args=["something"]))
    for name, value in change.items():
        setattr(row, name, value)
    with pytest.raises(serializer.UnreadableState, match="what is shown"):
        serializer.load(row)


def test_an_older_state_of_the_same_job_is_refused() -> None:
    older, newer = stored(job(args=["old"])), stored(job(args=["new"]))
    newer.job_state = older.job_state
    with pytest.raises(serializer.UnreadableState, match="what is shown"):
        serializer.load(newer)


def test_the_end_of_one_column_does_not_pass_for_the_beginning_of_the_next() -> None:
    row = stored(job(args=["something"]))
    row.func, row.arguments = row.func + row.arguments[:1], row.arguments[1:]
    with pytest.raises(serializer.UnreadableState, match="what is shown"):
        serializer.load(row)


def test_a_name_is_a_label_that_may_be_changed() -> None:
    row = stored(job())
    row.name = "harmless"
    assert serializer.load(row)["id"] == "job"


def test_when_a_job_runs_is_not_signed_so_that_it_can_be_paused() -> None:
    row = stored(job())
    row.next_run_time = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    assert serializer.restore(row).next_run_time == row.next_run_time
    row.next_run_time = None
    assert serializer.restore(row).next_run_time is None


def test_an_old_key_still_verifies_as_fallback(settings: Settings) -> None:
    row = stored(job())
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = ANOTHER_KEY
    assert serializer.load(row)["id"] == "job"
    assert signing.signed_by(row) == "fallback"


def test_a_new_key_without_the_old_one_is_explained(settings: Settings) -> None:
    row = stored(job())
    settings.SECRET_KEY = ANOTHER_KEY
    with pytest.raises(serializer.UnreadableState, match="SECRET_KEY_FALLBACKS"):
        serializer.load(row)
    assert signing.signed_by(row) == "unknown"


def test_the_mark_of_a_key_is_neither_the_key_nor_another_s(settings: Settings) -> None:
    first = signing.known_keys()[0].mark
    assert first not in settings.SECRET_KEY and len(first) == signing.MARK_LENGTH
    settings.SECRET_KEY = ANOTHER_KEY
    assert signing.known_keys()[0].mark != first


def test_a_state_of_the_former_format_is_not_run_but_can_be_signed_anew() -> None:
    row = former(job(args=["something"]))
    row.arguments = "'shown by whoever wrote to the table'"
    with pytest.raises(serializer.UnreadableState, match="sign_jobs_anew"):
        serializer.load(row)
    for name, value in serializer.columns_of_former(row).items():
        setattr(row, name, value)
    assert row.arguments == "'something'"
    assert list(serializer.load(row)["args"]) == ["something"]


def test_a_lambda_is_refused_with_advice() -> None:
    with pytest.raises(ValueError, match="top level of a module"):
        serializer.values(complete(job(lambda: None)))


def test_an_argument_that_cannot_be_pickled_is_refused_with_advice() -> None:
    with pytest.raises(ValueError, match="primary key"):
        serializer.values(complete(job(args=[callables.release])))


class Doubled:
    """A decorator that leaves an object in the place of a function."""

    def __init__(self, func: Any) -> None:
        functools.update_wrapper(self, func)

    def __call__(self) -> None:
        """Do nothing."""


@functools.lru_cache
def cached() -> None:
    """Do nothing."""


@pytest.mark.parametrize("func", [cached, Doubled(callables.note)], ids=["lru_cache", "an object"])
def test_a_function_that_would_not_be_found_again_is_refused_with_advice(func: Any) -> None:
    with pytest.raises(ValueError, match="give the reference to it as text"):
        serializer.values(complete(job(func)))
    by_text = stored(job("jobstore.tests.storage.test_serializer:cached"))
    assert serializer.restore(by_text).func is cached


class Names(str, enum.Enum):  # noqa: UP042 - the kind that formats as its member's name
    """Texts that are members of an Enum."""

    QUICK = "quick"


@pytest.mark.parametrize("name", [Names.QUICK, "quick"])
def test_text_that_is_a_member_of_an_enum_is_signed_as_it_is_stored(name: str) -> None:
    scheduler = BackgroundScheduler(timezone="UTC")
    added = complete(scheduler.add_job(callables.note, "interval", minutes=1, id=name))
    added._modify(executor=name)
    row = DjangoJob(pk="quick", **serializer.values(added))
    row.executor = "quick"  # as it comes from the database
    assert serializer.restore(row).func is callables.note


def test_an_id_that_is_too_long_is_refused() -> None:
    scheduler = BackgroundScheduler(timezone="UTC")
    long = scheduler.add_job(callables.note, "interval", minutes=1, id="x" * 256)
    with pytest.raises(ValueError, match="at most 255"):
        serializer.values(complete(long))


@pytest.mark.parametrize("job_id", ["a\x00b", "a\ud800b"])
def test_an_id_that_no_database_stores_is_refused(job_id: str) -> None:
    scheduler = BackgroundScheduler(timezone="UTC")
    odd = scheduler.add_job(callables.note, "interval", minutes=1, id=job_id)
    with pytest.raises(ValueError, match="character"):
        serializer.values(complete(odd))


def test_a_module_that_ends_the_process_makes_a_job_unreadable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    (tmp_path / "ends_the_process.py").write_text("import sys\nsys.exit(3)\n")
    monkeypatch.syspath_prepend(tmp_path)
    added = complete(job())
    added.func_ref = "ends_the_process:run"
    with pytest.raises(serializer.UnreadableState, match=r"cannot be restored: SystemExit\(3\)"):
        serializer.restore(DjangoJob(pk="job", **serializer.values(added)))
