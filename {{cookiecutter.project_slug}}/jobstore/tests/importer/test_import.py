"""What django-apscheduler left behind is taken over: all of it, once, and nothing silently lost."""

import datetime as dt
import os
import pickle
import re
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from apscheduler.job import Job
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.date import DateTrigger
from apscheduler.util import ref_to_obj
from django.core.management import CommandError, call_command
from django.db import connection, connections
from pytest_django.fixtures import Settings

from jobstore.importer import history, jobs, source, unpickler
from jobstore.jobstores import DjangoJobStore
from jobstore.management.commands import import_django_apscheduler as command
from jobstore.models import DjangoJob, DjangoJobExecution
from jobstore.storage import serializer
from jobstore.tests import callables
from jobstore.tests.conftest import StartScheduler, eventually
from jobstore.util import as_aware

NOON = dt.datetime(2026, 6, 1, 12, 30, 45, 123456, tzinfo=dt.UTC)
LATER = dt.datetime(2120, 1, 1, 7, 0, 0, 654321, tzinfo=dt.UTC)
MINUTE = dt.timedelta(minutes=1)

TYPES = {
    "sqlite": ("datetime", "BLOB", "decimal"),
    "postgresql": ("timestamp with time zone", "bytea", "numeric(15, 2)"),
    "mysql": ("datetime(6)", "longblob", "numeric(15, 2)"),
}


class OldTables:
    """The two tables as django-apscheduler 0.6 and 0.7 make them."""

    def __init__(self, alias: str = "default") -> None:
        self.connection = connections[alias]
        self.runs = 0
        time, binary, number = TYPES[self.connection.vendor]
        self.execute(
            f"CREATE TABLE {source.JOBS} (id varchar(255) PRIMARY KEY, next_run_time {time} NULL, "
            f"job_state {binary} NOT NULL)"
        )
        self.execute(
            f"CREATE TABLE {source.RUNS} (id bigint PRIMARY KEY, status varchar(50) NOT NULL, "
            f"run_time {time} NOT NULL, duration {number} NULL, finished {number} NULL, "
            "exception varchar(1000) NULL, traceback text NULL, job_id varchar(255) NOT NULL)"
        )

    def execute(self, statement: str, *values: Any) -> None:
        with self.connection.cursor() as cursor:
            cursor.execute(statement, values)

    def clear(self) -> None:
        for table in (source.RUNS, source.JOBS):
            self.execute(f"DELETE FROM {table}")  # noqa: S608 - constant

    def time(self, when: dt.datetime | None) -> Any:
        return self.connection.ops.adapt_datetimefield_value(when)

    def drop(self) -> None:
        self.execute(f"DROP TABLE {source.RUNS}")
        self.execute(f"DROP TABLE {source.JOBS}")

    def add_job(self, job_id: str = "report", **options: Any) -> None:
        """Write a job as the package does: an unsigned pickle."""
        job = make(job_id, **options)
        self.add_row(job_id, job.next_run_time, pickle.dumps(job.__getstate__()))

    def add_row(self, job_id: str, when: dt.datetime | None, job_state: bytes) -> None:
        statement = f"INSERT INTO {source.JOBS} VALUES (%s, %s, %s)"  # noqa: S608 - constant
        self.execute(statement, job_id, self.time(when), job_state)

    def add_run(
        self,
        status: str = "Executed",
        run_time: dt.datetime = NOON,
        *,
        job_id: str = "report",
        finished: float | None = None,
        exception: str | None = None,
        traceback: str | None = None,
    ) -> None:
        self.runs += 1
        duration = None if finished is None else 3
        values = (self.runs, status, self.time(run_time), duration, finished, exception, traceback)
        places = ", ".join(["%s"] * 8)
        statement = f"INSERT INTO {source.RUNS} VALUES ({places})"  # noqa: S608 - constant
        self.execute(statement, *values, job_id)


def make(job_id: str, func: Any = callables.note, when: Any = LATER, **options: Any) -> Job:
    defaults: dict[str, Any] = {"trigger": "interval", "minutes": 1, "start_date": NOON}
    scheduler = BackgroundScheduler(timezone="UTC")
    job = scheduler.add_job(func, id=job_id, **(defaults | options))
    for name, value in {"max_instances": 1, "coalesce": True, "misfire_grace_time": 1}.items():
        job._modify(**{name: options.get(name, value)})
    job._modify(executor=options.get("executor", "default"), next_run_time=when)
    return job


def state_of(**changes: Any) -> bytes:
    return pickle.dumps(make("report").__getstate__() | changes)


@pytest.fixture(autouse=True)
def _zone(settings: Settings) -> None:
    """What the command prints is in the project's own time zone."""
    settings.TIME_ZONE = "UTC"


@pytest.fixture(scope="module")
def tables(django_db_setup: None, django_db_blocker: Any) -> Iterator[OldTables]:
    with django_db_blocker.unblock():
        tables = OldTables()
    yield tables
    with django_db_blocker.unblock():
        tables.drop()


@pytest.fixture
def old(db: None, tables: OldTables) -> OldTables:
    tables.clear()
    return tables


class Said:
    """What the command printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.out, self.err = capsys.readouterr()


Import = Callable[..., Said]


@pytest.fixture
def look(capsys: pytest.CaptureFixture[str]) -> Import:
    def run(*arguments: str) -> Said:
        call_command("import_django_apscheduler", *arguments)
        return Said(capsys)

    return run


@pytest.fixture
def take(look: Import) -> Import:
    return lambda *arguments: look("--apply", *arguments)


# --- Looking first --------------------------------------------------------------------------------


def test_without_apply_it_says_what_it_would_do_and_writes_nothing(
    old: OldTables, look: Import
) -> None:
    old.add_job("report")
    old.add_job("rest", when=None)
    old.add_run(run_time=NOON)
    old.add_run(run_time=NOON + MINUTE)
    said = look().out
    called = r"jobstore.tests.callables:note\(\)  interval\[0:01:00\]"
    assert re.search(rf"^import +report  {called}  next run 2120-01-01 07:00:00", said, re.M)
    assert re.search(rf"^import +rest  {called}  paused$", said, re.M)
    assert "Jobs: 2 read = 2 to import" in said
    assert "Runs: 2 read = 2 to import" in said
    assert "from 2026-06-01 12:30:45+00:00 to 2026-06-01 12:31:45+00:00" in said
    assert "Nothing was written" in said
    assert not DjangoJob.all_objects.exists() and not DjangoJobExecution.objects.exists()


def test_a_job_that_is_overdue_is_pointed_out(old: OldTables, look: Import) -> None:
    old.add_job(when=NOON - 1000 * dt.timedelta(days=1))
    assert re.search(r"^import +report .*, overdue$", look().out, re.M)


def test_a_job_with_an_executor_of_its_own_is_pointed_out(old: OldTables, look: Import) -> None:
    old.add_job(executor="processes")
    assert "needs an executor named 'processes'" in look().out


def test_a_history_of_a_moment_ago_means_that_the_old_scheduler_may_run(
    old: OldTables, look: Import
) -> None:
    old.add_run(run_time=NOON, finished=dt.datetime.now(dt.UTC).timestamp() - 60)
    assert "Is the old scheduler still running?" in look().err


def test_a_history_of_yesterday_is_no_cause_for_a_warning(old: OldTables, look: Import) -> None:
    yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    old.add_run(run_time=yesterday, finished=yesterday.timestamp() + 1)
    assert look().err == ""


def test_a_history_that_will_be_pruned_is_pointed_out(old: OldTables, look: Import) -> None:
    old.add_run(run_time=NOON - dt.timedelta(days=1000))
    said = look().err
    assert "older than 30 days" in said and "JOB_HISTORY_DAYS" in said


# --- What others may have put there ---------------------------------------------------------------


class Calls:
    """Has something called while it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def test_it_shows_what_each_job_would_call(old: OldTables, look: Import) -> None:
    old.add_job("report", args=["Zoë"])
    assert "report  jobstore.tests.callables:note('Zoë')  interval" in look().out


@pytest.mark.parametrize(
    "function", ["os:system", "subprocess:run", "builtins:eval", "django.core.mail:send_mail"]
)
def test_a_function_of_others_is_not_taken_over_unseen(
    old: OldTables, take: Import, function: str
) -> None:
    old.add_row("evil", LATER, state_of(func=function, args=("touch /tmp/x",)))
    old.add_job("good")
    said = take().out
    shown = rf"{function}\('touch /tmp/x'\)"
    assert re.search(rf"^not allowed +evil  {shown}  {function} is not", said, re.M)
    assert f"--allow {function}" in said and "+ 1 that need --allow" in said
    assert [job.pk for job in DjangoJob.all_objects.all()] == ["good"]


def test_a_function_of_others_is_not_taken_over_by_a_name_of_our_own(
    old: OldTables, take: Import
) -> None:
    old.add_row("evil", LATER, state_of(func="jobstore.tests.callables:os.system", args=("true",)))
    assert re.search(r"^not allowed +evil ", take().out, re.M)
    assert not DjangoJob.all_objects.exists()


def test_a_function_of_others_is_taken_over_once_it_is_named(old: OldTables, take: Import) -> None:
    old.add_row("known", LATER, state_of(func="os:getcwd", args=()))
    assert re.search(r"^import +known  os:getcwd\(\)", take("--allow", "os:getcwd").out, re.M)
    assert DjangoJob.objects.get().func == "os:getcwd"


def test_a_name_that_is_allowed_for_nothing_is_told(old: OldTables, take: Import) -> None:
    old.add_row("known", LATER, state_of(func="os:getcwd", args=()))
    said = take("--allow", "os:getcwd", "--allow", "os:getpid").err
    assert "--allow os:getpid was not needed" in said
    assert "os:getcwd" not in said


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(Calls(os.system, "exit 7"), id="function"),
        pytest.param(Calls(eval, "1 + 1"), id="builtin"),
        pytest.param(Calls(ref_to_obj, "os:system"), id="of APScheduler"),
        pytest.param(Calls(getattr, "text", "upper"), id="attribute"),
    ],
)
def test_looking_calls_no_function_that_a_state_names(
    old: OldTables, look: Import, call: Calls
) -> None:
    old.add_row("evil", LATER, state_of(args=(call,)))
    assert re.search(r"^not allowed +evil  .*--allow", look().out, re.M)


@pytest.mark.parametrize("body", ["import sys; sys.exit(0)", "raise BaseException('gone')"])
def test_a_module_that_ends_the_program_ends_nothing(
    old: OldTables, look: Import, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: str
) -> None:
    name = f"ends_{abs(hash(body))}"
    (tmp_path / f"{name}.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(unpickler, "is_own", lambda module: True)
    old.add_row("a", LATER, state_of(func=f"{name}:run"))
    old.add_job("b")
    said = look().out
    assert re.search(r"^quarantine +a  ", said, re.M) and re.search(r"^import +b  ", said, re.M)
    assert "Nothing was written" in said


def test_ids_and_texts_forge_no_line_of_the_report(old: OldTables, look: Import) -> None:
    old.add_job("a\nimport         forged\x1b[2J", args=["x\ny"], executor="e\nimport  forged")
    old.add_run(run_time=NOON, job_id="b\nimport  forged" + "x" * 200)
    said = look().out
    assert not re.search(r"^import +forged", said, re.M)
    assert "\x1b" not in said and "a\\nimport" in said


def test_what_a_module_prints_is_no_line_of_the_report(
    old: OldTables, look: Import, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "prints.py").write_text("print('import  forged')\nrun = len\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(unpickler, "is_own", lambda module: True)
    old.add_row("a", LATER, state_of(func="prints:run"))
    said = look()
    assert "forged" not in said.out and "forged" in said.err


def test_what_is_installed_inside_the_project_s_folder_is_not_its_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, settings: Settings
) -> None:
    installed = tmp_path / ".venv" / "lib" / "site-packages"
    installed.mkdir(parents=True)
    (installed / "foreign_thing.py").write_text("")
    (tmp_path / "own_thing.py").write_text("")
    monkeypatch.syspath_prepend(installed)
    monkeypatch.syspath_prepend(tmp_path)
    settings.BASE_DIR = tmp_path
    assert unpickler.is_own("own_thing") and not unpickler.is_own("foreign_thing")
    assert not any(map(unpickler.is_own, ("os", "sys", "django.db", "nothing", "__main__")))


# --- Jobs -----------------------------------------------------------------------------------------


def test_a_job_comes_over_as_it_is(old: OldTables, take: Import) -> None:
    options = {"max_instances": 3, "coalesce": False, "misfire_grace_time": None}
    old.add_job("tägliche Grüße 日本", name="Grüße", args=["Zoë"], executor="other", **options)
    take()
    row = DjangoJob.objects.get()
    assert (row.pk, row.name, row.arguments) == ("tägliche Grüße 日本", "Grüße", "'Zoë'")
    assert (row.func, row.trigger) == ("jobstore.tests.callables:note", "interval[0:01:00]")
    assert row.next_run_time == LATER
    assert (row.executor, row.quarantined_at) == ("other", None)
    job = serializer.restore(row)
    assert (job.id, list(job.args), job.next_run_time) == (row.pk, ["Zoë"], LATER)
    assert {name: getattr(job, name) for name in options} == options


def test_a_job_that_came_over_runs(
    start_scheduler: StartScheduler, old: OldTables, take: Import
) -> None:
    patient: dict[str, Any] = {"when": NOON, "misfire_grace_time": 60}
    old.add_job(args=["moved"], **patient)
    old.add_job("greet", func=callables.Greeter("Ada").greet, args=["Hello"], **patient)
    take()
    DjangoJob.objects.update(next_run_time=dt.datetime.now(dt.UTC))
    start_scheduler()
    eventually(lambda: {"moved", "Hello Ada"} <= set(callables.calls))


def test_a_paused_job_stays_paused(old: OldTables, take: Import) -> None:
    old.add_job(when=None)
    take()
    assert DjangoJob.objects.get().next_run_time is None


def test_a_job_that_was_paused_in_the_table_alone_stays_paused(
    old: OldTables, take: Import
) -> None:
    old.add_row("report", None, state_of())
    take()
    assert DjangoJob.objects.get().next_run_time is None


def test_a_job_that_is_declared_or_stored_here_is_left_alone(old: OldTables, take: Import) -> None:
    DjangoJobStore().add_job(make("report", args=["ours"]))
    old.add_job(args=["theirs"])
    old.add_run()
    said = take().out
    assert re.search(r"^already there +report  [a-z.]+callables:note\('theirs'\)$", said, re.M)
    assert "Jobs: 1 read = 0 imported (0 of them into quarantine) + 1 already there" in said
    assert DjangoJob.objects.get().arguments == "'ours'"
    assert DjangoJobExecution.objects.get().job_id == "report"


def test_a_job_that_ended_here_does_not_come_back(old: OldTables, take: Import) -> None:
    old.add_job()
    take()
    DjangoJobStore().remove_job("report")
    assert re.search(r"^already there +report  .*  retired here$", take().out, re.M)
    assert not DjangoJob.objects.exists()


def test_a_job_without_its_function_is_quarantined_and_comes_back_with_it(
    old: OldTables, take: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    old.add_row("report", LATER, state_of(func="jobstore.tests.callables:renamed"))
    said = take().out
    assert re.search(r"^quarantine +report  .*  The job cannot be restored: .*renamed", said, re.M)
    assert "1 imported (1 of them into quarantine)" in said and "retry_quarantined_jobs" in said
    row = DjangoJob.objects.get()
    assert row.quarantined_at is not None and "renamed" in row.quarantine_reason
    assert row.next_run_time == LATER
    monkeypatch.setattr(callables, "renamed", callables.note, raising=False)
    call_command("retry_quarantined_jobs")
    assert DjangoJob.objects.get().quarantined_at is None
    assert DjangoJobStore().lookup_job("report").func is callables.note  # type: ignore[union-attr]


class Shy:
    """Does not say what it is."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


def exploded() -> None:
    """Raise, as a class that has changed since it was pickled may."""
    raise RuntimeError("changed since")


class Exploding:
    """Cannot be unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exploded, ()


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        pytest.param(b"rubbish", "cannot be unpickled", id="rubbish"),
        pytest.param(b"", "cannot be unpickled", id="nothing"),
        pytest.param(pickle.dumps(["list"]), "is not a job's", id="another thing"),
        pytest.param(pickle.dumps({"func": "x"}), "is not a job's", id="another dict"),
        pytest.param(state_of(args=(Exploding(),)), "changed since", id="raises"),
        pytest.param(state_of(args=(Shy(),)), "cannot be stored", id="has no text"),
    ],
)
def test_a_job_that_cannot_be_read_is_reported_and_stops_no_other(
    old: OldTables, take: Import, broken: bytes, reason: str
) -> None:
    old.add_job("a")
    old.add_row("broken", LATER, broken)
    old.add_job("c")
    said = take().out
    assert re.search(f"^unreadable +broken .*{reason}", said, re.M)
    assert "Jobs: 3 read = 2 imported (0 of them into quarantine) + 0 already there + 1 " in said
    assert set(DjangoJob.objects.values_list("pk", flat=True)) == {"a", "c"}


@pytest.mark.skipif(connection.vendor != "sqlite", reason="others hold what a column is for")
def test_values_of_another_type_are_reported_and_stop_nothing(old: OldTables, take: Import) -> None:
    old.execute(f"INSERT INTO {source.JOBS} VALUES ('text', NULL, 'hello')")  # noqa: S608
    old.add_job("good")
    old.add_run(job_id="good")
    run = "INSERT INTO {} VALUES (%s, 'Executed', %s, NULL, %s, NULL, NULL, 'good')"
    old.execute(run.format(source.RUNS), 8000, "never", None)
    old.execute(run.format(source.RUNS), 9000, old.time(NOON + MINUTE), "soon")
    said = take().out
    assert re.search("^unreadable +text  it has no state", said, re.M)
    assert "its time cannot be read" in said
    assert "Runs: 3 read = 1 imported" in said
    assert DjangoJob.objects.get().pk == "good"


def test_a_job_that_cannot_be_stored_is_reported_and_stops_no_other(
    old: OldTables, take: Import
) -> None:
    old.add_row("a", LATER, state_of(misfire_grace_time=2**70))
    old.add_job("b")
    said = take().out
    assert re.search(r"^unreadable +a  .*  it cannot be stored", said, re.M)
    assert "Jobs: 2 read = 1 imported (0 of them into quarantine) + 0 already there + 1 " in said
    assert DjangoJob.objects.get().pk == "b"


def test_a_job_that_is_stored_here_meanwhile_is_left_alone(old: OldTables) -> None:
    old.add_job(args=["theirs"])
    reports = jobs.examine_jobs(source.Source("default"))
    DjangoJobStore().add_job(make("report", args=["ours"]))
    assert [report.action for report in jobs.store_jobs(reports)] == ["already there"]
    assert DjangoJob.objects.get().arguments == "'ours'"


def foreign_zone(module: str, name: str, *arguments: Any) -> Any:
    """Return a zone that is pickled as another package does it, which is not installed."""
    package = types.ModuleType(module)

    class Zone(dt.tzinfo):
        def __reduce__(self) -> Any:
            return make_zone, arguments

        def utcoffset(self, when: dt.datetime | None) -> dt.timedelta:
            return dt.timedelta(hours=8)

        def dst(self, when: dt.datetime | None) -> None:
            return None

        def tzname(self, when: dt.datetime | None) -> str:
            return "+08"

    def make_zone(*_: Any) -> Any:
        raise AssertionError("the package itself is not there")

    make_zone.__module__, make_zone.__qualname__ = module, name
    setattr(package, name, make_zone)
    return package, Zone()


@pytest.mark.parametrize(
    ("module", "name", "arguments"),
    [
        pytest.param("pytz", "_p", ("Asia/Shanghai", 29160, 0, "LMT"), id="pytz"),
        pytest.param("pytz", "FixedOffset", (480,), id="pytz fixed"),
        pytest.param(
            "pytz_deprecation_shim._impl",
            "wrap_zone",
            (ZoneInfo("Asia/Shanghai"), "Asia/Shanghai"),
            id="shim",
        ),
    ],
)
def test_zones_of_older_versions_become_python_s_own(
    old: OldTables,
    take: Import,
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    name: str,
    arguments: tuple[Any, ...],
) -> None:
    package, zone = foreign_zone(module, name, *arguments)
    local = LATER.astimezone(dt.timezone(dt.timedelta(hours=8))).replace(tzinfo=zone)
    with monkeypatch.context() as installed:
        installed.setitem(sys.modules, module.partition(".")[0], package)
        installed.setitem(sys.modules, module, package)
        stored = state_of(next_run_time=local, trigger=DateTrigger(local))
    old.add_row("report", LATER, stored)
    take()
    row = DjangoJob.objects.get()
    assert row.next_run_time == LATER
    assert serializer.restore(row).next_run_time.utcoffset() == dt.timedelta(hours=8)


# --- History --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status", ["Executed", "Missed!", "Max instances!", "Error!", "A word of their own"]
)
def test_a_status_is_kept(old: OldTables, take: Import, status: str) -> None:
    old.add_run(status)
    take()
    assert DjangoJobExecution.objects.get().status == status


@pytest.mark.parametrize("status", DjangoJobExecution.UNFINISHED)
def test_nothing_comes_over_that_looks_as_if_it_were_to_be_run_or_running(
    old: OldTables, take: Import, status: str
) -> None:
    old.add_run(status)
    take()
    run = DjangoJobExecution.objects.get()
    assert (run.status, run.exception) == (DjangoJobExecution.LOST, history.UNFINISHED)


def test_a_run_keeps_its_times_and_its_exception(old: OldTables, take: Import) -> None:
    finished = (NOON + MINUTE).timestamp()
    old.add_run("Error!", finished=finished, exception="kaputt: ✗", traceback="File …\nline")
    take()
    run = DjangoJobExecution.objects.get()
    assert (run.job_id, run.run_time) == ("report", NOON)
    assert (run.exception, run.traceback) == ("kaputt: ✗", "File …\nline")
    assert run.finished is not None
    assert abs(run.finished - (NOON + MINUTE)) <= dt.timedelta(milliseconds=10)
    assert run.requested_by == history.ORIGIN


def test_what_they_call_duration_is_not_taken_for_the_run_time(
    old: OldTables, take: Import
) -> None:
    old.add_run(finished=NOON.timestamp() + 3)
    take()
    run = DjangoJobExecution.objects.get()
    assert (run.duration, run.started_at) == (None, None)


def test_the_history_of_a_job_that_cannot_be_read_comes_over(old: OldTables, take: Import) -> None:
    old.add_row("broken", LATER, b"rubbish")
    old.add_run(job_id="broken")
    take()
    assert DjangoJobExecution.objects.get().job_id == "broken"


def test_a_second_time_copies_nothing_and_says_so(old: OldTables, take: Import) -> None:
    old.add_job()
    for number in range(5):
        old.add_run(run_time=NOON + number * MINUTE)
    assert "Runs: 5 read = 5 imported" in take().out
    said = take().out
    assert "Jobs: 1 read = 0 imported (0 of them into quarantine) + 1 already there" in said
    assert "Runs: 5 read = 0 imported + 0 whose end is now known + 5 already there" in said
    assert DjangoJobExecution.objects.count() == 5


def test_a_run_that_this_project_recorded_is_not_overwritten(old: OldTables, take: Import) -> None:
    DjangoJobExecution.objects.create(job_id="report", run_time=NOON, status="Lost!")
    old.add_run("Executed")
    take()
    assert DjangoJobExecution.objects.get().status == "Lost!"


def test_a_run_whose_end_came_after_the_first_time_is_completed(
    old: OldTables, take: Import
) -> None:
    old.add_run("Started execution")
    take()
    old.clear()
    old.add_run("Executed", finished=1_800_000_000)
    assert "0 imported + 1 whose end is now known + 0 already there" in take().out
    run = DjangoJobExecution.objects.get()
    assert (run.status, run.exception) == ("Executed", None)
    assert run.finished == dt.datetime.fromtimestamp(1_800_000_000, dt.UTC)


def test_a_history_of_many_batches_shows_its_progress(
    old: OldTables, take: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "BATCH_ROWS", 2)
    monkeypatch.setattr(command, "PROGRESS_RUNS", 4)
    for number in range(9):
        old.add_run(run_time=NOON + number * MINUTE)
    said = take().out
    assert "4 of 9 runs" in said and "8 of 9 runs" in said
    assert DjangoJobExecution.objects.count() == 9


def test_long_texts_come_over_in_several_statements(old: OldTables, take: Import) -> None:
    for number in range(5):
        old.add_run(run_time=NOON + number * MINUTE, traceback="x" * 60_000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(history, "BATCH_CHARACTERS", 100_000)
        take()
    assert DjangoJobExecution.objects.filter(traceback="x" * 60_000).count() == 5


def test_it_can_be_interrupted_and_run_again(
    old: OldTables, take: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source, "BATCH_ROWS", 2)
    for number in range(5):
        old.add_run(run_time=NOON + number * MINUTE)

    def interrupt(report: history.HistoryReport) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        history.import_history(source.Source("default"), apply=True, progress=interrupt)
    assert DjangoJobExecution.objects.count() == 2
    assert "Runs: 5 read = 3 imported + 0 whose end is now known + 2 already there" in take().out
    assert DjangoJobExecution.objects.count() == 5


# --- Time zones -----------------------------------------------------------------------------------

SHIFT = dt.timedelta(hours=8)


def test_a_table_whose_times_contradict_the_jobs_is_not_copied_unasked(
    old: OldTables, look: Import, take: Import
) -> None:
    old.add_row("report", LATER + SHIFT, state_of())
    old.add_run()
    assert "--time-zone" in look().err
    with pytest.raises(CommandError, match="--time-zone"):
        take()
    assert not DjangoJob.objects.exists() and not DjangoJobExecution.objects.exists()


def test_a_contradiction_is_noticed_when_the_jobs_are_here_already(
    old: OldTables, take: Import
) -> None:
    old.add_row("report", LATER + SHIFT, state_of())
    DjangoJobStore().add_job(make("report"))
    with pytest.raises(CommandError, match="--time-zone"):
        take()


def test_a_single_job_with_another_time_in_the_table_keeps_its_own(
    old: OldTables, take: Import
) -> None:
    old.add_job("sound")
    old.add_row("report", LATER + SHIFT, state_of())
    assert re.search(r"^import +report .*\(the table's 2120-01-01 15:00:00", take().out, re.M)
    assert set(DjangoJob.objects.values_list("next_run_time", flat=True)) == {LATER}


def test_times_without_a_zone_are_read_in_the_one_that_is_named(
    old: OldTables, take: Import
) -> None:
    # PostgreSQL stores the instant, whatever the settings of the old project said.
    shift = dt.timedelta() if connection.features.supports_timezones else SHIFT
    old.add_row("report", LATER + shift, state_of())
    old.add_run(run_time=NOON + shift)
    take("--time-zone", "Asia/Shanghai")
    assert DjangoJob.objects.get().next_run_time == LATER
    assert DjangoJobExecution.objects.get().run_time == NOON


def test_a_project_without_time_zones_reads_the_times_of_one_with_them(
    old: OldTables, take: Import, settings: Settings
) -> None:
    old.add_job()
    old.add_run(finished=NOON.timestamp())
    settings.USE_TZ, settings.TIME_ZONE = False, "Asia/Shanghai"
    take("--time-zone", "UTC")
    row, run = DjangoJob.objects.get(), DjangoJobExecution.objects.get()
    assert row.next_run_time is not None and row.next_run_time.tzinfo is None
    assert (as_aware(row.next_run_time), as_aware(run.run_time)) == (LATER, NOON)
    assert run.finished is not None
    assert abs(as_aware(run.finished) - NOON) <= dt.timedelta(milliseconds=10)


# --- Where the tables are -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def file(
    django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """A second database of the project, a SQLite file."""
    name = tmp_path_factory.mktemp("old") / "old.sqlite3"
    options = {"ENGINE": "django.db.backends.sqlite3", "NAME": name, "OPTIONS": {}}
    connections.settings["old"] = connections.settings["default"] | options
    yield
    with django_db_blocker.unblock():
        connections["old"].close()
    del connections["old"], connections.settings["old"]


@pytest.fixture
def elsewhere(file: None, db: None) -> OldTables:
    """The old tables in the file, until the test's transaction is undone."""
    return OldTables("old")


BOTH = pytest.mark.django_db(databases=["default", "old"])


@BOTH
def test_the_tables_may_be_in_another_database(elsewhere: OldTables, take: Import) -> None:
    elsewhere.add_job()
    elsewhere.add_run()
    take("--database", "old")
    assert DjangoJob.objects.get().next_run_time == LATER
    assert DjangoJobExecution.objects.get().run_time == NOON


@BOTH
def test_what_only_their_database_could_hold_is_mended_or_reported(
    elsewhere: OldTables, take: Import
) -> None:
    elsewhere.add_run("Error!", exception="a\x00b", traceback="c\x00d")
    elsewhere.add_run(run_time=NOON + MINUTE, job_id="x" * 256)
    elsewhere.add_run(run_time=NOON + 2 * MINUTE, finished=1e300)
    said = take("--database", "old").out
    assert "Runs: 3 read = 1 imported" in said and "+ 2 that could not be read" in said
    assert said.count("\nunreadable ") + said.startswith("unreadable ") == 2
    run = DjangoJobExecution.objects.get()
    assert (run.exception, run.traceback) == ("a␀b", "c␀d")


@BOTH
def test_missing_tables_are_named_with_what_to_do(elsewhere: OldTables, take: Import) -> None:
    elsewhere.drop()
    with pytest.raises(CommandError, match=r"no table django_apscheduler_djangojob.*--database"):
        take("--database", "old")


@pytest.mark.django_db
def test_an_unknown_database_is_named(take: Import) -> None:
    with pytest.raises(CommandError, match="no 'nowhere', but 'default'"):
        take("--database", "nowhere")


def test_an_unknown_time_zone_is_named(take: Import) -> None:
    with pytest.raises(CommandError, match="no time zone 'Mars'"):
        take("--time-zone", "Mars")


@BOTH
def test_tables_of_an_older_version_are_not_guessed_at(elsewhere: OldTables, take: Import) -> None:
    elsewhere.execute(f"ALTER TABLE {source.JOBS} ADD COLUMN name varchar(255)")
    with pytest.raises(CommandError, match=r"migrate django_apscheduler"):
        take("--database", "old")


@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_not_migrated_is_named(take: Import) -> None:
    call_command("migrate", "jobstore", "zero", verbosity=0)
    try:
        with pytest.raises(CommandError, match=r"manage\.py migrate"):
            take()
    finally:
        call_command("migrate", verbosity=0)
