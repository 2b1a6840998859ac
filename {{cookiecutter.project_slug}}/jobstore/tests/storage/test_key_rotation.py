"""A secret key is changed without losing a job, and a wrong one does no harm."""

import contextlib
import datetime as dt
import json
import os
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from apscheduler.job import Job
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings

from jobstore.health import answers, status
from jobstore.jobstores import DjangoJobStore
from jobstore.leadership.lease import NotHolder
from jobstore.models import DjangoJob, DjangoJobExecution, SchedulerInstance, SchedulerLease
from jobstore.process.scheduler import SchedulerProcess
from jobstore.storage import key_rotation, signing
from jobstore.tests import callables
from jobstore.tests.conftest import StartScheduler, eventually
from jobstore.tests.processes import SchedulerCommand
from jobstore.tests.storage.test_serializer import former

pytestmark = pytest.mark.django_db

Run = DjangoJobExecution
Role = SchedulerInstance.Role

OLD, NEW = (f"{name}-key-of-quite-some-length-0123456789-0123456789" for name in ("old", "new"))
FUTURE = dt.datetime(2120, 1, 1, tzinfo=dt.UTC)


def free() -> None:
    """Is a fence that lets everybody pass."""


def add(job_id: str, when: dt.datetime | None = FUTURE) -> None:
    job = Job(
        BackgroundScheduler(timezone="UTC"),
        id=job_id,
        func=callables.note,
        trigger=IntervalTrigger(hours=1, start_date=FUTURE, timezone="UTC"),
        next_run_time=when,
        args=(job_id,),
        kwargs={},
        executor="default",
        misfire_grace_time=None,
        coalesce=True,
        max_instances=1,
    )
    DjangoJobStore().add_job(job)


@pytest.fixture
def rotate(settings: Settings) -> Any:
    """Return a function that sets the key, and its fallbacks."""

    def use(key: str, *fallbacks: str) -> None:
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = key, list(fallbacks)

    use(OLD)
    return use


def signed() -> set[str]:
    return {str(signing.signed_by(row)) for row in DjangoJob.all_objects.all()}


# --- Signing anew ---------------------------------------------------------------------------------


def test_what_a_fallback_signed_is_signed_anew_in_service_or_not(rotate: Any) -> None:
    for job_id in ("due", "paused", "retired", "quarantined"):
        add(job_id)
    DjangoJob.objects.get(pk="paused").pause()
    DjangoJob.objects.filter(pk="quarantined").update(quarantined_at=FUTURE)
    DjangoJob.objects.filter(pk="retired").retire()
    rotate(NEW, OLD)
    assert key_rotation.key_use("default") == key_rotation.KeyUse(fallback=4)
    assert key_rotation.sign_anew("default", free).signed == 4
    assert key_rotation.key_use("default") == key_rotation.KeyUse(current=4)
    rotate(NEW)
    assert signed() == {"current"}


def test_signing_anew_changes_nothing_but_the_signature(rotate: Any) -> None:
    add("job")
    before = DjangoJob.objects.values().get()
    rotate(NEW, OLD)
    key_rotation.sign_anew("default", free)
    after = DjangoJob.objects.values().get()
    assert after.pop("version") > before.pop("version")
    assert bytes(after.pop("job_state")) != bytes(before.pop("job_state"))
    assert after == before


def test_many_jobs_are_signed_anew_in_batches(rotate: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_rotation, "BATCH_JOBS", 3)
    for number in range(8):
        add(f"job-{number}")
    rotate(NEW, OLD)
    fences: list[int] = []
    assert key_rotation.sign_anew("default", lambda: fences.append(1)).signed == 8
    assert (len(fences), signed()) == (3, {"current"})


def test_a_process_that_lost_the_lease_in_between_signs_no_more(
    rotate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_rotation, "BATCH_JOBS", 1)
    add("a")
    add("b")
    rotate(NEW, OLD)
    passes = iter([True])

    def fence() -> None:
        if not next(passes, False):
            raise NotHolder

    with pytest.raises(NotHolder):
        key_rotation.sign_anew("default", fence)
    assert key_rotation.key_use("default") == key_rotation.KeyUse(current=1, fallback=1)


def test_what_cannot_be_verified_is_not_signed(rotate: Any) -> None:
    add("forged")
    DjangoJob.objects.update(arguments="'something else'")
    before = DjangoJob.objects.values().get()
    rotate(NEW, OLD)
    renewal = key_rotation.sign_anew("default", free)
    assert (renewal.signed, renewal.unreadable) == (0, ["forged"])
    assert DjangoJob.objects.values().get() == before


def test_jobs_of_the_former_format_are_signed_anew_as_they_would_run() -> None:
    from jobstore.tests.storage.test_serializer import job

    row = former(job(args=["something"]))
    row.arguments = "'shown by whoever wrote to the table'"
    row.save()
    assert key_rotation.key_use("default") == key_rotation.KeyUse(former=1)
    assert key_rotation.sign_anew("default", free).signed == 1
    assert signed() == {"current"}
    assert DjangoJob.objects.get().arguments == "'something'"


def test_one_query_counts_without_reading_the_states(rotate: Any) -> None:
    for number in range(3):
        add(f"job-{number}")
    with CaptureQueriesContext(
        connection,
    ) as captured:
        key_rotation.key_use("default")
    assert len(captured) <= 2


@pytest.mark.django_db(transaction=True)
def test_a_start_signs_anew_what_the_old_key_signed(
    rotate: Any, start_scheduler: StartScheduler
) -> None:
    add("added")
    rotate(NEW, OLD)
    start_scheduler()
    eventually(lambda: key_rotation.key_use("default") == key_rotation.KeyUse(current=1))


# --- What is said about it ------------------------------------------------------------------------


def said() -> str:
    output = StringIO()
    with contextlib.suppress(CommandError):  # no scheduler is active here
        call_command("scheduler_status", stdout=output)
    return output.getvalue()


def checked() -> dict[str, str]:
    found = run_checks(databases=["default"])
    return {str(one.id): one.msg for one in found if str(one.id).endswith("021")}


def test_status_and_check_say_that_a_former_key_is_still_needed(rotate: Any) -> None:
    add("job")
    rotate(NEW, OLD)
    assert "1 jobs are still signed by a former key" in said()
    assert "1 jobs are still signed by a former key" in checked()["jobstore.W021"]


def test_status_and_check_say_when_a_former_key_is_no_longer_needed(rotate: Any) -> None:
    add("job")
    rotate(NEW, OLD)
    key_rotation.sign_anew("default", free)
    assert "No job needs DJANGO_SECRET_KEY_FALLBACKS any more. Sessions" in said()
    assert list(checked()) == ["jobstore.I021"]


def test_status_and_check_say_that_a_key_is_missing(rotate: Any) -> None:
    add("job")
    rotate(NEW)
    assert "1 jobs are signed by a key that is not known here" in said()
    assert list(checked()) == ["jobstore.W021"]


def test_without_a_rotation_nothing_is_said(rotate: Any) -> None:
    add("job")
    assert "key" not in said() and checked() == {}


def test_scripts_are_told_in_numbers(rotate: Any) -> None:
    add("job")
    rotate(NEW, OLD)
    add("other")
    DjangoJob.objects.filter(pk="other").update(quarantined_at=FUTURE)
    output = StringIO()
    with contextlib.suppress(CommandError):
        call_command("scheduler_status", "--json", stdout=output)
    seen = json.loads(output.getvalue())
    assert seen["signed_by"] == {"current": 1, "fallback": 1, "former": 0, "unknown": 0}
    assert seen["quarantined"] == seen["jobs"]["quarantined"] == 1
    assert "Jobs in quarantine: 1" in " ".join(seen["advice"])


@pytest.mark.django_db(transaction=True)
def test_jobs_in_quarantine_are_counted_but_are_no_outage(
    start_scheduler: StartScheduler, rotate: Any
) -> None:
    add("job", dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    DjangoJob.objects.update(job_state=b"rubbish", quarantined_at=FUTURE)
    scheduler = start_scheduler()
    eventually(lambda: scheduler._jobstores["default"]._dispatcher._begun_epoch)
    seen = status.verdict("default")
    assert (seen["status"], seen["quarantined"], seen["due_lag"]) == ("ok", 1, 0.0)


# --- The command ----------------------------------------------------------------------------------


def command(*arguments: str) -> str:
    output = StringIO()
    call_command("sign_jobs_anew", *arguments, stdout=output)
    return output.getvalue()


def test_the_command_signs_anew_and_says_that_the_former_key_is_done_with(rotate: Any) -> None:
    add("job")
    rotate(NEW, OLD)
    said = command()
    assert "1 jobs were signed anew." in said and "No job needs" in said
    assert signed() == {"current"}


def test_the_command_leaves_the_jobs_of_an_active_scheduler_alone(rotate: Any) -> None:
    add("job")
    SchedulerLease.objects.create(epoch=1, expires_at=FUTURE)
    rotate(NEW, OLD)
    with pytest.raises(CommandError, match="is the active scheduler"):
        command()
    assert signed() == {"fallback"}


def test_the_command_gives_up_what_nobody_can_read_only_if_asked(rotate: Any) -> None:
    for number in range(3):
        add(f"job-{number}")
    rotate(NEW)
    assert "3 jobs are signed by a key that is not known here" in command()
    assert not DjangoJob.objects.filter(quarantined_at__isnull=False).exists()
    assert "3 jobs whose key is lost were given up" in command("--give-up-unreadable")
    assert DjangoJob.objects.filter(quarantined_at__isnull=False).count() == 3


# --- A wrong key ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("known", "unknown", "is_refused"),
    [(0, 3, True), (1, 2, True), (2, 2, False), (0, 2, False), (5, 1, False), (0, 0, False)],
)
def test_a_process_refuses_when_it_knows_the_keys_of_too_few_jobs(
    rotate: Any, known: int, unknown: int, is_refused: bool
) -> None:
    for number in range(unknown):
        add(f"unknown-{number}")
    rotate(NEW)
    for number in range(known):
        add(f"known-{number}")
    problem = key_rotation.problem("default")
    assert bool(problem) is is_refused
    if is_refused:
        assert f"{unknown} of {known + unknown}" in problem
        assert "FALLBACKS" in problem and "sign_jobs_anew" in problem


def test_jobs_out_of_service_do_not_keep_a_process_from_starting(rotate: Any) -> None:
    for number in range(4):
        add(f"job-{number}")
    DjangoJob.objects.filter(pk__lte="job-1").retire()
    DjangoJob.objects.filter(retired_at=None).update(quarantined_at=FUTURE)
    rotate(NEW)
    assert key_rotation.problem("default") == ""


def test_jobs_of_the_former_format_do_not_keep_a_process_from_starting() -> None:
    from jobstore.tests.storage.test_serializer import job

    for number in range(4):
        add(f"job-{number}")
    encoded = former(job())
    DjangoJob.objects.update(job_state=encoded.job_state)
    # They are those of another job, but of the former format: only verifying tells.
    assert "4 of 4" in key_rotation.problem("default")
    DjangoJob.objects.all().delete()
    for name in ("a", "b", "c"):
        row = former(job())
        row.pk = name
        if name == "a":
            row.pk = "job"
        row.save()
    assert "3 of 3" in key_rotation.problem("default")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("job_count", [3, 30])
def test_a_scheduler_with_a_wrong_key_is_not_ready_and_takes_no_job_out_of_service(
    rotate: Any, job_count: int
) -> None:
    past = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    for number in range(job_count):
        add(f"job-{number}", past)
    before = list(DjangoJob.objects.order_by("pk").values())
    rotate(NEW)
    process = SchedulerProcess()
    process.start()
    try:
        eventually(lambda: SchedulerInstance.objects.filter(role=Role.UNFIT).exists())
        time.sleep(1)
        code, body = answers.ready(process)
        assert code != answers.OK and "FALLBACKS" in str(body)
        assert "FALLBACKS" in SchedulerInstance.objects.get().problem
        rows = DjangoJob.objects.filter(pk__startswith="job-").order_by("pk")
        assert list(rows.values()) == before
        lease = SchedulerLease.objects.first()
        assert lease is None or lease.epoch == 0  # it did not even compete
    finally:
        process.stop()


@pytest.mark.django_db(transaction=True)
def test_a_scheduler_with_a_wrong_key_recovers_once_the_key_is_right(
    rotate: Any, start_scheduler: StartScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobstore.leadership.elector.KEY_RETRY_SECONDS", 0.2)
    for number in range(3):
        add(f"job-{number}")
    rotate(NEW)
    store = start_scheduler()._jobstores["default"]
    eventually(lambda: store.elector.role == Role.UNFIT)
    rotate(NEW, OLD)
    eventually(lambda: store.elector.role == Role.ACTIVE)
    eventually(lambda: key_rotation.key_use("default") == key_rotation.KeyUse(current=3))


@pytest.mark.django_db(transaction=True)
def test_a_holder_that_finds_the_jobs_signed_by_another_key_gives_up_instead_of_quarantining(
    rotate: Any, start_scheduler: StartScheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        add(f"job-{number}")
    store = start_scheduler()._jobstores["default"]
    eventually(lambda: store._dispatcher._begun_epoch)
    states = []
    for name in (OLD, NEW):
        rotate(name)
    for row in DjangoJob.objects.all():
        rotate(NEW, OLD)
        pickled, shown = signing.verified(row), {one: getattr(row, one) for one in signing.SHOWN}
        rotate(NEW)
        states.append((row.pk, signing.sign(row.pk, pickled, shown)))
    rotate(OLD)
    past = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    for job_id, data in states:
        DjangoJob.objects.filter(pk=job_id).update(job_state=data)
    DjangoJob.objects.update(next_run_time=past)
    eventually(lambda: store.elector.role == Role.UNFIT)
    assert not DjangoJob.objects.filter(quarantined_at__isnull=False).exists()
    assert not Run.objects.exists()


def test_jobs_whose_key_is_lost_can_be_given_up(rotate: Any) -> None:
    for number in range(3):
        add(f"lost-{number}")
    rotate(NEW)
    add("known")
    assert key_rotation.problem("default")
    assert key_rotation.give_up_unreadable("default", free) == 3
    assert key_rotation.problem("default") == ""
    kept = DjangoJob.objects.filter(quarantined_at__isnull=False)
    assert {job.pk for job in kept} == {"lost-0", "lost-1", "lost-2"}
    assert "gave it up" in kept[0].quarantine_reason


def test_a_process_that_may_not_gives_no_job_up(rotate: Any) -> None:
    add("lost")
    rotate(NEW)

    def fence() -> None:
        raise NotHolder

    with pytest.raises(NotHolder):
        key_rotation.give_up_unreadable("default", fence)
    assert DjangoJob.objects.get().quarantined_at is None


# --- Real processes -------------------------------------------------------------------------------


class Deploys:
    """Scheduler processes, one after the other, each with the keys of its deploy."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.current: SchedulerCommand | None = None
        self.number = 0

    def start(self, key: str, *fallbacks: str) -> SchedulerCommand:
        self.end()
        self.number += 1
        self.current = SchedulerCommand(
            self.folder / f"log-{self.number}",
            DJANGO_SETTINGS_MODULE="jobstore.tests.key_settings",
            TEST_SECRET_KEY=key,
            TEST_SECRET_KEY_FALLBACKS=" ".join(fallbacks),
            TICK_TRACE=os.devnull,
        )
        return self.current

    def end(self) -> None:
        if self.current is not None:
            assert self.current.end() == 0, self.current.log.read_text()
            self.current = None


@pytest.fixture
def deploys(transactional_db: None, tmp_path: Path) -> Iterator[Deploys]:
    one = Deploys(tmp_path)
    yield one
    if one.current is not None:
        one.current.kill()


@pytest.mark.any_database
@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_key_is_rotated_in_real_processes_and_no_job_is_lost(
    deploys: Deploys, rotate: Any
) -> None:
    """Key A; then B with A as fallback; then B alone. One job is declared, one was added."""
    add("added")
    deploys.start(OLD)
    declared = DjangoJob.objects.exclude(declaration="")
    eventually(lambda: Run.objects.filter(job="tick", status=Run.SUCCESS).exists(), 40)
    deploys.start(NEW, OLD)
    rotate(NEW)
    everything = declared.count() + 1
    eventually(
        lambda: key_rotation.key_use("default") == key_rotation.KeyUse(current=everything), 40
    )
    deploys.start(NEW)
    ran = Run.objects.filter(job="tick", status=Run.SUCCESS).count()
    eventually(lambda: Run.objects.filter(job="tick", status=Run.SUCCESS).count() > ran + 2, 40)
    DjangoJob.objects.get(pk="added").request_run("test")
    eventually(lambda: Run.objects.filter(job="added", status=Run.SUCCESS).exists(), 40)
    assert not DjangoJob.all_objects.filter(quarantined_at__isnull=False).exists()


@pytest.mark.any_database
@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_key_that_was_changed_without_a_fallback_stops_a_real_process_before_it_does_harm(
    deploys: Deploys, rotate: Any
) -> None:
    deploys.start(OLD)
    eventually(lambda: Run.objects.filter(job="tick", status=Run.SUCCESS).exists(), 40)
    deploys.start(NEW)
    unfit = SchedulerInstance.objects.filter(role=Role.UNFIT, problem__contains="FALLBACKS")
    eventually(unfit.exists, 40)
    assert not DjangoJob.all_objects.filter(quarantined_at__isnull=False).exists()
    deploys.start(NEW, OLD)
    ran = Run.objects.filter(job="tick", status=Run.SUCCESS).count()
    eventually(lambda: Run.objects.filter(job="tick", status=Run.SUCCESS).count() > ran, 40)
