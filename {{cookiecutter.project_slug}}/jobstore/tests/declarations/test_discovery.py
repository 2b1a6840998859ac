"""Every file that declares jobs is found, or it is told why it is not."""

import os
from pathlib import Path

import pytest

from jobstore.tests.jobfiles import JobFiles

JOB = '@scheduled("cron", id="{0}", hour=3)\ndef {0}(): pass\n'


def declare(files: JobFiles, *names: str) -> None:
    """Write files that each declare one job, of the file's name."""
    for name in names:
        files.declare(name, JOB.format(Path(name).stem.replace("-", "_")))


@pytest.mark.parametrize(
    "name",
    [
        "a.py",
        "reports/a.py",  # in a folder without __init__.py
        "reports/daily/a.py",
        "reports/admin.py",  # Django means something else only directly in the app
        "reports/models.py",
    ],
)
def test_jobs_in_files_and_folders_below_are_found(files: JobFiles, name: str) -> None:
    declare(files, name)
    found = files.collect()
    assert (list(found.jobs), found.problems) == ([Path(name).stem], [])


def test_jobs_in_a_sub_package_are_found(files: JobFiles) -> None:
    files.write("reports/__init__.py", "")
    declare(files, "reports/__init__.py", "reports/a.py")
    assert list(files.collect().jobs) == ["__init__", "a"]


def test_jobs_in_a_module_instead_of_a_package_are_found(files: JobFiles) -> None:
    (files.folder / files.app / "jobs" / "__init__.py").unlink()
    (files.folder / files.app / "jobs").rmdir()
    path = files.folder / files.app / "jobs.py"
    path.write_text("from jobstore.registry import scheduled\n" + JOB.format("a"))
    assert list(files.collect().jobs) == ["a"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("daily-report.py", "not a name that Python can import"),
        ("2026/a.py", "not a name that Python can import"),
        ("class.py", "not a name that Python can import"),
        ("__main__.py", "would run a program"),
        ("tests.py", "one for other code than jobs"),
        ("tests/a.py", "one for other code than jobs"),
        ("test_report.py", "one for other code than jobs"),
        ("migrations/a.py", "one for other code than jobs"),
        ("reports/migrations/a.py", "one for other code than jobs"),
    ],
)
def test_jobs_in_a_file_that_is_not_searched_are_told(
    files: JobFiles, name: str, text: str
) -> None:
    declare(files, "good.py")
    path = files.declare(name, JOB.format("a"))
    found = files.collect()
    assert list(found.jobs) == ["good"]
    [problem] = found.problems
    assert text in problem.text and "move them to another file" in problem.text
    assert problem.place == f"{path}:2"


@pytest.mark.parametrize("name", ["daily-report.py", "tests/a.py", "__main__.py", "conftest.py"])
def test_a_file_without_jobs_may_be_called_anything(files: JobFiles, name: str) -> None:
    files.write(name, "raise SystemExit('never imported')")
    assert files.problems() == {}


def test_a_module_of_jobs_beside_a_package_is_told(files: JobFiles) -> None:
    declare(files, "a.py")
    (files.folder / files.app / "jobs.py").write_text("@scheduled('cron')\ndef lost(): pass")
    [text] = files.problems().values()
    assert "Python imports the folder beside it" in text


def test_a_folder_that_leads_to_itself_is_searched_once(files: JobFiles) -> None:
    declare(files, "a.py")
    os.symlink(".", files.folder / files.app / "jobs" / "again")
    assert list(files.collect().jobs) == ["a"]


BROKEN = {
    "an import error": "import no_such_package",
    "a syntax error": "def broken(:",
    "an error": "1 / 0",
    "an exit": "import sys; sys.exit(1)",
    "a silent exit": "raise SystemExit",
    "an exception without a text": "raise Exception",
    "an exception of several lines": "raise Exception('one\\ntwo')",
    "an exception whose text raises": (
        "class Odd(Exception):\n    def __str__(self): raise SystemExit\nraise Odd"
    ),
    "the end of a generator": "raise GeneratorExit",
    "bytes that are no text": "\0",
    "recursion": "def f(): f()\nf()",
}


@pytest.mark.parametrize("content", BROKEN)
def test_a_file_that_cannot_be_imported_does_not_stop_other_jobs(
    files: JobFiles, content: str
) -> None:
    declare(files, "good.py")
    files.declare("bad.py", JOB.format("before") + BROKEN[content] + "\n" + JOB.format("behind"))
    found = files.collect()
    assert list(found.jobs) == ["good"]
    [problem] = found.problems
    assert problem.subject == f"{files.package}.bad"
    assert "cannot be imported, so its jobs are skipped" in problem.text
    assert "bad.py" in problem.place
    assert "\n" not in str(problem)


def test_the_line_of_a_file_that_cannot_be_imported_is_its_own(files: JobFiles) -> None:
    files.write("helper.py", "def fail(): raise ValueError('no')")
    files.write("bad.py", f"import os\nfrom {files.package} import helper\n\nhelper.fail()\n")
    assert files.problems()["jobs.bad"].startswith("jobs/bad.py:4: ")


def test_a_package_that_cannot_be_imported_leaves_out_what_is_below(files: JobFiles) -> None:
    declare(files, "good.py", "reports/a.py")
    files.write("reports/__init__.py", "1 / 0")
    assert list(files.problems()) == ["jobs.reports"]
    assert list(files.collect().jobs) == ["good"]


def test_ctrl_c_still_ends_an_import(files: JobFiles) -> None:
    files.write("slow.py", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        files.collect()
