"""A server may commit a claim long after its client has given up waiting for the reply."""

import threading
from typing import Any

import pytest
from django.db import OperationalError, connections, transaction
from pytest_django.fixtures import Settings

from jobstore.claims import claim as claims
from jobstore.claims import lost_replies
from jobstore.models import DjangoJob, DjangoJobExecution
from jobstore.tests import callables
from jobstore.tests.conftest import StartScheduler, eventually

Run = DjangoJobExecution


@pytest.mark.parametrize(
    ("lease", "statement", "seconds"), [(10.0, 5.0, 10.0), (10.0, 8.0, 16.0), (10.0, 1.0, 10.0)]
)
def test_a_late_commit_is_waited_for_as_long_as_the_settings_allow_one(
    settings: Settings, lease: float, statement: float, seconds: float
) -> None:
    settings.SCHEDULER_LEASE_SECONDS = lease
    settings.SCHEDULER_STATEMENT_SECONDS = statement
    assert lost_replies.late_commit().total_seconds() == seconds


class LateServer:
    """Carries out the first claim of a job, and commits it later; the reply is lost."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
        self.committed = threading.Event()
        self._seconds = seconds
        self._claim = claims.claim
        self._has_claimed = threading.Event()
        self._thread: threading.Thread | None = None
        monkeypatch.setattr(claims, "claim", self)

    def __call__(self, plans: Any, *args: Any) -> Any:
        if not plans or self._thread is not None:
            return self._claim(plans, *args)
        self._thread = threading.Thread(target=self._commit_late, args=(plans, *args))
        self._thread.start()
        assert self._has_claimed.wait(10)
        raise OperationalError("the reply was lost")

    def _commit_late(self, *args: Any) -> None:
        try:
            with transaction.atomic():
                assert self._claim(*args).moved
                self._has_claimed.set()
                threading.Event().wait(self._seconds)
            self.committed.set()
        finally:
            connections.close_all()

    def join(self) -> None:
        assert self._thread is not None
        self._thread.join()


@pytest.mark.django_db(transaction=True)
def test_a_claim_that_is_committed_after_the_lease_could_have_ended_is_taken_up(
    start_scheduler: StartScheduler, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SCHEDULER_STATEMENT_SECONDS = 6.0
    assert settings.SCHEDULER_LEASE_SECONDS == 2.0
    server = LateServer(monkeypatch, 7.0)
    start_scheduler().add_job(callables.note, "interval", seconds=1, id="job")
    eventually(server.committed.is_set, 30)
    server.join()
    first = Run.objects.filter(job="job").earliest("run_time")
    eventually(lambda: Run.objects.get(pk=first.pk).status == Run.SUCCESS, 20)
    DjangoJob.objects.all().retire()
    eventually(lambda: not Run.objects.filter(status=Run.RUNNING).exists())
    assert len(callables.calls) == Run.objects.filter(status=Run.SUCCESS).count()
