"""A stored job comes back as it was; what others wrote is never unpickled."""

import base64
import pickle
from typing import Any

import pytest
from apscheduler.schedulers.background import BackgroundScheduler
from pytest_django.fixtures import Settings

from jobstore import state
from tests import callables


def job(func: Any = callables.note, **options: Any) -> Any:
    scheduler = BackgroundScheduler(timezone="UTC")
    return scheduler.add_job(func, "interval", minutes=1, id="job", **options)


def complete(added: Any) -> Any:
    """Return the job with the values that a scheduler fills in when it stores one."""
    added._modify(
        executor="default", max_instances=1, coalesce=True, misfire_grace_time=1, next_run_time=None
    )
    return added


def test_a_job_comes_back_with_its_arguments() -> None:
    stored = state.dump(complete(job(args=["grüß"], kwargs={})))
    loaded = state.load("job", stored)
    assert (loaded["func"], list(loaded["args"])) == ("tests.callables:note", ["grüß"])


class Exploit:
    """Unpickling this would show."""

    def __reduce__(self) -> tuple[Any, ...]:
        return callables.note, ("exploited",)


@pytest.mark.parametrize(
    "foreign",
    [
        pytest.param(pickle.dumps(Exploit()), id="plain pickle"),
        pytest.param(base64.b64encode(pickle.dumps(Exploit())) + b":signature", id="forged"),
        pytest.param(b"", id="empty"),
    ],
)
def test_what_is_not_signed_is_not_unpickled(foreign: bytes) -> None:
    with pytest.raises(state.UnreadableState, match="signature"):
        state.load("job", foreign)
    assert callables.calls == []


def test_the_state_of_another_job_is_refused() -> None:
    with pytest.raises(state.UnreadableState, match="signature"):
        state.load("another", state.dump(complete(job())))


def test_the_state_of_a_job_whose_id_goes_on_is_refused() -> None:
    signed = state.sign("tenant:job", pickle.dumps(Exploit()))
    with pytest.raises(state.UnreadableState, match="signature"):
        state.load("tenant", b"job:" + signed)
    assert callables.calls == []


def test_an_old_key_still_verifies_as_fallback(settings: Settings) -> None:
    stored = state.dump(complete(job()))
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "a-new-key-of-quite-some-length-0123456789-0123456789"
    assert state.load("job", stored)["id"] == "job"


def test_a_new_key_without_the_old_one_is_explained(settings: Settings) -> None:
    stored = state.dump(complete(job()))
    settings.SECRET_KEY = "a-new-key-of-quite-some-length-0123456789-0123456789"
    with pytest.raises(state.UnreadableState, match="SECRET_KEY_FALLBACKS"):
        state.load("job", stored)


def test_a_lambda_is_refused_with_advice() -> None:
    with pytest.raises(ValueError, match="top level of a module"):
        state.dump(complete(job(lambda: None)))


def test_an_argument_that_cannot_be_pickled_is_refused_with_advice() -> None:
    with pytest.raises(ValueError, match="primary key"):
        state.dump(complete(job(args=[callables.release])))


def test_an_id_that_is_too_long_is_refused() -> None:
    scheduler = BackgroundScheduler(timezone="UTC")
    long = scheduler.add_job(callables.note, "interval", minutes=1, id="x" * 256)
    with pytest.raises(ValueError, match="at most 255"):
        state.dump(complete(long))


@pytest.mark.parametrize("job_id", ["a\x00b", "a\ud800b"])
def test_an_id_that_no_database_stores_is_refused(job_id: str) -> None:
    scheduler = BackgroundScheduler(timezone="UTC")
    odd = scheduler.add_job(callables.note, "interval", minutes=1, id=job_id)
    with pytest.raises(ValueError, match="character"):
        state.dump(complete(odd))
