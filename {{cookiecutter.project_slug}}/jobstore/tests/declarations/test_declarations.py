"""What is wrong with a declaration leaves out that one, and is told in a sentence with its line."""

import datetime as dt
import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from apscheduler.schedulers.background import BackgroundScheduler
from django.db import connection

from jobstore import registry
from jobstore.declarations import declaration
from jobstore.models import DjangoJob, DjangoJobExecution
from jobstore.storage import serializer
from jobstore.tests.jobfiles import JobFiles
from jobstore.tests.processes import ROOT

GOOD = """
@scheduled("cron", id="good", hour=3)
def good():
    pass
"""

# What somebody wrote below the import: what is wrong with it, and the job's id.
WRONG = {
    "a cron field that is none": (
        '@scheduled("cron", id="bad", hour=25)\ndef bad(): pass',
        "25",
    ),
    "an argument that no trigger has": (
        '@scheduled("cron", id="bad", our=3)\ndef bad(): pass',
        "our",
    ),
    "a trigger that there is not": (
        '@scheduled("crom", id="bad", hour=3)\ndef bad(): pass',
        "crom",
    ),
    "no trigger": ('@scheduled(None, id="bad")\ndef bad(): pass', "say when it runs"),
    "a negative interval": (
        '@scheduled("interval", id="bad", seconds=-5)\ndef bad(): pass',
        "not above 0",
    ),
    "an interval without a length": (
        '@scheduled("interval", id="bad", seconds=0)\ndef bad(): pass',
        "needs a length",
    ),
    "an interval object that is negative": (
        "from apscheduler.triggers.interval import IntervalTrigger\n"
        '@scheduled(IntervalTrigger(minutes=-1), id="bad")\ndef bad(): pass',
        "not above 0",
    ),
    "a negative interval in a combination": (
        "from apscheduler.triggers.interval import IntervalTrigger\n"
        "from apscheduler.triggers.combining import OrTrigger\n"
        '@scheduled(OrTrigger([IntervalTrigger(minutes=-1)]), id="bad")\ndef bad(): pass',
        "not above 0",
    ),
    "a negative jitter": (
        '@scheduled("cron", id="bad", hour=3, jitter=-5)\ndef bad(): pass',
        "jitter",
    ),
    "options beside a trigger object": (
        "from apscheduler.triggers.cron import CronTrigger\n"
        '@scheduled(CronTrigger(hour=3), id="bad", minute=5)\ndef bad(): pass',
        "minute= has no effect",
    ),
    "another job store": (
        '@scheduled("cron", id="bad", hour=3, jobstore="redis")\ndef bad(): pass',
        "jobstore= has no meaning",
    ),
    "replace_existing": (
        '@scheduled("cron", id="bad", hour=3, replace_existing=True)\ndef bad(): pass',
        "replace_existing= has no meaning",
    ),
    "a word for on_lost that there is not": (
        '@scheduled("cron", id="bad", hour=3, on_lost="retry")\ndef bad(): pass',
        "'record', 'rerun'",
    ),
    "text for coalesce": (
        '@scheduled("cron", id="bad", hour=3, coalesce="false")\ndef bad(): pass',
        "coalesce is True or False",
    ),
    "a word for run_at_start": (
        '@scheduled("cron", id="bad", hour=3, run_at_start="yes")\ndef bad(): pass',
        "run_at_start is True or False",
    ),
    "arguments that the function does not take": (
        '@scheduled("cron", id="bad", hour=3, args=[1, 2])\ndef bad(): pass',
        "arguments",
    ),
    "arguments that are text": (
        '@scheduled("cron", id="bad", hour=3, args="ab")\ndef bad(a, b): pass',
        "a list or a tuple",
    ),
    "arguments that are used up": (
        '@scheduled("cron", id="bad", hour=3, args=(x for x in "ab"))\ndef bad(a, b): pass',
        "a list or a tuple",
    ),
    "arguments that cannot be pickled": (
        'import sys\n@scheduled("cron", id="bad", hour=3, args=[sys])\ndef bad(a): pass',
        "cannot be pickled",
    ),
    "an argument whose text is its address": (
        'class Thing: pass\n@scheduled("cron", id="bad", hour=3, args=[Thing()])\ndef bad(a): pass',
        "reads differently in every process",
    ),
    "an address deep inside of an argument": (
        "class Thing: pass\n"
        '@scheduled("cron", id="bad", hour=3, kwargs={"a": [{"x": Thing()}]})\ndef bad(a): pass',
        "reads differently in every process",
    ),
    "the moment of the import": (
        "import datetime\n"
        '@scheduled("cron", id="bad", hour=3, args=[datetime.datetime.now()])\ndef bad(a): pass',
        "holds the time of the start",
    ),
    "the moment of the import as the next run": (
        "import datetime\n"
        '@scheduled("cron", id="bad", hour=3, next_run_time=datetime.datetime.now())\n'
        "def bad(): pass",
        "run_at_start=True",
    ),
    "a text that raises": (
        "class Thing:\n    def __repr__(self): raise SystemExit('no')\n"
        '@scheduled("cron", id="bad", hour=3, args=[Thing()])\ndef bad(a): pass',
        "SystemExit: no",
    ),
    "an executor that there is not": (
        '@scheduled("cron", id="bad", hour=3, executor="fast")\ndef bad(): pass',
        "there is no executor 'fast'",
    ),
    "an executor whose name is too long": (
        '@scheduled("cron", id="bad", hour=3, executor="x" * 300)\ndef bad(): pass',
        "191 characters",
    ),
    "arguments that are too large": (
        '@scheduled("cron", id="bad", hour=3, args=["x" * 5_000_000])\ndef bad(a): pass',
        "larger than 3 MB",
    ),
    "an integer as id": (
        '@scheduled("cron", id=7, hour=3)\ndef bad(): pass',
        "its id 7 is not text",
    ),
    "an empty id": ('@scheduled("cron", id="", hour=3)\ndef bad(): pass', "its id is empty"),
    "an id that is too long": (
        '@scheduled("cron", id="x" * 256, hour=3)\ndef bad(): pass',
        "at most 255",
    ),
    "an id that no database stores": (
        '@scheduled("cron", id="a\\0b", hour=3)\ndef bad(): pass',
        "NUL",
    ),
    "a decorator that was not called": ("@scheduled\ndef bad(): pass", "write @scheduled("),
    "a generator": (
        '@scheduled("cron", id="bad", hour=3)\ndef bad(): yield 1',
        "it is a generator",
    ),
    "an asynchronous generator": (
        '@scheduled("cron", id="bad", hour=3)\nasync def bad(): yield 1',
        "it is a generator",
    ),
    "a partial": (
        'import functools\nbad = scheduled("cron", id="bad", hour=3)(functools.partial(print, 1))',
        "a partial has no name",
    ),
    "a partial without an id": (
        'import functools\nbad = scheduled("cron", hour=3)(functools.partial(print, 1))',
        "a partial has no name",
    ),
    "a lambda": ('bad = scheduled("cron", id="bad", hour=3)(lambda: 1)', "lambdas"),
    "a nested function": (
        "def make():\n"
        '    @scheduled("cron", id="bad", hour=3)\n    def bad(): pass\n    return bad\n'
        "bad = make()",
        "nested functions",
    ),
    "an object that can be called": (
        "class Job:\n    def __call__(self): pass\n"
        'bad = scheduled("cron", id="bad", hour=3)(Job())',
        "it has no name",
    ),
    "something that cannot be called": (
        'bad = scheduled("cron", id="bad", hour=3)(5)',
        "5 cannot be called",
    ),
    "a method without its object": (
        'class Job:\n    @scheduled("cron", id="bad", hour=3)\n    def bad(self): pass',
        "self",
    ),
    "a function that is deleted": (
        '@scheduled("cron", id="bad", hour=3)\ndef bad(): pass\ndel bad',
        "nothing named 'bad'",
    ),
    "a function that another decorator replaces": (
        "def quiet(func):\n    def wrapper(): func()\n    return wrapper\n"
        '@quiet\n@scheduled("cron", id="bad", hour=3)\ndef bad(): pass',
        "the name bad stands for something else",
    ),
    "a trigger that raises": (
        "from apscheduler.triggers.base import BaseTrigger\n"
        "class Odd(BaseTrigger):\n"
        "    def get_next_fire_time(self, previous, now): raise KeyError('odd')\n"
        "    def __getstate__(self): return {}\n"
        '@scheduled(Odd(), id="bad")\ndef bad(): pass',
        "odd",
    ),
    "a trigger that ends the process": (
        "from apscheduler.triggers.base import BaseTrigger\n"
        "class Odd(BaseTrigger):\n"
        "    def get_next_fire_time(self, previous, now): raise SystemExit(3)\n"
        "    def __getstate__(self): return {}\n"
        '@scheduled(Odd(), id="bad")\ndef bad(): pass',
        "SystemExit",
    ),
    "a trigger that never answers": (
        "import time\n"
        "from apscheduler.triggers.base import BaseTrigger\n"
        "class Odd(BaseTrigger):\n"
        "    def get_next_fire_time(self, previous, now): time.sleep(60)\n"
        "    def __getstate__(self): return {}\n"
        '@scheduled(Odd(), id="bad")\ndef bad(): pass',
        "finds no run time within",
    ),
    "arguments without names": (
        '@scheduled("bad", "cron", hour=3)\ndef bad(): pass',
        "needs a name",
    ),
    "an interval without a name": (
        'import datetime\n@scheduled("interval", datetime.timedelta(1), id="bad")\ndef bad(): pass',
        "needs a name",
    ),
    "nothing at all": ("@scheduled()\ndef bad(): pass", "say when it runs"),
    "a timedelta as trigger": (
        'import datetime\n@scheduled(datetime.timedelta(minutes=5), id="bad")\ndef bad(): pass',
        'write "interval", seconds=300',
    ),
    "a moment as trigger": (
        'import datetime\n@scheduled(datetime.datetime(2030, 1, 1), id="bad")\ndef bad(): pass',
        'write "date"',
    ),
    "a number as trigger": ('@scheduled(60, id="bad")\ndef bad(): pass', "not of the type int"),
    "a line of a crontab as trigger": (
        '@scheduled("0 2 * * *", id="bad")\ndef bad(): pass',
        "write crontab('0 2 * * *')",
    ),
    "a capital letter": (
        '@scheduled("Interval", id="bad", seconds=5)\ndef bad(): pass',
        "'Interval' is not a trigger",
    ),
    "a cron trigger without a field": (
        '@scheduled("cron", id="bad")\ndef bad(): pass',
        "every second",
    ),
    "several hours as a tuple": (
        '@scheduled("cron", id="bad", hour=(8, 12))\ndef bad(): pass',
        "hour='12,8'",
    ),
    "an empty hour": ('@scheduled("cron", id="bad", hour="")\ndef bad(): pass', "hour is empty"),
    "a zone that there is not": (
        '@scheduled("cron", id="bad", hour=3, timezone="Europe/Nowhere")\ndef bad(): pass',
        "the time zone 'Europe/Nowhere' is not known",
    ),
    "an end that is no date": (
        '@scheduled("cron", id="bad", hour=3, end_date="tomorrow")\ndef bad(): pass',
        "end_date='tomorrow' is not a date",
    ),
    "a day that the month has not": (
        '@scheduled("date", id="bad", run_date="2030-02-31")\ndef bad(): pass',
        "run_date='2030-02-31' is not a date",
    ),
    "a word as the next run": (
        '@scheduled("cron", id="bad", hour=3, next_run_time="now")\ndef bad(): pass',
        "next_run_time='now' is not a date",
    ),
    "text for seconds": (
        '@scheduled("interval", id="bad", seconds="10")\ndef bad(): pass',
        "seconds='10' is not a number",
    ),
    "seconds that are no number": (
        '@scheduled("interval", id="bad", seconds=float("nan"))\ndef bad(): pass',
        "seconds=nan is not a length",
    ),
    "text for jitter": (
        '@scheduled("cron", id="bad", hour=3, jitter="5")\ndef bad(): pass',
        "jitter='5' is not a number",
    ),
    "a key that is no name": (
        '@scheduled("cron", id="bad", hour=3, kwargs={1: 2})\ndef bad(**given): pass',
        "the key 1 of kwargs",
    ),
    "rows of the database": (
        "from jobstore.models import DjangoJob\n"
        '@scheduled("cron", id="bad", hour=3, args=[[DjangoJob.objects.all()]])\n'
        "def bad(rows): pass",
        "pass primary keys",
    ),
    "a row of the database": (
        "from jobstore.models import DjangoJob\n"
        '@scheduled("cron", id="bad", hour=3, kwargs={"row": DjangoJob(id="x")})\n'
        "def bad(row): pass",
        "pass primary keys",
    ),
    "L in a crontab": (
        "from apscheduler.triggers.cron import CronTrigger\n"
        '@scheduled(CronTrigger.from_crontab("0 0 L * *"), id="bad")\ndef bad(): pass',
        "cannot be imported",
    ),
}


@pytest.mark.parametrize("content", WRONG)
def test_one_bad_declaration_does_not_stop_other_jobs(
    files: JobFiles, content: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobstore.declarations.validation.TRIGGER_SECONDS", 0.5)
    wrong, text = WRONG[content]
    path = files.declare("bad.py", wrong)
    files.declare("good.py", GOOD)
    found = files.collect()
    assert set(found.jobs) == {"good"}
    assert found.fatal
    for problem in found.fatal:
        assert text in problem.text
        assert str(path) in problem.place and problem.place.rpartition(":")[2].isdigit()
        assert "\n" not in str(problem)


def test_a_job_declared_as_it_should_be_has_no_problem(files: JobFiles) -> None:
    files.declare("good.py", GOOD)
    found = files.collect()
    assert (list(found.jobs), found.problems) == (["good"], [])


# --- Ids and names -------------------------------------------------------------------------------


def test_one_id_in_two_files_is_refused_naming_both_lines(files: JobFiles) -> None:
    for name in ("a", "b"):
        files.declare(f"{name}.py", f'@scheduled("cron", id="report", hour=3)\ndef {name}(): pass')
    files.declare("good.py", GOOD)
    assert "jobs/a.py:2 and jobs/b.py:2" in files.problems()["report"]
    assert list(files.collect().jobs) == ["good"]


def test_two_functions_of_one_name_are_refused_naming_both_lines(files: JobFiles) -> None:
    one = '@scheduled("cron", hour=3)\ndef report(): pass\n'
    files.declare("a.py", one + one)
    files.declare("good.py", GOOD)
    assert "jobs/a.py:2 and jobs/a.py:4" in files.problems()["jobs.a.report"]
    assert list(files.collect().jobs) == ["good"]


def test_the_first_of_two_functions_of_one_name_never_runs_the_second(files: JobFiles) -> None:
    files.declare(
        "a.py",
        """
@scheduled("cron", id="first", hour=3)
def report(): pass
@scheduled("cron", id="second", hour=3)
def report(): pass
""",
    )
    said = files.problems()
    assert list(said) == ["first"]
    assert "line 4 of jobs/a.py" in said["first"] and "line 2 of jobs/a.py" in said["first"]
    assert list(files.collect().jobs) == ["second"]


def test_a_plain_function_that_takes_the_name_is_no_job(files: JobFiles) -> None:
    files.declare("a.py", '@scheduled("cron", id="a", hour=3)\ndef a(): pass\ndef a(): pass')
    assert "stands for something else" in files.problems()["a"]


def test_a_function_declared_twice_has_two_jobs_if_their_ids_differ(files: JobFiles) -> None:
    files.declare(
        "a.py",
        """
@scheduled("cron", id="morning", hour=3)
@scheduled("cron", hour=15)
def report(): pass
""",
    )
    found = files.collect()
    assert found.problems == []
    assert {job_id.replace(f"{files.app}.", "") for job_id in found.jobs} == {
        "morning",
        "jobs.a.report",
    }


def test_a_function_declared_twice_without_ids_asks_for_them(files: JobFiles) -> None:
    files.declare(
        "a.py",
        """
@scheduled("cron", hour=3)
@scheduled("cron", hour=15)
def report(): pass
""",
    )
    said = files.problems()["jobs.a.report"]
    assert "jobs/a.py:2 and jobs/a.py:3" in said or "jobs/a.py:3 and jobs/a.py:2" in said
    assert "give each an id of its own" in said


def test_a_loop_that_declares_one_id_again_and_again_is_refused(files: JobFiles) -> None:
    files.declare(
        "a.py",
        """
def report(): pass
for hour in (3, 15):
    scheduled("cron", id="report", hour=hour)(report)
""",
    )
    assert "declared 2 times" in files.problems()["report"]


def test_a_loop_that_declares_two_functions_by_one_id_is_refused(files: JobFiles) -> None:
    files.declare(
        "a.py",
        """
def one(): pass
def two(): pass
for func in (one, two):
    scheduled("cron", id="report", hour=3)(func)
""",
    )
    assert "declared 2 times" in files.problems()["report"]


def test_a_file_that_is_imported_again_declares_its_jobs_once(files: JobFiles) -> None:
    files.declare("good.py", GOOD)
    files.collect()
    importlib.reload(sys.modules[f"{files.package}.good"])
    found = registry.collect(BackgroundScheduler(timezone="UTC"))
    assert (list(found.jobs), found.problems) == (["good"], [])


def test_a_decorator_that_keeps_the_function_visible_may_stand_above(files: JobFiles) -> None:
    files.declare(
        "a.py",
        """
import functools
def quiet(func):
    @functools.wraps(func)
    def wrapper(): func()
    return wrapper
@quiet
@scheduled("cron", id="a", hour=3)
def a(): pass
class Jobs:
    @staticmethod
    @scheduled("cron", id="static", hour=3)
    def static(): pass
    @classmethod
    def of_class(cls): pass
    def own(self): pass
    def __repr__(self): return "Jobs()"
scheduled("cron", id="class", hour=3)(Jobs.of_class)
scheduled("cron", id="object", hour=3)(Jobs().own)
""",
    )
    found = files.collect()
    assert (list(found.jobs), found.problems) == (["a", "class", "object", "static"], [])


@pytest.mark.django_db
@pytest.mark.parametrize(
    "content",
    [
        'class Jobs:\n    @scheduled("date", id="job")\n    @staticmethod\n    def job(): pass',
        '@scheduled("date", id="job")\n@functools.lru_cache\ndef job(): pass',
        "class Quiet:\n"
        "    def __init__(self, func): functools.update_wrapper(self, func)\n"
        "    def __call__(self): return self.__wrapped__()\n"
        '@scheduled("date", id="job")\n@Quiet\ndef job(): pass',
    ],
    ids=["staticmethod", "lru_cache", "an object"],
)
def test_a_function_inside_of_an_object_is_found_again(files: JobFiles, content: str) -> None:
    files.declare("odd.py", f"import functools\n{content}")
    assert files.problems() == {}
    files.sync()
    row = DjangoJob.objects.get()
    found: Any = sys.modules[f"{files.package}.odd"]
    for name in row.func.partition(":")[2].split("."):
        found = getattr(found, name)
    assert serializer.restore(row).func is found
    assert found() is None


@pytest.mark.django_db
def test_an_id_that_is_a_member_of_an_enum_is_its_text(files: JobFiles) -> None:
    files.declare(
        "odd.py",
        """
        import enum
        class Id(str, enum.Enum):
            JOB = "job"
        @scheduled("cron", id=Id.JOB, hour=3)
        def job():
            pass
        """,
    )
    files.sync()
    row = DjangoJob.objects.get()
    assert (row.pk, serializer.restore(row).id) == ("job", "job")
    assert files.sync() == []


def test_an_interval_that_is_too_short_to_keep_is_told_and_runs(files: JobFiles) -> None:
    files.declare("odd.py", '@scheduled("interval", id="job", seconds=0.000001)\ndef job(): pass')
    [problem] = files.collect().problems
    assert "most of its times are skipped" in problem.text and not problem.is_fatal


def test_a_helper_that_declares_is_told_by_the_line_that_uses_it(files: JobFiles) -> None:
    files.declare("helper.py", 'def nightly(func): return scheduled("cron", hour=25)(func)')
    head = f"from {files.package}.helper import nightly\n"
    files.write("a.py", "@nightly\ndef one(): pass\n\n@nightly\ndef two(): pass\n", head)
    places = [problem.place for problem in files.collect().problems]
    assert [place.rpartition("/")[2] for place in places] == ["a.py:2", "a.py:5"]


# --- Text that is the same in every process ------------------------------------------------------


@pytest.mark.slow
def test_a_digest_is_the_same_in_every_process(tmp_path: Path) -> None:
    program = """
import dataclasses, datetime, decimal, uuid, sys
import django; django.setup()
from jobstore.declarations.declaration import Declaration
@dataclasses.dataclass
class Point:
    names: set
def work(): pass
values = [{"a", "b", "c"}, frozenset(["x", "y", "z"]), Point({"p", "q", "r"}), work, len,
          {"k": [({"l", "m", "n"},)]}, decimal.Decimal("1.5"), uuid.UUID(int=7), int,
          datetime.timedelta(days=1), datetime.date(2026, 1, 1)]
print(Declaration("a", work, "cron", {"args": values}).digest)
"""
    said = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": seed, "DJANGO_SETTINGS_MODULE": "tests.settings"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(said) == 1


@pytest.mark.parametrize(
    "value",
    [
        *(None, 1, 1.5, "a", b"a", (), (1,), (1, 2), [], [1, "a"], {}, {"a": [1]}, {1: (2,)}),
        *(set(), frozenset(), {1}, frozenset([1]), int, dt.date(2026, 1, 1), "at 0x7f00"),
    ],
    ids=repr,
)
def test_the_text_of_what_is_stable_already_is_its_own(value: object) -> None:
    """Or the next version of this code would take every job for changed, and write it anew."""
    assert declaration.stable_text(value) == repr(value)


# --- What databases hold -------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["max_instances", "misfire_grace_time"])
def test_a_number_that_no_column_holds_is_told_without_asking_the_database(
    files: JobFiles, name: str
) -> None:
    files.declare("a.py", f'@scheduled("cron", id="a", hour=3, {name}=10**20)\ndef a(): pass')
    assert f"is more than {connection.display_name} holds" in files.problems()["a"]


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["max_instances", "misfire_grace_time"])
def test_the_highest_number_that_a_column_holds_is_stored(files: JobFiles, name: str) -> None:
    kind = DjangoJob._meta.get_field(name).get_internal_type()
    highest = connection.ops.integer_field_range(kind)[1]
    files.declare("a.py", f'@scheduled("cron", id="a", hour=3, {name}={highest})\ndef a(): pass')
    assert [change.action for change in files.sync()] == ["add"]
    assert DjangoJob.objects.values_list(name, flat=True).get() == highest
    files.declare(
        "a.py", f'@scheduled("cron", id="a", hour=3, {name}={highest + 1})\ndef a(): pass'
    )
    assert "is more than" in files.problems()["a"]


# --- A first time, and runs at the start ---------------------------------------------------------


@pytest.mark.django_db
def test_a_job_can_be_given_its_first_time(files: JobFiles) -> None:
    files.declare(
        "a.py",
        """
import datetime
at = datetime.datetime(2999, 1, 1, tzinfo=datetime.timezone.utc)
@scheduled("interval", id="a", hours=1, next_run_time=at)
def a(): pass
@scheduled("interval", id="paused", hours=1, next_run_time=None)
def paused(): pass
@scheduled("interval", id="text", hours=1, next_run_time="2999-01-01 00:00:00")
def text(): pass
""",
    )
    files.sync()
    times = dict(DjangoJob.objects.values_list("pk", "next_run_time"))
    at = dt.datetime(2999, 1, 1, tzinfo=dt.UTC)
    assert times == {"a": at, "paused": None, "text": at}
    assert files.sync() == []


@pytest.mark.django_db
def test_a_new_first_time_moves_a_job_but_does_not_resume_a_paused_one(files: JobFiles) -> None:
    content = """
@scheduled("interval", id="a", hours=1, next_run_time="{0}")
def a(): pass
@scheduled("interval", id="paused", hours=1, next_run_time="{0}")
def paused(): pass
"""
    files.declare("a.py", content.format("2999-01-01 00:00:00"))
    files.sync()
    DjangoJob.objects.get(pk="paused").pause()
    files.declare("a.py", content.format("2998-01-01 00:00:00"))
    files.sync()
    times = dict(DjangoJob.objects.values_list("pk", "next_run_time"))
    assert times == {"a": dt.datetime(2998, 1, 1, tzinfo=dt.UTC), "paused": None}


@pytest.mark.django_db
def test_a_run_at_the_start_is_asked_for_once_and_leaves_the_schedule(files: JobFiles) -> None:
    files.declare(
        "a.py",
        """
@scheduled("cron", id="a", year=2999, run_at_start=True)
def a(): pass
@scheduled("cron", id="paused", year=2999, next_run_time=None, run_at_start=True)
def paused(): pass
@scheduled("cron", id="other", year=2999)
def other(): pass
""",
    )
    files.sync(start_of="start of here")
    files.sync(start_of="start of here")
    [run] = DjangoJobExecution.objects.all()
    assert (run.job_id, run.status, run.requested_by) == ("a", run.REQUESTED, "start of here")
    assert DjangoJob.objects.get(pk="a").next_run_time == dt.datetime(2999, 1, 1, tzinfo=dt.UTC)


@pytest.mark.django_db
def test_starts_that_follow_each_other_quickly_do_not_pile_up_runs(files: JobFiles) -> None:
    files.declare("a.py", '@scheduled("cron", id="a", hour=3, run_at_start=True)\ndef a(): pass')
    files.sync(start_of="start of one")
    files.sync(start_of="start of two")
    assert DjangoJobExecution.objects.count() == 1
    DjangoJobExecution.objects.update(status=DjangoJobExecution.SUCCESS)
    files.sync(start_of="start of three")
    assert DjangoJobExecution.objects.count() == 2
