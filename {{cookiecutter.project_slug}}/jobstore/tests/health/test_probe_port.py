"""Who looks at the schedulers sees that nobody answers probes, and why; the jobs run."""

import socket
import time
from collections.abc import Iterator

import pytest
from django.test import Client
from django.urls import reverse

from jobstore import registry
from jobstore.health import answers
from jobstore.models import DjangoJobExecution, SchedulerInstance
from jobstore.process.scheduler import SchedulerProcess
from jobstore.tests import callables
from jobstore.tests.conftest import eventually

pytestmark = pytest.mark.django_db(transaction=True)

NOT_ANSWERED = "Health checks are not answered: SCHEDULER_HEALTH_ADDRESS="


@pytest.fixture
def process(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[SchedulerProcess]:
    """What `runapscheduler` runs, not started."""
    monkeypatch.setattr(registry, "sync", lambda *args, **options: [])
    monkeypatch.setattr(answers, "BIND_RETRY_SECONDS", 0.2)
    one = SchedulerProcess()
    yield one
    if one.scheduler.running:
        one.stop()


def page(client: Client) -> str:
    return client.get(reverse("admin:jobstore_schedulerinstance_changelist")).content.decode()


def test_a_port_that_another_has_is_told_beside_the_process_until_it_is_free(
    process: SchedulerProcess, admin_client: Client
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        assert answers.serve(process, address) is None
        process.start()
        eventually(SchedulerInstance.objects.filter(role="active").exists)
        instance = SchedulerInstance.objects.get()
        assert f"{NOT_ANSWERED}{address} cannot be used" in instance.problem
        assert "give this one its own" in instance.problem
        assert NOT_ANSWERED in page(admin_client)
        process.scheduler.add_job(callables.note, "interval", seconds=0.2, id="job")
        eventually(DjangoJobExecution.objects.filter(status="Executed").exists)
    eventually(SchedulerInstance.objects.filter(problem="").exists)
    assert NOT_ANSWERED not in page(admin_client)


@pytest.mark.parametrize("address", ["nonsense", "192.0.2.1:8001"])
def test_an_address_that_cannot_be_used_is_told_and_the_process_is_fit(
    process: SchedulerProcess, address: str
) -> None:
    assert answers.serve(process, address) is None
    process.start()
    eventually(SchedulerInstance.objects.filter(role="active").exists)
    time.sleep(0.5)  # two renewals
    instance = SchedulerInstance.objects.get()
    assert (instance.role, instance.problem[: len(NOT_ANSWERED)]) == ("active", NOT_ANSWERED)
    assert process.elector.reason == ""
