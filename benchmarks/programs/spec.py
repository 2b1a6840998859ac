"""The jobs of a scenario, as every contender's program reads them from its command line."""

import datetime as dt
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Job:
    """One job: first due at `at`, then again every so many seconds; it takes `seconds`."""

    number: int
    at: dt.datetime
    every: float
    seconds: float

    @property
    def id(self) -> str:
        """Its id in every job store."""
        return f"job-{self.number}"


def given() -> dict[str, Any]:
    """Return the scenario that the command line describes."""
    scenario: dict[str, Any] = json.loads(sys.argv[-1])
    return scenario


def jobs(scenario: dict[str, Any]) -> Iterator[Job]:
    """Return the jobs of a scenario: groups of alike ones, due at once or spread over their interval.

    A group that has `later` is due so many seconds after the others. The scenario's `first` is the
    first number, 0 if it has none.
    """
    number = scenario.get("first", 0)
    for group in scenario["groups"]:
        for position in range(group["count"]):
            offset = group.get("later", 0.0) + group["spread"] * position / group["count"]
            at = dt.datetime.fromtimestamp(scenario["at"] + offset, dt.UTC)
            yield Job(number, at, group["every"], group["seconds"])
            number += 1
