"""What people do wrong in files of jobs, tried on real scheduler processes: the other jobs run."""

import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from pytest_django.fixtures import Settings

from jobstore.checks.declared_jobs import declared_jobs
from jobstore.health import status
from jobstore.models import DeclarationProblem, DjangoJob, DjangoJobExecution, SchedulerInstance
from jobstore.tests.conftest import eventually
from jobstore.tests.jobfiles import JobFiles
from jobstore.tests.processes import ROOT, SchedulerCommand, free_port

pytestmark = pytest.mark.django_db(transaction=True)

Run = DjangoJobExecution
Start = Callable[..., SchedulerCommand]

GOOD = '@scheduled("interval", id="good", seconds=1)\ndef good(): pass\n'
HUGE = "max_instances=10**30"
RELEASES = {
    "an import error": "import no_such_package",
    "L in a crontab": (
        "from apscheduler.triggers.cron import CronTrigger\n"
        '@scheduled(CronTrigger.from_crontab("0 0 L * *"), id="bad")\ndef bad(): pass'
    ),
    "an exit": "import sys; sys.exit(0)",
    "an integer as id": '@scheduled("cron", id=7, hour=3)\ndef bad(): pass',
    "one id twice": (
        '@scheduled("cron", id="bad", hour=3)\ndef a(): pass\n'
        '@scheduled("cron", id="bad", hour=3)\ndef b(): pass'
    ),
    "a number too large": f'@scheduled("cron", id="bad", hour=3, {HUGE})\ndef bad(): pass',
    "an executor that there is not": (
        '@scheduled("cron", id="bad", hour=3, executor="x" * 300)\ndef bad(): pass'
    ),
    "a decorator not called": "@scheduled\ndef bad(): pass",
}
# Only numbers meet other limits on another database; what is wrong with files is the same.
HERE = RELEASES if connection.vendor == "sqlite" else ["a number too large"]
REFUSED = ["an import error", "an exit", "one id twice"] if HERE is RELEASES else HERE


@pytest.fixture
def start(tmp_path: Path, files: JobFiles) -> Iterator[Start]:
    """Return a function that starts a scheduler with the files that the test wrote."""
    started: list[SchedulerCommand] = []

    def begin(*arguments: str, **environment: str) -> SchedulerCommand:
        log = tmp_path / f"log{len(started)}"
        path = {"PYTHONPATH": str(files.folder), "WRITTEN_APPS": files.app}
        one = SchedulerCommand(log, *arguments, **path, **environment)
        started.append(one)
        return one

    yield begin
    for one in started:
        one.kill()


def runs_of(job_id: str) -> int:
    return Run.objects.filter(job=job_id, status=Run.SUCCESS).count()


@pytest.mark.parametrize("release", HERE)
@pytest.mark.slow
def test_a_bad_release_runs_every_other_job_and_says_what_is_wrong(
    start: Start, files: JobFiles, release: str
) -> None:
    files.declare("good.py", GOOD)
    files.declare("bad.py", RELEASES[release])
    process = start()
    eventually(lambda: runs_of("good") > 1 and runs_of("tick") > 1, 30)
    log = process.log.read_text()
    told = [line for line in log.splitlines() if "bad.py:" in line]
    assert len(told) == 1 and " ERROR " in told[0]
    assert "Traceback" not in log
    problem = DeclarationProblem.objects.get()
    assert problem.is_fatal and "bad.py:" in problem.place
    assert SchedulerInstance.objects.get().role == SchedulerInstance.Role.ACTIVE
    assert process.end() == 0


@pytest.mark.parametrize("release", REFUSED)
@pytest.mark.slow
def test_a_start_that_refuses_bad_jobs_ends_before_it_competes(
    start: Start, files: JobFiles, release: str
) -> None:
    files.declare("good.py", GOOD)
    files.declare("bad.py", RELEASES[release])
    process = start(SCHEDULER_ON_BAD_JOBS="refuse")
    assert process.process.wait(60) == 1
    log = process.log.read_text()
    assert "bad.py:" in log and "SCHEDULER_ON_BAD_JOBS=refuse" in log and "Traceback" not in log
    assert not SchedulerInstance.objects.exists() and not DjangoJob.objects.exists()


@pytest.mark.parametrize("release", HERE)
@pytest.mark.slow
def test_check_finds_what_is_wrong_and_exits_with_1(
    start: Start, files: JobFiles, release: str
) -> None:
    files.declare("good.py", GOOD)
    files.declare("bad.py", RELEASES[release])
    process = start("--check")
    assert process.process.wait(60) == 1
    log = process.log.read_text()
    assert [line for line in log.splitlines() if "bad.py:" in line] and "Traceback" not in log
    assert "good  interval[0:00:01]" in log


@pytest.mark.slow
def test_a_job_whose_file_broke_goes_on_until_its_function_is_missed(
    start: Start, files: JobFiles
) -> None:
    files.declare("good.py", GOOD)
    files.declare("bad.py", GOOD.replace("good", "bad"))
    first = start()
    eventually(lambda: runs_of("bad") and runs_of("good"), 30)
    assert first.end() == 0
    files.declare("bad.py", "import no_such_package")
    second = start()
    quarantined = DjangoJob.objects.filter(pk="bad", quarantined_at__isnull=False)
    eventually(quarantined.exists, 30)
    before = runs_of("good")
    eventually(lambda: runs_of("good") > before, 10)
    assert second.end() == 0
    files.declare("bad.py", GOOD.replace("good", "bad"))
    before = runs_of("bad")
    start()
    eventually(lambda: runs_of("bad") > before, 30)
    assert not DeclarationProblem.objects.exists()


@pytest.mark.slow
def test_a_file_that_asks_the_database_when_it_is_imported_may_fail_at_first(
    start: Start, files: JobFiles, tmp_path: Path
) -> None:
    flag = tmp_path / "there"
    files.declare("good.py", GOOD)
    files.declare("bad.py", f"open({str(flag)!r})\n" + GOOD.replace("good", "bad"))
    process = start()
    eventually(lambda: runs_of("good"), 30)
    assert not DjangoJob.objects.filter(pk="bad").exists()
    flag.touch()
    assert process.end() == 0
    start()
    eventually(lambda: runs_of("bad"), 30)


@pytest.mark.slow
def test_a_job_that_runs_at_the_start_runs_once_for_each_start(
    start: Start, files: JobFiles
) -> None:
    files.declare("a.py", '@scheduled("cron", id="a", year=2999, run_at_start=True)\ndef a(): pass')
    first = start()
    eventually(lambda: runs_of("a") == 1, 30)
    time.sleep(1.5)
    assert first.end() == 0
    second = start()
    eventually(lambda: runs_of("a") == 2, 30)
    assert second.end() == 0
    assert runs_of("a") == 2
    assert {run.requested_by.partition(":")[0] for run in Run.objects.filter(job="a")} == {
        f"start of {SchedulerInstance.objects.first().host}"  # type: ignore[union-attr]
    }


FROZEN = """
import os, pathlib, time
from apscheduler.triggers.interval import IntervalTrigger
class Slow(IntervalTrigger):
    def get_next_fire_time(self, previous, now):
        # The second time is in the loop, when the lease is held and the jobs are to be stored.
        looks.append(1)
        if len(looks) == 2 and os.environ.get("GATE"):
            print("At the gate", flush=True)
            while not pathlib.Path(os.environ["GATE"]).exists():
                time.sleep(0.05)
        return super().get_next_fire_time(previous, now)
looks = []
@scheduled(Slow(hours=1), id="slow")
def slow(): pass
if os.environ.get("NEW"):
    @scheduled("interval", id="new", hours=1)
    def new(): pass
"""


@pytest.mark.slow
def test_a_process_that_was_frozen_before_it_stored_its_jobs_does_not_retire_new_ones(
    start: Start, files: JobFiles, tmp_path: Path
) -> None:
    files.declare("a.py", FROZEN)
    gate = tmp_path / "gate"
    old = start(GATE=str(gate))
    eventually(lambda: "At the gate" in old.log.read_text(), 30)
    old.process.send_signal(signal.SIGSTOP)
    try:
        start(NEW="yes", SCHEDULER_SURPLUS="standby")
        eventually(lambda: DjangoJob.objects.filter(pk="new").exists(), 30)
        gate.touch()
    finally:
        old.process.send_signal(signal.SIGCONT)
    eventually(lambda: "another process holds the lease now" in old.log.read_text(), 30)
    time.sleep(1)
    assert DjangoJob.objects.filter(pk="new").exists()


# --- Where it is told ----------------------------------------------------------------------------


def problem(job_id: str = "bad", **values: Any) -> DeclarationProblem:
    from jobstore.models import database_now

    given = {
        "place": "jobs/bad.py:3",
        "text": "It is <wrong>.",
        "noticed_at": database_now("default"),
    }
    return DeclarationProblem.objects.create(subject=job_id, **given | values)


def test_the_page_of_jobs_tells_what_is_wrong_and_marks_the_job(admin_client: Client) -> None:
    problem()
    DjangoJob.objects.create(pk="bad", job_state=b"", trigger="cron[hour='3']")
    DjangoJob.objects.create(pk="good", job_state=b"", trigger="cron[hour='3']")
    page = admin_client.get("/admin/jobstore/djangojob/").content.decode()
    text = "jobs/bad.py:3: It is &lt;wrong&gt;."
    assert f"<li>{text}" in page
    assert f'title="{text}">{text}</span>' in page
    assert page.count("not as declared") == 1
    own = admin_client.get("/admin/jobstore/djangojob/bad/change/").content.decode()
    assert "not as declared" in own and "It is &lt;wrong&gt;." in own
    assert (
        "not as declared"
        not in admin_client.get("/admin/jobstore/djangojob/good/change/").content.decode()
    )


@pytest.mark.django_db
@pytest.mark.parametrize("is_fatal", [True, False])
def test_jobs_that_are_only_questionable_are_not_shown_as_wrong(
    admin_client: Client, is_fatal: bool
) -> None:
    problem("odd", is_fatal=False)
    problem(is_fatal=is_fatal)
    page = admin_client.get("/admin/jobstore/djangojob/").content.decode()
    assert ("Some declarations in the code are wrong." in page) is is_fatal
    assert ("Some declarations in the code are questionable." in page) is not is_fatal
    assert ("(it runs nevertheless)" in page) is is_fatal


def test_the_status_tells_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    problem()
    with pytest.raises(CommandError):  # nobody is active
        call_command("scheduler_status")
    assert "jobs/bad.py:3: It is <wrong>." in capsys.readouterr().out
    [told] = status.overview("default")["declaration_problems"]
    assert (told["subject"], told["is_fatal"]) == ("bad", True)


@pytest.mark.slow
def test_a_metric_counts_what_is_wrong(start: Start, files: JobFiles) -> None:
    address = f"127.0.0.1:{free_port()}"
    files.declare("bad.py", "1 / 0\n")
    process = start(SCHEDULER_HEALTH_ADDRESS=address)
    eventually(process.is_active, 30)
    with urllib.request.urlopen(f"http://{address}/metrics") as answer:
        assert "jobstore_declaration_problems 1\n" in answer.read().decode()


ODD = {
    "an id with half of a character": (
        '@scheduled("interval", id="a\\ud800", days=1)\ndef bad(): pass'
    ),
    "an id with NUL": '@scheduled("interval", id="a\\0", days=1)\ndef bad(): pass',
    "an id of a megabyte": '@scheduled("interval", id="x" * 10**6, days=1)\ndef bad(): pass',
    "an id of many lines": '@scheduled("interval", id="a\\nb", hour=1)\ndef bad(): pass',
    "an error with half of a character": 'raise ValueError("\\udcff")',
    "an error with NUL": 'raise ValueError("\\0")',
    "an argument of a megabyte": (
        '@scheduled("interval", args=["x" * 10**6], daze=1)\ndef bad(one): pass'
    ),
}


@pytest.mark.parametrize("content", ODD.values(), ids=ODD)
def test_what_is_wrong_is_stored_whatever_it_holds(files: JobFiles, content: str) -> None:
    files.declare("good.py", GOOD)
    files.declare("bad.py", content)
    assert [change.job_id for change in files.sync()] == ["good"]
    [stored] = DeclarationProblem.objects.all()
    assert "bad.py:2" in stored.place and len(stored.text) < 5000
    files.declare("bad.py", "")
    files.sync()
    assert not DeclarationProblem.objects.exists()


def test_a_file_whose_name_is_no_text_is_told_and_stops_nothing(files: JobFiles) -> None:
    files.declare("good.py", GOOD)
    written = files.declare("bad.py", GOOD.replace("good", "bad"))
    written.rename(written.with_name("b\udcffd.py"))
    assert [change.job_id for change in files.sync()] == ["good"]
    [stored] = DeclarationProblem.objects.all()
    assert "b\\udcffd.py:2" in stored.place and "not a name that Python can import" in stored.text


@pytest.mark.parametrize(("policy", "expected"), [("skip", "W010"), ("refuse", "E010")])
def test_a_system_check_tells_what_is_wrong_without_a_database(
    files: JobFiles, settings: Settings, policy: str, expected: str
) -> None:
    settings.SCHEDULER_ON_BAD_JOBS = policy
    files.declare("good.py", GOOD)
    files.declare("bad.py", "1 / 0")
    connection.close()
    [message] = declared_jobs(None)
    assert message.id == f"jobstore.{expected}" and "bad.py:2" in message.msg
    assert connection.connection is None


def test_migrate_is_not_stopped_by_a_bad_file(files: JobFiles) -> None:
    files.declare("bad.py", "1 / 0")
    done = subprocess.run(
        [sys.executable, "manage.py", "migrate", "--check"],
        cwd=ROOT,
        env=SchedulerCommand.everything(PYTHONPATH=str(files.folder), WRITTEN_APPS=files.app),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
