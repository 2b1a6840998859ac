"""`manage.py jobs`: what it prints, how it ends, and what it says to each mistake."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from rich.console import Console

from jobstore import api, registry
from jobstore.declarations.offers import Offer, offer_of
from jobstore.management.jobs import running
from jobstore.management.jobs.context import Context
from jobstore.models import AuditEntry, DjangoJob, DjangoJobExecution
from jobstore.storage import serializer
from jobstore.tests import callables
from jobstore.tests.api import offers
from jobstore.tests.api.test_adding import add
from jobstore.tests.conftest import StartScheduler
from jobstore.tests.processes import ROOT, SchedulerCommand

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("english_and_utc")]

Run = DjangoJobExecution
GREET = "jobstore.tests.api.offers.greet"
LOG_IN = "jobstore.tests.api.offers.log_in"


@pytest.fixture(autouse=True)
def _offered(monkeypatch: pytest.MonkeyPatch) -> None:
    functions = (offers.greet, offers.log_in, callables.note, callables.fail, callables.sleep)
    found = [offer_of(one, is_typed=False) for one in functions]
    offered: dict[str, Offer] = {one.key: one for one in found}
    monkeypatch.setattr(registry, "_offered", offered)
    monkeypatch.setattr(registry, "_declared", {})
    monkeypatch.setattr("jobstore.declarations.discovery.import_jobs", list)


def jobs(*arguments: str) -> str:
    output = io.StringIO()
    call_command("jobs", *arguments, stdout=output)
    return output.getvalue()


def fails(code: int, *arguments: str) -> str:
    with pytest.raises(CommandError) as error:
        jobs(*arguments)
    text = str(error.value)
    assert error.value.returncode == code, text
    return text


def stored(job_id: str = "job") -> DjangoJob:
    return api.get(job_id)


# --- Looking --------------------------------------------------------------------------------------


def test_the_list_shows_what_runs_when_and_why_not() -> None:
    add("a")
    add("b")
    api.pause("b", "holidays")
    lines = jobs("list").splitlines()
    assert lines[0].split()[:2] == ["JOB", "STATE"]
    assert lines[1].startswith("a    scheduled")
    assert "UTC" in lines[1] and "interval[1:00:00]" in lines[1]
    assert lines[2].startswith("b    paused") and lines[2].endswith("holidays")
    assert lines[3] == "2 jobs."


def test_filters_are_those_of_the_api_and_json_is_for_scripts() -> None:
    add("a")
    add("b", func=offers.greet, args=["Ann"])
    assert [one["id"] for one in json.loads(jobs("list", "greet", "--json"))] == ["b"]
    assert json.loads(jobs("list", "--state", "paused", "--json")) == []
    assert [one["id"] for one in json.loads(jobs("list", "--no-declared", "--json"))] == ["a", "b"]


def test_a_long_list_is_cut_and_says_so() -> None:
    for job_id in "abc":
        add(job_id)
    assert jobs("list", "--limit", "2").splitlines()[-1] == "3 jobs; 1 more, --limit 0 shows all."
    assert len(jobs("list", "--limit", "0").splitlines()) == 5


def test_the_list_never_reads_states() -> None:
    for job_id in "abc":
        add(job_id)
    with CaptureQueriesContext(connection) as queries:
        jobs("list")
    assert not any("job_state" in one["sql"] for one in queries)
    # Nor does it read anything else for each job.
    assert (
        len([one for one in queries if 'FROM "jobstore_djangojob"' in one["sql"].replace("`", '"')])
        == 1
    )


def test_one_job_is_shown_with_its_times_and_runs() -> None:
    add(func=offers.log_in, args=["ann", "hunter2"])
    api.run_now("job")
    text = jobs("show", "job")
    assert "'ann', ********" in text and "hunter2" not in text
    assert "Requested" in text
    told = json.loads(jobs("show", "job", "--json"))
    assert len(told["next_run_times"]) == 5
    assert told["runs"][0]["status"] == "Requested"


def test_history_is_filtered() -> None:
    add("a")
    add("b")
    api.run_all_now(["a", "b"])
    Run.objects.filter(job="b").update(status=Run.ERROR, exception="broken")
    assert [one["job"] for one in json.loads(jobs("history", "--json"))] != []
    assert [one["job"] for one in json.loads(jobs("history", "a", "--json"))] == ["a"]
    assert "broken" in jobs("history", "--status", "error", "--since", "1h")
    assert "There is no status 'lucky', only" in fails(2, "history", "--status", "lucky")


def test_the_next_times_are_printed() -> None:
    add()
    assert len(jobs("next", "job", "-n", "3").splitlines()) == 3
    api.pause("job")
    assert jobs("next", "job") == "Job job is paused and does not run.\n"


# --- Changing -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "trigger"),
    [
        (["--every", "1h30m"], "interval[1:30:00]"),
        (["--every", "2w"], "interval[14 days, 0:00:00]"),
        (["--crontab", "0 2 * * 0"], "cron[day_of_week='sun', hour='2', minute='0']"),
        (["--cron", "hour=3", "--cron", "day=last"], "cron[day='last', hour='3']"),
        (["--cron", "hour=3", "--timezone", "Asia/Tokyo"], "cron[hour='3'] Asia/Tokyo"),
        (["--at", "2031-01-31 08:00"], "date[2031-01-31 08:00:00 UTC]"),
    ],
)
def test_a_job_is_added_with_any_schedule(schedule: list[str], trigger: str) -> None:
    jobs("add", GREET, "--id", "job", "-a", "name=Ann", "-a", "times=2", *schedule)
    assert stored().trigger == trigger
    assert serializer.restore(stored()).kwargs == {"name": "Ann", "times": 2}


def test_all_options_can_be_given() -> None:
    jobs(
        *("add", GREET, "--id", "job", "-a", "name=Ann", "--every", "1h", "--name", "Greeting"),
        *("--no-coalesce", "--max-instances", "3", "--misfire-grace-time", "unlimited"),
        *("--on-lost", "rerun", "--paused", "not yet"),
    )
    job = stored()
    assert (job.name, job.coalesce, job.max_instances) == ("Greeting", False, 3)
    assert (job.misfire_grace_time, job.on_lost, job.pause_reason) == (None, "rerun", "not yet")


def test_a_job_is_changed_in_parts() -> None:
    add(func=offers.greet, args=["Ann"], kwargs={"times": 2})
    jobs("change", "job", "-a", "times=3", "--max-instances", "2")
    assert serializer.restore(stored()).kwargs == {"name": "Ann", "times": 3}
    jobs("change", "job", "--next", "2031-01-01 08:00")
    assert "2031" in str(stored().next_run_time)
    jobs("reschedule", "job", "--every", "5m")
    assert stored().trigger == "interval[0:05:00]"


def test_several_jobs_are_paused_resumed_and_retired() -> None:
    add("a")
    add("b")
    assert jobs("pause", "a", "b", "--reason", "holidays").splitlines() == [
        "Job a is paused.",
        "Job b is paused.",
    ]
    assert jobs("pause", "a") == "Job a: nothing to do.\n"
    jobs("resume", "a", "b")
    assert json.loads(jobs("retire", "a", "b", "--json"))[1] == {"id": "b", "changed": True}
    text = fails(1, "pause", "a")
    assert text == "Job 'a' is retired; add it again to have it run."


def test_what_was_done_before_a_refusal_is_said() -> None:
    add("a")
    assert fails(1, "pause", "a", "b") == "There is no job 'b'. Done before that: a."


# --- Running --------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_waiting_for_a_run_ends_with_its_code(start_scheduler: StartScheduler) -> None:
    add("well", func=offers.greet, args=["Ann"])
    add("ill", func=callables.fail)
    add("slow", func=callables.sleep, args=[3])
    start_scheduler()
    text = jobs("run", "well", "-a", "name=Bob", "--wait")
    assert ": Executed in " in text and text.endswith(". Bob x1\n")
    assert "did not end well" in fails(1, "run", "ill", "--wait")
    assert "has not ended after 1 s" in fails(3, "run", "slow", "--wait", "--timeout", "1")
    again = Run.objects.get(job="well").pk
    assert ". Bob x1" in jobs("rerun", str(again), "--wait")


def a_run_that_is_a_quarter_done() -> Run:
    add()
    run = api.run_now("job")
    far = {"progress_done": 1, "progress_total": 4, "progress_text": "[red]orders"}
    Run.objects.update(status=Run.RUNNING, **far)
    return run


def test_who_waits_sees_how_far_the_run_is() -> None:
    run, output = a_run_that_is_a_quarter_done(), io.StringIO()
    console = Console(file=output, force_terminal=True, width=200)
    running._wait(Context(console, {"timeout": 0.0}, "ann"), run)
    assert "Started execution, for 0 s, 25 % (1 of 4): [red]orders" in output.getvalue()


def test_progress_is_told_in_tables_and_as_json() -> None:
    a_run_that_is_a_quarter_done()
    assert jobs("history").splitlines()[1].endswith("25 % (1 of 4): [red]orders")
    told = {"done": 1.0, "total": 4.0, "text": "[red]orders"}
    assert json.loads(jobs("history", "--json"))[0]["progress"] == told
    assert json.loads(jobs("show", "job", "--json"))["runs"][0]["progress"] == told
    Run.objects.update(progress_done=None)
    assert json.loads(jobs("history", "--json"))[0]["progress"] is None


def test_runs_are_cancelled() -> None:
    add()
    run = api.run_now("job")
    assert jobs("cancel", str(run.pk)) == f"Run {run.pk} of job job is cancelled.\n"
    assert "has ended: Cancelled" in fails(1, "cancel", str(run.pk))


# --- Files ----------------------------------------------------------------------------------------


def test_what_is_exported_is_imported_as_it_was(tmp_path: Path) -> None:
    add("a", func=offers.greet, args=["Ann"], kwargs={"loudly": True})
    api.add_job(callables.note, "cron", id="b", hour=3, day_of_week="0", jitter=5)
    api.pause("b", "holidays")
    file = tmp_path / "jobs.yaml"
    jobs("export", "-o", str(file))
    assert yaml.safe_load(file.read_text())["jobs"] == {
        "a": {
            "function": GREET,
            "schedule": {"interval": {"hours": 1}},
            "arguments": {"name": "Ann", "loudly": True},
        },
        "b": {
            "function": "jobstore.tests.callables.note",
            "schedule": {"cron": {"day_of_week": "mon", "hour": "3"}, "jitter": 5},
            "paused": "holidays",
        },
    }
    assert jobs("import", str(file)) == "All is as in the file.\n"
    DjangoJob.all_objects.all().delete()
    jobs("import", str(file), "--yes")
    assert jobs("export") == file.read_text()
    assert stored("b").pause_reason == "holidays"


def test_an_import_shows_a_diff_and_changes_that_alone(tmp_path: Path) -> None:
    add("a", func=offers.greet, args=["Ann"])
    add("b")
    file = tmp_path / "jobs.yaml"
    jobs("export", "-o", str(file))
    file.write_text(file.read_text().replace("name: Ann", "name: Bob"))
    before = stored("b").version
    text = jobs("import", str(file), "--dry-run")
    assert "change a" in text and "-   name: Ann" in text and "+   name: Bob" in text
    assert stored("a").arguments == "'Ann'"
    jobs("import", str(file), "--yes")
    assert stored("a").arguments == "name='Bob'"
    assert stored("b").version == before
    assert AuditEntry.objects.filter(verb="change").get().through == "command"


def test_nothing_is_imported_unasked(tmp_path: Path) -> None:
    file = tmp_path / "jobs.yaml"
    file.write_text(f"jobs: {{a: {{function: {GREET}, schedule: {{interval: 1h}}, "
                    "arguments: {name: Ann}}}")  # fmt: skip
    assert "Nobody can be asked here" in fails(2, "import", str(file))
    assert not DjangoJob.objects.exists()
    jobs("import", str(file), "--yes")
    assert stored("a").trigger == "interval[1:00:00]"


def test_a_secret_is_not_exported_and_stays_when_imported(tmp_path: Path) -> None:
    add("a", func=offers.log_in, args=["ann", "hunter2"])
    file = tmp_path / "jobs.yaml"
    jobs("export", "-o", str(file))
    assert "hunter2" not in file.read_text()
    file.write_text(file.read_text().replace("hours: 1", "hours: 2"))
    jobs("import", str(file), "--yes")
    assert serializer.restore(stored("a")).args == ("ann", "hunter2")
    DjangoJob.all_objects.all().delete()
    assert "write the value of password in place of" in fails(2, "import", str(file), "--yes")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("jobs: [", "is no YAML at line"),
        ("- a", "holds no jobs: they stand under `jobs:`"),
        ("jobs: {}", "holds no jobs"),
        ("jobs: {a: 5}", "a: a job has function, schedule"),
        ("jobs: {5: {}}", "5: an id is text"),
        ("jobs: {a: {function: os.system, schedule: {interval: 1h}}}", "a: The code offers no"),
        (f"jobs: {{a: {{function: {GREET}, shedule: 5}}}}", "a: 'shedule' has no meaning here"),
        (f"jobs: {{a: {{function: {GREET}}}}}", "a: a schedule is one of"),
        (f"jobs: {{a: {{function: {GREET}, schedule: {{every: 5}}}}}}", "and not ['every']"),
        (
            f"jobs: {{a: {{function: {GREET}, schedule: {{interval: soon}}}}}}",
            "not a length of time",
        ),
        (f"jobs: {{a: {{function: {GREET}, schedule: {{cron: {{hour: 25}}}}}}}}", "a: "),
        (f"jobs: {{a: {{function: {GREET}, schedule: {{interval: 1h}}}}}}", "a: name is missing"),
    ],
)
def test_a_wrong_file_changes_nothing_and_says_what_is_wrong(
    text: str, said: str, tmp_path: Path
) -> None:
    file = tmp_path / "jobs.yaml"
    file.write_text(text)
    assert said in fails(2, "import", str(file), "--yes")
    assert not DjangoJob.objects.exists()


def test_one_mistake_in_a_file_keeps_all_of_it_from_being_imported(tmp_path: Path) -> None:
    file = tmp_path / "jobs.yaml"
    good = {"function": GREET, "schedule": {"interval": "1h"}, "arguments": {"name": "Ann"}}
    bad = good | {"max_instances": 0}
    file.write_text(yaml.safe_dump({"jobs": {"a": good, "b": bad}}))
    for how in ("--dry-run", "--yes"):
        assert "b: max_instances" in fails(2, "import", str(file), how)
    assert not DjangoJob.objects.exists()
    assert "cannot be read" in fails(2, "import", str(tmp_path / "none.yaml"))


# --- Mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "arguments", "said"),
    [
        (2, ["add", "os.system", "--every", "1h"], "The code offers no function 'os.system'"),
        (2, ["add", GREET], "A schedule is one of"),
        (2, ["add", GREET, "--every", "1h"], "name is missing; it must be text."),
        (2, ["add", GREET, "--every", "1h", "-a", "nam=Ann"], "takes name, times, loudly, and not"),
        (2, ["add", GREET, "--every", "1h", "-a", "name=A", "-a", "times=x"], "times is 'x'"),
        (2, ["add", GREET, "--every", "0s", "-a", "name=A"], "interval needs a length"),
        (2, ["add", GREET, "--every", "soon", "-a", "name=A"], "is not a length of time"),
        (2, ["add", GREET, "--every", "1h", "--at", "2031-01-01"], "A schedule is one of"),
        (2, ["add", GREET, "--at", "2001-01-01", "-a", "name=A"], "lies in the past"),
        (2, ["add", GREET, "--crontab", "0 2 * *", "-a", "name=A"], "it has 4 fields"),
        (
            2,
            ["add", GREET, "--cron", "hour=25", "-a", "name=A"],
            "hour='25' is wrong: the last value (25) is higher",
        ),
        (2, ["add", GREET, "--cron", "hours=3", "-a", "name=A"], "hours is not a field of cron"),
        (2, ["add", GREET, "--every", "1h", "--timezone", "Mars", "-a", "name=A"], "is not known"),
        (2, ["add", GREET, "--every", "1h", "--executor", "x", "-a", "name=A"], "no executor 'x'"),
        (1, ["add", GREET, "--every", "1h", "--id", "job", "-a", "name=A"], "There is a job 'job'"),
        (1, ["show", "none"], "There is no job 'none'."),
        (1, ["next", "none"], "There is no job 'none'."),
        (1, ["history", "none"], "There is no job 'none'."),
        (1, ["run", "none"], "it does not run"),
        (2, ["run", "job", "-a", "texd=5"], "takes text, and not 'texd'."),
        (1, ["reschedule", "none", "--every", "1h"], "There is no job 'none'."),
        (2, ["reschedule", "job"], "A schedule is one of"),
        (2, ["change", "job"], "Nothing is given that should change."),
        (2, ["change", "job", "--next", "soon"], "'soon' is not a date and time"),
        (1, ["reset", "job"], "The code does not declare a job 'job'."),
        (1, ["cancel", "99"], "There is no run 99 in the history."),
        (1, ["rerun", "99"], "There is no run 99 in the history."),
        (1, ["export", "none"], "There is no job 'none'."),
        (1, ["pause", "job", "--as", "nobody"], "There is no user 'nobody'."),
    ],
)
def test_each_mistake_has_one_sentence_and_a_code(
    code: int, arguments: list[str], said: str
) -> None:
    add()
    text = fails(code, *arguments)
    assert any(part in text for part in said.split("|")), text
    assert "\n" not in text


@pytest.mark.any_database
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("code", "arguments", "said"),
    [
        (0, ["list"], "0 jobs."),
        (0, ["add", "--help"], "exit codes:"),
        (1, ["show", "none"], "There is no job 'none'."),
        (2, [], "COMMAND"),
        (2, ["shwo"], "invalid choice"),
        (2, ["history", "--limit", "many"], "it must be a whole number of rows from 1"),
        (2, ["cancel", "x"], "it must be a whole number"),
        (2, ["run", "a", "--argument", "x"], "write NAME=VALUE"),
        (2, ["list", "--state", "asleep"], "invalid choice"),
    ],
)
def test_a_process_ends_with_the_code(code: int, arguments: list[str], said: str) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "jobs", *arguments],
        cwd=ROOT,
        env=SchedulerCommand.everything(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_database_that_is_away_has_a_code_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from django.db import OperationalError

    def away(**_: Any) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(api, "find", away)
    assert fails(4, "list") == "The database does not answer: gone"


def test_an_id_begins_no_line_wherever_it_is_told(tmp_path: Path) -> None:
    odd, file = "a\nb", tmp_path / "jobs.yaml"
    lines = [
        jobs("add", GREET, "--id", odd, "--every", "1h", "-a", "name=Bob"),
        jobs("pause", odd),
        jobs("pause", odd),
        jobs("next", odd),
        jobs("resume", odd),
        jobs("run", odd),
        jobs("cancel", str(Run.objects.get().pk)),
    ]
    file.write_text(jobs("export"))
    api.retire(odd)
    lines += [jobs("import", str(file), "--dry-run").partition("\n")[0] + "\n"]
    for line in lines:
        assert line.count("\n") == 1 and ("a\\nb" in line or line[0].isdecimal()), lines


def test_texts_of_others_begin_no_lines() -> None:
    add("a\nb")
    api.pause("a\nb", "one\x1b[31m\ntwo")
    lines = jobs("list").splitlines()
    assert len(lines) == 3 and r"a\nb" in lines[1] and r"\x1b" in lines[1]
