"""An app outside the project, whose one file of jobs people deploy well or badly."""

from pathlib import Path

GOOD = '''"""A file of jobs that people deploy again and again."""

from load.jobs import EPOCH, work

from jobstore.registry import scheduled


@scheduled("interval", id="deployed", seconds=1, start_date=EPOCH, coalesce=False, max_instances=1000)
def deployed() -> None:
    """Run each second, whatever else is in this file."""
    work()
'''
BAD = {
    "an import that fails": f"import nothing_of_that_name\n{GOOD}",
    "a syntax error": f"{GOOD}\ndef (:\n",
    "an end of the process": f"{GOOD}\nraise SystemExit(3)\n",
    "an hour that does not exist": f'{GOOD}\n\n@scheduled("cron", id="bad", hour=25)\ndef bad(): ...\n',
    "a number that no column holds": (
        f'{GOOD}\n\n@scheduled("cron", id="bad", hour=3, max_instances=2**80)\ndef bad() -> None: ...\n'
    ),
    "an id that is taken": (
        f'{GOOD}\n\n@scheduled("cron", id="steady-000", hour=3)\ndef bad() -> None: ...\n'
    ),
}


def jobs_file(folder: Path) -> Path:
    """Return the file of jobs that is deployed to a cluster with this folder."""
    return folder / "site" / "deployed" / "jobs" / "steady.py"


def prepare(folder: Path) -> Path:
    """Make the app that people deploy; return the folder to import it from."""
    file = jobs_file(folder)
    file.parent.mkdir(parents=True)
    for package in (file.parent, file.parent.parent):
        (package / "__init__.py").write_text('"""Jobs of people who make mistakes."""\n')
    file.write_text(GOOD)
    return folder / "site"
