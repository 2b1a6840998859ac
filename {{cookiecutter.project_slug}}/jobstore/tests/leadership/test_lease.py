"""One holder at a time, an epoch that only grows, by the database's clock."""

import datetime as dt
import uuid

import pytest

from jobstore.leadership import lease
from jobstore.models import SchedulerLease, database_now

pytestmark = pytest.mark.django_db

US, THEM = uuid.uuid4(), uuid.uuid4()


def acquire(instance: uuid.UUID) -> lease.Term | None:
    return lease.acquire(instance, "default").term


def expire() -> None:
    past = database_now("default") - dt.timedelta(seconds=1)
    SchedulerLease.objects.update(expires_at=past)


def test_the_first_to_ask_gets_it() -> None:
    assert acquire(US) == lease.Term(US, 1)


def test_the_second_is_told_who_holds_it() -> None:
    acquire(US)
    view = lease.acquire(THEM, "default")
    assert view.term is None
    assert view.holder == str(US)


def test_an_expired_lease_is_taken_over_with_the_next_epoch() -> None:
    acquire(US)
    expire()
    assert acquire(THEM) == lease.Term(THEM, 2)


def test_renewing_prolongs_it() -> None:
    term = acquire(US)
    assert term is not None
    soon = database_now("default") + dt.timedelta(milliseconds=100)
    SchedulerLease.objects.update(expires_at=soon)
    assert lease.renew(term, "default").term == term
    renewed = SchedulerLease.objects.get()
    assert renewed.expires_at is not None
    assert renewed.expires_at > soon + dt.timedelta(seconds=1)


def test_an_expired_lease_cannot_be_renewed() -> None:
    term = acquire(US)
    assert term is not None
    expire()
    assert lease.renew(term, "default").term is None


def test_a_lease_that_was_taken_over_cannot_be_renewed() -> None:
    term = acquire(US)
    assert term is not None
    expire()
    acquire(THEM)
    assert lease.renew(term, "default").term is None


def test_a_released_lease_is_free_at_once() -> None:
    term = acquire(US)
    assert term is not None
    assert lease.release(US, "default")
    assert acquire(THEM) == lease.Term(THEM, 2)


def test_only_the_holder_can_release_it() -> None:
    acquire(US)
    assert not lease.release(THEM, "default")
    assert acquire(THEM) is None


def test_a_renewal_between_look_and_take_over_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    term = acquire(US)
    assert term is not None
    expire()

    def renewed_meanwhile(using: str) -> dt.datetime:
        now = database_now(using)
        SchedulerLease.objects.update(expires_at=now + dt.timedelta(seconds=10))
        return now

    monkeypatch.setattr(lease, "database_now", renewed_meanwhile)
    assert acquire(THEM) is None


def test_a_holder_that_is_silent_is_relieved_although_the_clock_says_otherwise() -> None:
    """A database's clock that was set back puts the lease's end far into the future."""
    acquire(US)
    seen = SchedulerLease.objects.get()
    silent = (seen.epoch, seen.expires_at)
    assert lease.acquire(THEM, "default", silent=silent).term == lease.Term(THEM, 2)


def test_a_holder_that_was_silent_and_renews_again_keeps_it() -> None:
    term = acquire(US)
    assert term is not None
    seen = SchedulerLease.objects.get()
    lease.renew(term, "default")
    silent = (seen.epoch, seen.expires_at)
    assert lease.acquire(THEM, "default", silent=silent).term is None


def test_an_epoch_never_goes_below_one_that_was_seen() -> None:
    """A replica that becomes the primary may lack the last commits."""
    acquire(US)
    expire()
    assert lease.acquire(THEM, "default", above=7).term == lease.Term(THEM, 8)
