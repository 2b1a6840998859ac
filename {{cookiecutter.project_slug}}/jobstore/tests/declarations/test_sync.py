"""What is stored follows what is declared, in few statements, by the holder of the lease alone."""

import datetime as dt
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from apscheduler.schedulers.background import BackgroundScheduler
from django.db import DataError, IntegrityError, OperationalError, connection
from django.test.utils import CaptureQueriesContext
from pytest_django.fixtures import Settings

from jobstore import registry
from jobstore.declarations import rows as rows_of_jobs
from jobstore.declarations import sync as syncing
from jobstore.jobstores import DjangoJobStore
from jobstore.leadership.lease import NotHolder, Term
from jobstore.models import DeclarationProblem, DjangoJob, SchedulerLease, database_now
from jobstore.tests import callables
from jobstore.tests.jobfiles import JobFiles

pytestmark = pytest.mark.django_db

JOB = '@scheduled("cron", id="{0}", hour=3)\ndef {0}(): pass\n'


def declare(files: JobFiles, *names: str) -> None:
    """Write files that each declare one job, of the file's name."""
    for name in names:
        files.declare(f"{name}.py", JOB.format(name))


def stored() -> set[str]:
    """Return the ids of the jobs in service."""
    return set(DjangoJob.objects.values_list("pk", flat=True))


def declared_by_call(count: int, **options: Any) -> None:
    for number in range(count):
        registry.scheduled("interval", id=f"job-{number}", days=1, args=(number,), **options)(
            callables.note
        )


def sync(**options: Any) -> list[syncing.Change]:
    return registry.sync(DjangoJobStore(), BackgroundScheduler(timezone="UTC"), **options)


# --- What is wrong goes on as it was -------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        "import no_such_package",
        '@scheduled("cron", id="a", hour=25)\ndef a(): pass',
        '@scheduled("cron", id="a", hour=25)\ndef renamed(): pass',  # known by its id
        '@scheduled("cron", id=7, hour=3)\ndef a(): pass',  # known by its function
        "@scheduled\ndef a(): pass",
        '@scheduled("cron", id="a", hour=3)\ndef a(): yield',
        JOB.format("a") + JOB.format("a"),
        '@scheduled("cron", id="a", hour=3, max_instances=10**30)\ndef a(): pass',
    ],
)
def test_the_stored_job_of_a_wrong_declaration_goes_on_as_it_was(
    files: JobFiles, wrong: str
) -> None:
    declare(files, "a", "b")
    files.sync()
    before = DjangoJob.objects.filter(pk="a").values().get()
    files.declare("a.py", wrong)
    files.declare("b.py", JOB.format("b").replace("hour=3", "hour=4"))
    assert [(change.action, change.job_id) for change in files.sync()] == [("update", "b")]
    assert DjangoJob.objects.filter(pk="a").values().get() == before


def test_a_job_that_left_the_code_is_retired_although_another_file_is_broken(
    files: JobFiles,
) -> None:
    declare(files, "a", "b", "c")
    files.sync()
    files.declare("a.py", "import no_such_package")
    files.declare("b.py", "")
    assert [(change.action, change.job_id) for change in files.sync()] == [("retire", "b")]
    assert stored() == {"a", "c"}


def test_a_job_whose_function_lies_elsewhere_stays_while_its_declaring_file_is_broken(
    files: JobFiles,
) -> None:
    files.write("../work.py", "def work(): pass")
    files.declare(
        "a.py", f'from {files.app} import work\nscheduled("cron", id="a", hour=3)(work.work)'
    )
    files.sync()
    files.declare("a.py", "1 / 0")
    assert files.sync() == []
    assert stored() == {"a"}


def test_a_job_that_moved_to_another_file_stays_while_that_one_is_broken(files: JobFiles) -> None:
    files.write("../work.py", "def work(): pass")
    content = f'from {files.app} import work\nscheduled("cron", id="a", hour=3)(work.work)\n'
    files.declare("a.py", content)
    files.sync()
    files.declare("a.py", "")
    files.declare("b.py", content)
    assert files.sync() == []
    files.declare("b.py", content + "1 / 0")
    assert files.sync() == []
    assert stored() == {"a"}


def test_a_job_stored_by_older_code_stays_while_any_file_is_broken(files: JobFiles) -> None:
    declare(files, "a", "b")
    files.sync()
    DjangoJob.objects.update(declared_in="")
    files.declare("a.py", "import no_such_package")
    files.declare("b.py", "")
    assert files.sync() == []


def test_a_file_that_was_mended_is_followed_again(files: JobFiles) -> None:
    declare(files, "a")
    files.sync()
    files.declare("a.py", "import no_such_package")
    files.sync()
    assert DeclarationProblem.objects.count() == 1
    files.declare("a.py", JOB.format("a").replace("hour=3", "hour=4"))
    assert [change.action for change in files.sync()] == ["update"]
    assert DeclarationProblem.objects.count() == 0


def test_a_one_off_job_that_has_run_is_no_problem(files: JobFiles) -> None:
    content = '@scheduled("cron", id="once", year={})\ndef once(): pass'
    files.declare("a.py", content.format(2999))
    files.sync()
    files.declare("a.py", content.format(2020))
    files.sync()
    assert "has no run time left" in DeclarationProblem.objects.get().text
    digest = next(iter(files.collect().jobs.values()))[0].digest
    DjangoJob.objects.update(declaration=digest)
    DjangoJob.objects.all().retire()
    assert files.sync() == []
    assert DeclarationProblem.objects.count() == 0
    assert not DjangoJob.all_objects.get().next_run_time


# --- Problems are written down -------------------------------------------------------------------


def test_problems_are_written_down_and_taken_away_again(files: JobFiles) -> None:
    declare(files, "good")
    files.declare("a.py", '@scheduled("cron", id="a", hour=25)\ndef a(): pass')
    files.declare("b.py", "1 / 0")
    files.sync()
    first = {row.subject: row for row in DeclarationProblem.objects.all()}
    assert set(first) == {"a", f"{files.package}.b"}
    assert first["a"].place.endswith("a.py:2") and first["a"].is_fatal
    files.declare("b.py", "")
    files.sync()
    [row] = DeclarationProblem.objects.all()
    assert (row.subject, row.noticed_at) == ("a", first["a"].noticed_at)


def test_a_question_about_a_job_does_not_leave_it_out(
    files: JobFiles, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("jobstore.declarations.validation.QUESTIONS", [lambda *_: ["Is that so?"]])
    declare(files, "a")
    assert [change.action for change in files.sync()] == ["add"]
    row = DeclarationProblem.objects.get()
    assert (row.subject, row.text, row.is_fatal) == ("a", "Is that so?", False)
    assert [one.levelname for one in caplog.records if "Is that so?" in one.message] == ["WARNING"]


# --- A write that fails --------------------------------------------------------------------------


@pytest.mark.parametrize("error", [DataError, IntegrityError, OverflowError, ValueError])
@pytest.mark.parametrize("action", ["add", "update", "back"])
def test_a_write_that_fails_is_one_jobs_failure(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception], action: str
) -> None:
    monkeypatch.setattr(registry, "_declared", {})
    registry.declarations()
    monkeypatch.setattr(registry, "_declared", {})
    if action != "add":
        declared_by_call(3)
        sync()
        registry._declared.clear()
    if action == "back":
        DjangoJob.objects.all().retire()
    execute = rows_of_jobs.JobRows._execute

    def refuse(self: rows_of_jobs.JobRows, statement: str, rows: list[list[Any]]) -> None:
        if any("job-1" in map(str, row) for row in rows):
            raise error("out of range")
        execute(self, statement, rows)

    monkeypatch.setattr(rows_of_jobs.JobRows, "_execute", refuse)
    declared_by_call(3, name="changed")
    assert [change.job_id for change in sync()] == ["job-0", "job-2"]
    assert set(DjangoJob.objects.filter(name="changed").values_list("pk", flat=True)) == {
        "job-0",
        "job-2",
    }
    problem = DeclarationProblem.objects.get()
    assert problem.subject == "job-1" and "out of range" in problem.text


def test_an_outage_in_the_middle_is_nobodys_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    registry.declarations()
    monkeypatch.setattr(registry, "_declared", {})

    def fail(*_: Any) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(rows_of_jobs.JobRows, "_execute", fail)
    declared_by_call(3)
    with pytest.raises(OperationalError):
        sync()
    assert not DjangoJob.objects.exists() and not DeclarationProblem.objects.exists()


# --- Only the holder of the lease ----------------------------------------------------------------


def hold_lease(epoch: int) -> Term:
    """Let some process hold the lease; return its term."""
    now = database_now("default")
    holder = uuid.uuid4()
    SchedulerLease.objects.update_or_create(
        name=SchedulerLease.DEFAULT,
        defaults={
            "holder": holder,
            "epoch": epoch,
            "expires_at": now + dt.timedelta(minutes=1),
            "renewed_at": now,
        },
    )
    return Term(instance=holder, epoch=epoch)


@pytest.mark.parametrize("change", ["retire", "add", "update", "problem", "start"])
def test_a_process_that_was_deposed_changes_nothing(files: JobFiles, change: str) -> None:
    declare(files, "a")
    old = hold_lease(1)
    files.sync(term=old)
    hold_lease(2)
    before = list(DjangoJob.all_objects.values())
    contents: dict[str, Callable[[], object]] = {
        "retire": lambda: files.declare("a.py", ""),
        "add": lambda: declare(files, "b"),
        "update": lambda: files.declare("a.py", JOB.format("a").replace("hour=3", "hour=4")),
        "problem": lambda: files.declare("c.py", "1 / 0"),
        "start": lambda: files.declare(
            "a.py", '@scheduled("cron", id="a", hour=3, run_at_start=True)\ndef a(): pass'
        ),
    }
    contents[change]()
    with pytest.raises(NotHolder):
        files.sync(term=old, start_of="start of here")
    assert list(DjangoJob.all_objects.values()) == before
    assert not DeclarationProblem.objects.exists()


# --- Speed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 200])
def test_any_number_of_new_jobs_takes_the_same_statements(
    monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    assert statements_for(monkeypatch, count) <= 20


@pytest.mark.slow
def test_ten_thousand_new_jobs_take_at_most_50_statements(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    # The test's own transaction is around it, which must not end while a slow machine composes.
    settings.SCHEDULER_STATEMENT_SECONDS = 60.0
    assert statements_for(monkeypatch, 10_000) <= 50
    assert DjangoJob.objects.count() == 10_000


def statements_for(monkeypatch: pytest.MonkeyPatch, count: int) -> int:
    registry.declarations()
    monkeypatch.setattr(registry, "_declared", {})
    term = hold_lease(1)
    declared_by_call(count)
    with CaptureQueriesContext(connection) as captured:
        assert len(sync(term=term)) == count
    return len(captured)


def test_jobs_that_are_written_together_are_those_that_are_written_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    registry.declarations()
    monkeypatch.setattr(registry, "_declared", {})
    monkeypatch.setattr("jobstore.declarations.sync.BATCH_JOBS", 7)
    declared_by_call(20)
    sync()
    store = DjangoJobStore()
    for number, row in enumerate(DjangoJob.objects.order_by("version", "pk")):
        job = store.restore(row)
        assert job is not None and job.id == row.pk
        assert (job.args, row.arguments) == ((int(job.id[4:]),), job.id[4:]), number
