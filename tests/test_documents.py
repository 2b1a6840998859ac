"""Each block of commands in the READMEs is run by a test; here are those that need nothing but Python."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import bench
import chaos
from baking import ROOT, TEMPLATE, Baked, clean_environment
from contenders import CONTENDERS
from documents import WITH_TOOLBOX, Block, all_blocks, claims
from terminals import converse

Bake = Callable[..., Baked]
Documented = Callable[[str, str], Block]

# What a block begins with that is not only looked at.
COMMAND = re.compile(r"^\s*(\$|cookiecutter|docker|git|make|pip|python3?|supervisor\w+|uv) ", re.M)


def unclaimed(blocks: set[tuple[str, str, str]], asked_for: set[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the blocks that no test asks for."""
    known = [Block(*claim) for claim in asked_for]
    return sorted(
        (document, text)
        for document, language, text in blocks
        if language != "text" and not any(block.document == document and block.fits(text) for block in known)
    )


def test_every_block_is_run_by_a_test() -> None:
    assert unclaimed(all_blocks(), claims()) == []


def test_a_block_that_no_test_asks_for_is_named() -> None:
    blocks = {
        ("README.md", "", "make demo\n"),
        ("README.md", "python", "print(1)\n"),
        ("a.md", "text", "a tree\n"),
    }
    assert unclaimed(blocks, {("README.md", "make demo")}) == [("README.md", "print(1)\n")]


def test_every_block_that_a_test_asks_for_is_there() -> None:
    there = all_blocks()
    gone = [
        claim
        for claim in claims()
        if not any(name == claim[0] and Block(*claim).fits(text) for name, _, text in there)
    ]
    assert gone == []


def test_a_block_to_be_looked_at_holds_no_command() -> None:
    looked_at = {text for _, language, text in all_blocks() if language == "text"}
    assert looked_at
    assert [text for text in looked_at if COMMAND.search(text)] == []


def test_a_script_that_fails_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="ended with 3"):
        converse("echo hello; exit 3", tmp_path, clean_environment(), [])


def test_a_question_that_nobody_asked_is_noticed(tmp_path: Path) -> None:
    script = 'read -p "Name: " name; echo "Hello $name"'
    assert "Hello Ada" in converse(script, tmp_path, clean_environment(), [("Name: ", "Ada")])
    with pytest.raises(AssertionError, match="Nobody asked Age"):
        converse(script, tmp_path, clean_environment(), [("Name: ", "Ada"), ("Age", "9")])


def test_the_test_command_is_the_one_that_continuous_integration_calls(documented: Documented) -> None:
    """It takes minutes and would run this very test: so .ci/run runs it, and this test looks there."""
    [command] = re.findall(r"^make \S+", documented("README.md", "make test").text(ROOT), re.M)
    assert re.search(rf"^{command} ", (ROOT / ".ci" / "run").read_text(), re.M)


def given_to(program: str, lines: str) -> list[list[str]]:
    """Return the arguments that `make` gives a program for each line that calls it."""
    found = []
    for line in lines.splitlines():
        make, *words = shlex.split(line, comments=True)
        command = [make, "--dry-run", "--no-print-directory", *shlex.split(WITH_TOOLBOX), *words]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        _, name, *arguments = shlex.split(done.stdout.replace("\\\n", " "))
        assert name == program
        found.append(arguments)
    return found


def test_the_benchmark_takes_what_its_page_compares(
    documented: Documented, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = documented("benchmarks/README.md", "make bench ONLY=").text(ROOT)
    for arguments in given_to("benchmarks/bench.py", lines):
        monkeypatch.setattr(sys, "argv", ["bench.py", *arguments])
        given = bench.arguments()
        assert {*given.only} < {*bench.SCENARIOS}
        assert {*given.contenders} < {*CONTENDERS}
        assert given.repeats > 1


def test_the_benchmark_takes_each_variable_of_its_table(monkeypatch: pytest.MonkeyPatch) -> None:
    table = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8").partition("## ")[0]
    values = dict.fromkeys(re.findall(r"^\| `([A-Z]+)`", table, re.M), "1")
    values |= {"DATABASE": "sqlite", "SIZE": "smoke", "ONLY": "idle", "CONTENDERS": "ours"}
    words = " ".join(f"{name}={value}" for name, value in values.items())
    [arguments] = given_to("benchmarks/bench.py", f"make bench {words}")
    monkeypatch.setattr(sys, "argv", ["bench.py", *arguments])
    expected = {name.lower(): value for name, value in values.items()}
    told = {"repeats": 1, "publish": True, "only": ["idle"], "contenders": ["ours"]}
    assert vars(bench.arguments()) == expected | told


def test_the_mix_of_faults_takes_what_its_page_gives_it(
    documented: Documented, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = documented("docs/faults.md", "make chaos DATABASE=").text(ROOT)
    for arguments in given_to("tools/chaos.py", lines):
        monkeypatch.setattr(sys, "argv", ["chaos.py", *arguments])
        given = chaos.arguments()
        assert given.database in {*chaos.KINDS} - {"postgresql"}
        assert (given.minutes, given.seed) == (5, 7)


def test_the_job_in_the_readme_runs(bake: Bake, documented: Documented) -> None:
    project = bake(database="sqlite")
    job = documented("README.md", "def send_reminders").text(project.path)
    (project.path / "jobs" / "reminders.py").write_text(job)
    (project.path / "tests" / "test_reminders.py").write_text(
        "def test_it(job_runner):\n"
        "    assert job_runner.run('send-reminders').result == '42 sent'\n"
        "    times = job_runner.run_times('send-reminders', '2031-03-01', '2031-03-02')\n"
        "    assert [str(time.time()) for time in times] == ['07:30:00']\n"
    )
    assert passed(project, "tests/test_reminders.py") == 1


def test_the_job_that_tells_its_progress_runs(bake: Bake, documented: Documented) -> None:
    project = bake(database="sqlite")
    job = documented("project/docs/writing-jobs.md", "def import_orders").text(project.path)
    (project.path / "jobs" / "orders.py").write_text(job)
    (project.path / "tests" / "test_orders.py").write_text(
        "def test_it(job_runner):\n"
        "    run = job_runner.run('import-orders')\n"
        "    assert (run.progress_done, run.progress_total, run.progress_text) == (4, 4, 'order A-20')\n"
    )
    assert passed(project, "tests/test_orders.py") == 1


def test_the_job_and_its_tests_in_the_project_s_readme_run(bake: Bake, documented: Documented) -> None:
    project = bake(database="sqlite")
    job = documented("project/README.md", "def send_reminders").text(project.path)
    tests = documented("project/README.md", "def test_a_month").text(project.path)
    (project.path / "jobs" / "reminders.py").write_text(job)
    (project.path / "tests" / "test_reminders.py").write_text(tests)
    assert passed(project, "tests/test_reminders.py") == len(re.findall(r"^def test_", tests, re.M)) > 1


def test_a_reader_adds_a_job_from_a_view_and_changes_it_in_a_terminal(
    bake: Bake, documented: Documented
) -> None:
    project = bake(database="sqlite")
    function = documented("project/README.md", "def follow_up").text(project.path)
    view = documented("project/README.md", "def sign_up").text(project.path)
    (project.path / "jobs" / "follow_ups.py").write_text(function)
    (project.path / "config" / "views.py").write_text(view)
    (project.path / "tests" / "test_view.py").write_text(
        "from django.test import RequestFactory\n"
        "from config.views import sign_up\n"
        "from jobstore import api\n\n\n"
        "def test_it(db):\n"
        "    sign_up(RequestFactory().post('/sign-up/', {'email': 'ada@example.com'}))\n"
        "    [job] = api.find(text='follow_up')\n"
        "    assert job.arguments == repr('ada@example.com')\n"
    )
    assert passed(project, "tests/test_view.py") == 1
    project.run(sys.executable, "manage.py", "migrate", "-v0")
    commands = documented("project/docs/changing-jobs.md", "python manage.py jobs add").text(project.path)
    said = [project.run(sys.executable, *shlex.split(line)[1:]).stdout for line in commands.splitlines()]
    assert "Job ada is added" in said[0]
    assert "she is on holiday" in said[4]
    assert "Requested" in said[7]
    assert said[-1] == "All is as in the file.\n"


def test_a_reader_decides_for_each_job_who_may_do_something(bake: Bake, documented: Documented) -> None:
    project = bake(database="sqlite")
    rights = documented("project/docs/changing-jobs.md", "def may").text(project.path)
    (project.path / "config" / "rights.py").write_text(rights)
    (project.path / "tests" / "test_rights.py").write_text(
        "import pytest\n"
        "from django.contrib.auth import get_user_model\n"
        "from django.contrib.auth.models import Permission\n"
        "from config import rights\n"
        "from jobstore import api\n"
        "from jobstore.models import DjangoJob\n\n\n"
        "def test_it(db, settings):\n"
        "    settings.JOB_ACCESS = 'config.rights.may'\n"
        "    settings.JOB_ACCESS_QUERYSET = 'config.rights.visible'\n"
        "    ada = get_user_model().objects.create_user('ada')\n"
        "    ada.user_permissions.add(Permission.objects.get(codename='pause_djangojob'))\n"
        "    for name in ('ada-report', 'bob-report'):\n"
        "        api.add_job('jobs.heartbeat:heartbeat', 'interval', hours=1, id=name)\n"
        "    jobs = DjangoJob.objects.order_by('pk')\n"
        "    assert [job.pk for job in rights.visible(ada, jobs)] == ['ada-report']\n"
        "    assert api.pause('ada-report', by=ada)\n"
        "    with pytest.raises(api.NotAllowed):\n"
        "        api.pause('bob-report', by=ada)\n"
    )
    assert passed(project, "tests/test_rights.py") == 1


def passed(project: Baked, file: str) -> int:
    """Run tests of the project with the Python of the toolbox; return how many passed, which is all."""
    done = project.run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", file)
    return int(re.findall(r"(\d+) passed", done.stdout)[0])


@pytest.mark.parametrize(("folder", "most"), [(ROOT, 200_000), (TEMPLATE, 150_000)], ids=["own", "project"])
def test_a_readme_s_picture_loads_at_once_and_says_what_it_shows(folder: Path, most: int) -> None:
    [(text, picture)] = re.findall(
        r"!\[([^]]+)\]\((\S+)\)", (folder / "README.md").read_text(encoding="utf-8")
    )
    assert (folder / picture).stat().st_size < most
    assert len(text) > 80


def test_the_readme_is_read_in_minutes() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_a_picture_is_baked_as_it_is(bake: Bake) -> None:
    baked = bake(database="sqlite")
    name = "docs/overview.png"
    assert (baked.path / name).read_bytes() == (TEMPLATE / name).read_bytes()
