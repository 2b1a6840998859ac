"""The tables come and go, and there is a migration for each of their columns."""

from collections.abc import Iterator

import pytest
from django.core.management import call_command
from django.db import connection

from jobstore.models import DjangoJob, DjangoJobExecution, SchedulerLease, database_now

pytestmark = pytest.mark.django_db(transaction=True)


def tables() -> set[str]:
    return {name for name in connection.introspection.table_names() if name.startswith("jobstore_")}


@pytest.fixture(autouse=True)
def _leave_tables() -> Iterator[None]:
    """Have every table again after a test."""
    yield
    call_command("migrate", verbosity=0)


def test_no_migration_is_missing() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_everything_can_be_taken_back_and_made_again() -> None:
    before = tables()
    assert len(before) == 6
    call_command("migrate", "jobstore", "zero", verbosity=0)
    assert tables() == set()
    call_command("migrate", "jobstore", verbosity=0)
    assert tables() == before


def test_what_is_stored_does_not_keep_tables_from_being_taken_back() -> None:
    now = database_now("default")
    DjangoJob.objects.create(id="job", job_state=b"")
    DjangoJobExecution.objects.create(job_id="job", status="Executed", run_time=now)
    DjangoJobExecution.objects.create(job_id="gone", status="Executed", run_time=now)
    SchedulerLease.objects.create()
    call_command("migrate", "jobstore", "zero", verbosity=0)
    call_command("migrate", "jobstore", verbosity=0)
    assert not DjangoJob.all_objects.exists()
    assert not DjangoJobExecution.objects.exists()
