"""Files of jobs, as they are read: YAML of plain data, whose every word means something."""

import sys
from pathlib import Path
from typing import Any

import yaml

from jobstore import api
from jobstore.api import inputs
from jobstore.texts import flattened

KEYS = ("function", "schedule", "arguments", "paused", *api.OPTIONS)
# Characters of a file: a few hundred thousand jobs.
LARGEST = 50_000_000


class InvalidFile(api.InvalidOption):
    """A file has no jobs, or jobs that cannot be stored; each mistake has a line in the text."""


def read(file: str) -> dict[str, Any]:
    """Return the jobs of a file by their ids; of the input for -.

    :raises InvalidFile: for anything else than jobs.
    """
    try:
        if file == "-":
            text = sys.stdin.read(LARGEST + 1)
        else:
            with Path(file).open(encoding="utf-8") as stream:
                text = stream.read(LARGEST + 1)
    except OSError as error:
        raise InvalidFile(f"{file} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise InvalidFile(f"{file} is no YAML: it is no text in UTF-8.") from error
    if len(text) > LARGEST:
        raise InvalidFile(f"{file} is longer than {LARGEST:,} characters; import it in parts.")
    try:
        loaded = yaml.load(text, _Loader)  # noqa: S506 - a safe one
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        place = getattr(error, "problem_mark", None)
        line = f" at line {place.line + 1}" if place else ""
        why = flattened(getattr(error, "problem", None) or "", 200)
        raise InvalidFile(f"{file} is no YAML{line}{': ' if why else ''}{why}.") from error
    jobs = loaded.get("jobs") if isinstance(loaded, dict) else None
    if not isinstance(jobs, dict) or not jobs:
        raise InvalidFile(f"{file} holds no jobs: they stand under `jobs:`, each by its id.")
    if unknown := next((name for name in loaded if name != "jobs"), None):
        raise InvalidFile(f"{file} has {unknown!r} beside `jobs:`, which has no meaning there.")
    return jobs


class _Loader(yaml.SafeLoader):
    """Reads plain data, and refuses a name that is given twice: one of both would be lost."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """Return a mapping, each of whose names stands there once."""
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            name = (key.tag, key.value) if isinstance(key.value, str) else None
            if name in seen and key.tag != "tag:yaml.org,2002:merge":
                problem = f"{key.value!r} is given twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            if name is not None:
                seen.add(name)
        return super().construct_mapping(node, deep)


def check_types(job_id: Any, data: Any) -> None:
    """Refuse a job of a file that is none at first sight.

    :raises ValueError: with what is wrong with it.
    """
    if not isinstance(job_id, str):
        raise ValueError("an id is text; write it in quotes")
    if not may_be_id(job_id):
        raise ValueError(f"an id has 1 to {inputs.LONGEST_ID} characters that can be stored")
    if not isinstance(data, dict):
        raise ValueError(f"a job has {', '.join(KEYS)}")
    if unknown := next((name for name in data if name not in KEYS), None):
        raise ValueError(f"{unknown!r} has no meaning here; a job has {', '.join(KEYS)}")
    if not isinstance(data.get("function"), str):
        raise ValueError("function names what runs, such as jobs.reports.send")
    if not isinstance(data.get("paused", False), bool | str):
        raise ValueError("paused is true, or text that says why")
    if not isinstance(data.get("name", ""), str):
        raise ValueError("name is text; leave it out for the function's")


def may_be_id(job_id: Any) -> bool:
    """Tell whether a job can have this id."""
    try:
        return bool(inputs.job_key(job_id).strip())
    except api.NoSuchJob:
        return False
