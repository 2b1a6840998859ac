"""Mistakes in what is typed after `manage.py jobs`, and in files of jobs: a sentence and a code."""

import re
from pathlib import Path
from typing import Any

import pytest

from jobstore import api, registry
from jobstore.declarations.offers import offer_of
from jobstore.management.jobs import reading
from jobstore.models import AuditEntry, DjangoJob, DjangoJobExecution
from jobstore.tests import callables
from jobstore.tests.api import offers
from jobstore.tests.management.test_jobs_command import fails, jobs

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("english_and_utc")]

GREET = "jobstore.tests.api.offers.greet"
ADD = ("add", GREET, "-a", "name=Eve")


@pytest.fixture(autouse=True)
def _jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_offered", {GREET: offer_of(offers.greet)})
    api.add_job(offers.greet, "interval", id="job", hours=1, kwargs={"name": "Ann"})
    api.add_job(callables.note, "interval", id="gone", hours=1)
    api.retire("gone")


def everything() -> Any:
    rows = DjangoJob.all_objects.order_by("pk").values()
    return list(rows), list(DjangoJobExecution.objects.values()), AuditEntry.objects.count()


@pytest.mark.parametrize(
    ("code", "arguments", "said"),
    [
        (2, ["list", "a\0"], "text is a text"),
        (2, ["list", "x" * 5000], "at most 1000 letters"),
        (2, ["history", "--since", "99999999999w"], "--since reaches back before all history"),
        (2, ["history", "--status", "x"], "There is no status 'x'"),
        (1, ["show", ""], "There is no job ''."),
        (1, ["pause", "\udcff"], "There is no job"),
        (1, ["resume", "gone"], "Job 'gone' is retired"),
        (1, ["retire", "none"], "There is no job 'none'."),
        (1, ["run", "gone"], "is retired"),
        (2, ["run", "job", "-a", "name=A", "-a", "name=B"], "-a name=... is given twice"),
        (2, [*ADD, "--cron", "hour=3", "--cron", "hour=4"], "--cron hour=... is given twice"),
        (2, [*ADD, "--cron", "month=6", "--cron", "week=1"], "never fires: no day has"),
        (2, [*ADD, "--crontab", "0 0 31 2 *"], "it would never run"),
        (2, [*ADD, "--every", "99999999999w"], "never comes to its first run"),
        (2, [*ADD, "--every", "1h", "--start", "2031-01-01", "--end", "2030-01-01"], "it ends"),
        (2, [*ADD, "--at", "0001-01-01"], "choose 1900 to 9000"),
        (2, [*ADD, "--every", "1h", "--id", "\udcff"], "databases do not store"),
        (2, [*ADD, "--every", "1h", "--name", ""], "nonempty string"),
        (2, ["change", "job", "--next", "2001-01-01"], "lies in the past"),
        (2, ["export", "-o", "/no/such/folder/x.yaml"], "cannot be written: No such file"),
        (2, ["export", "-o", "/"], "cannot be written: Is a directory"),
        (2, ["export", "-o", ""], "cannot be written"),
        (2, ["import", "/", "--yes"], "cannot be read: Is a directory"),
        (2, ["import", "/dev/null", "--yes"], "holds no jobs"),
    ],
)
def test_each_mistake_has_a_code_and_changes_nothing(
    code: int, arguments: list[str], said: str
) -> None:
    before = everything()
    text = fails(code, *arguments)
    assert said in text
    assert re.fullmatch(r"[^\n]{1,600}[.?]", text), text
    assert everything() == before


def test_a_value_that_is_no_yaml_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    loose = offer_of(offers.log_in, is_typed=False)
    monkeypatch.setattr(registry, "_offered", {loose.key: loose})
    assert "is no YAML" in fails(
        2, "add", loose.key, "--every", "1h", "-a", "user=A", "-a", "password=x", "-a", "options={"
    )


def test_a_run_that_cannot_be_cancelled_is_told_with_those_that_were() -> None:
    run = api.run_now("job")
    said = fails(1, "cancel", str(run.pk), "999999")
    assert said.endswith(f"There is no run 999999 in the history. Done before that: {run.pk}.")
    other = api.run_now("job")
    jobs("cancel", str(other.pk), str(other.pk))
    assert set(DjangoJobExecution.objects.values_list("status", flat=True)) == {"Cancelled"}


# --- Files of jobs --------------------------------------------------------------------------------

GOOD = f"""jobs:
  new:
    function: {GREET}
    schedule: {{interval: 10m}}
    arguments: {{name: Eve}}
"""


def with_schedule(text: str) -> str:
    return GOOD.replace("{interval: 10m}", text)


def with_arguments(text: str) -> str:
    return GOOD.replace("{name: Eve}", text)


def bomb() -> str:
    lines = ["    - &a [x, x, x, x, x, x, x, x, x]"]
    for number in range(8):
        inside = ", ".join([f"*{chr(97 + number)}"] * 9)
        lines.append(f"    - &{chr(98 + number)} [{inside}]")
    return "jobs:\n  new:\n" + "\n".join(lines)


FILES: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "holds no jobs"),
    "text": ("hello", "holds no jobs"),
    "a list": ("- a", "holds no jobs"),
    "another root": ("job: {}", "holds no jobs"),
    "jobs in a list": ("jobs: [a]", "holds no jobs"),
    "a second root": (f"{GOOD}more: 1\n", "has 'more' beside `jobs:`"),
    "not YAML": ("jobs: {", "is no YAML at line 1"),
    "tabs": ("jobs:\n\tnew: 1", "is no YAML at line 2: found character '\\t'"),
    "an id twice": (GOOD + GOOD.partition("\n")[2], "is no YAML at line 6: 'new' is given twice"),
    "a key twice": (f"{GOOD}    arguments: {{name: X}}\n", "'arguments' is given twice"),
    "two documents": (f"{GOOD}---\n{GOOD}", "another document"),
    "a tag of Python": ("jobs: !!python/object/apply:os.system [ls]", "is no YAML at line 1"),
    "an alias of nothing": ("jobs: *a", "undefined alias"),
    "an alias of itself": ("jobs: &a {x: *a}", "has no meaning here"),
    "many aliases": (bomb(), "a job has function"),
    "binary": (bytes(range(256)), "is no YAML"),
    "UTF-16": (GOOD.encode("utf-16"), "is no YAML"),
    "NUL": ("jobs:\n  a\0b: 1", "is no YAML"),
    "too deep": (f"jobs: {'[' * 3000}{']' * 3000}", "is no YAML"),
    "a job without": ("jobs: {new: }", "a job has function"),
    "a number as an id": (f"jobs: {{5: {{function: {GREET}}}}}", "write it in quotes"),
    "yes as an id": (f"jobs: {{yes: {{function: {GREET}}}}}", "write it in quotes"),
    "an empty id": (GOOD.replace("new:", "'':"), "has 1 to 255 characters"),
    "a long id": (GOOD.replace("new:", f"{'x' * 300}:"), "has 1 to 255 characters"),
    "half a character": (GOOD.replace("new:", '"\\ud800":'), "has 1 to 255 characters"),
    "an unknown key": (f"{GOOD}    cron: 5\n", "'cron' has no meaning here"),
    "no function": ("jobs: {new: {schedule: {interval: 1h}}}", "function names what runs"),
    "functions": ("jobs: {new: {function: [a]}}", "function names what runs"),
    "a function that is not offered": (
        "jobs: {new: {function: os.system, schedule: {interval: 1h}}}",
        "The code offers no function 'os.system'",
    ),
    "no schedule": (with_schedule(""), "a schedule is one of"),
    "a schedule of text": (with_schedule("hourly"), "a schedule is one of"),
    "two schedules": (with_schedule("{interval: 1h, at: x}"), "and not ['interval', 'at']"),
    "an interval of a number": (with_schedule("{interval: 5}"), "has names and values"),
    "an interval of text": (with_schedule("{interval: {hours: one}}"), "is not a number"),
    "a field that is a number": (with_schedule("{cron: {3: 4}}"), "3 is not a name"),
    "a crontab of a number": (with_schedule("{crontab: 5}"), "pass one text"),
    "an unknown zone": (with_schedule("{interval: 1h, timezone: 5}"), "time zone 5 is not known"),
    "an unknown field inside": (
        with_schedule("{or: [{cron: {hours: 3}}]}"),
        "hours= is not an argument of cron",
    ),
    "no field inside": (with_schedule("{or: [{cron: {}}]}"), "would run every second"),
    "jitter of text": (with_schedule("{or: [{interval: 1h}], jitter: x}"), "is not a number"),
    "an early year inside": (
        with_schedule("{or: [{at: 0001-01-01}, {interval: 1h}]}"),
        "choose 1900 to 9000",
    ),
    "what never fires": (with_schedule("{cron: {month: 6, week: 1}}"), "never fires: no day has"),
    "what never meets": (
        with_schedule("{and: [{cron: {hour: 3}}, {cron: {hour: 4}}]}"),
        "its parts have no time in common",
    ),
    "a list of arguments": (with_arguments("[a]"), "arguments have names and values"),
    "arguments that are nothing": (with_arguments("0"), "arguments have names and values"),
    "an argument too few": (with_arguments("{}"), "name is missing"),
    "an argument too many": (with_arguments("{name: E, x: 1}"), "and not 'x'"),
    "an argument of another type": (with_arguments("{name: 5}"), "it must be text"),
    "a mask of nothing": (with_arguments("{name: '********'}"), "write the value of name"),
    "no instances": (f"{GOOD}    max_instances: 0\n", "positive integer"),
    "instances in words": (f"{GOOD}    max_instances: two\n", "positive integer"),
    "coalesce in words": (f"{GOOD}    coalesce: maybe\n", "coalesce is True or False"),
    "no executor": (f"{GOOD}    executor: nope\n", "There is no executor 'nope'"),
    "another on_lost": (f"{GOOD}    on_lost: [x]\n", "on_lost is 'record' or 'rerun'"),
    "no name": (f"{GOOD}    name: \n", "name is text"),
    "a number as a pause": (f"{GOOD}    paused: 5\n", "paused is true, or text"),
    "one of two": (
        f"{GOOD}  two:\n    function: {GREET}\n    schedule: {{interval: 0s}}\n",
        "two: ",
    ),
    "another function": (
        f"jobs: {{job: {{function: {GREET}s, schedule: {{interval: 1h}}}}}}",
        "did you mean jobstore.tests.api.offers.greet?",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_with_a_mistake_changes_nothing_and_says_where(name: str, tmp_path: Path) -> None:
    content, said = FILES[name]
    file = tmp_path / "jobs.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = everything()
    for how in ("--dry-run", "--yes"):
        text = fails(2, "import", str(file), how)
        assert said in text
        assert re.fullmatch(r"[^\n]{1,800}[.?]", text), text
    assert everything() == before


def test_a_file_of_many_mistakes_tells_the_first_and_how_many_more(tmp_path: Path) -> None:
    file = tmp_path / "jobs.yaml"
    file.write_text("jobs:\n" + "".join(f"  job-{number}: 5\n" for number in range(3000)))
    assert fails(2, "import", str(file), "--yes").endswith("And 2980 more.")


def test_a_file_that_is_too_long_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "LARGEST", 1000)
    file = tmp_path / "jobs.yaml"
    file.write_text(GOOD + "#" * 1000)
    assert "is longer than 1,000 characters" in fails(2, "import", str(file), "--yes")


def test_a_part_that_is_named_and_used_again_is_read(tmp_path: Path) -> None:
    file = tmp_path / "jobs.yaml"
    again = "  other:\n    <<: *new\n    schedule: {interval: 20m}\n"
    file.write_text(GOOD.replace("new:", "new: &new") + again)
    jobs("import", str(file), "--yes")
    assert DjangoJob.objects.get(pk="other").trigger == "interval[0:20:00]"
