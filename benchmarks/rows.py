"""Reads a results.json: the rows of a scenario, with repeats merged."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]

# The keys that identify rows of a scenario, besides texts. A scenario may have PARAMETERS of its own.
PARAMETERS = ("jobs", "rate", "stored", "rows", "threads", "replicas")
# Texts that were measured, not given.
FINDINGS = ("note", "effect", "goes_on", "jobs_that_go_on")
# The keys by which a scenario is compared, and whether more is better.
HEADLINES: dict[str, tuple[tuple[str, ...], bool]] = {
    "burst": (("runs_per_second",), True),
    "steady": (("p99_ms",), False),
    "mixed": (("p99_ms",), False),
    "idle": (("statements_per_minute",), False),
    "change": (("p50_ms",), False),
    "failover": (("gap_ms",), False),
    "scale": (("start_ms",), False),
    "admin": (("p50_ms", "page_ms", "ms"), False),
    "purge": (("seconds", "rows_per_second"), False),
    "round-trip": (("p99_ms",), False),
    "pages": (("p50_ms",), False),
    "filters": (("p95_ms",), False),
}
PEER = "django-apscheduler"
PEERS = {"failover": "django-apscheduler-restarted"}
# Contenders that do less than a scheduler: no scheduler can be faster.
LIMITS = ("memory", "raw")


@dataclass(frozen=True)
class Figure:
    """What repeats gave: their median, or for texts all that they said."""

    value: Any
    low: Any = None
    high: Any = None


@dataclass(frozen=True)
class Merged:
    """A row for each contender and its parameters, with a figure for each other key."""

    contender: str
    parameters: Row
    figures: dict[str, Figure]

    def number(self, *keys: str) -> float | None:
        """Return the median of the first of these keys that has one."""
        for key in keys:
            value = self.figures[key].value if key in self.figures else None
            if isinstance(value, int | float):
                return value
        return None


class Results:
    """A results.json."""

    def __init__(self, content: Row) -> None:
        self.content = content

    def scenario(self, name: str) -> Row:
        """Return what is known of a scenario, {} if it was not run."""
        found: Row = self.content["scenarios"].get(name, {})
        return found

    def title(self, contender: str) -> str:
        """Return what people read for a contender."""
        return str(self.content.get("titles", {}).get(contender, contender))

    def parameters(self, name: str) -> tuple[str, ...]:
        """Return the keys that tell rows of a scenario apart."""
        scenario = self.scenario(name)
        if scenario.get("parameters"):
            return tuple(scenario["parameters"])
        rows = scenario.get("rows", [])
        texts = {key for row in rows for key, value in row.items() if isinstance(value, str)}
        return tuple(
            key
            for key in keys(rows)
            if key in PARAMETERS or (key in texts and key not in FINDINGS and key != "contender")
        )

    def merged(self, name: str) -> list[Merged]:
        """Return a scenario's rows: by parameters, ours first in each, limits last."""
        parameters = self.parameters(name)
        groups: dict[tuple[Any, ...], list[Row]] = {}
        for row in self.scenario(name).get("rows", []):
            groups.setdefault((*(row.get(key) for key in parameters), row["contender"]), []).append(row)
        order = list(dict.fromkeys(identity[:-1] for identity in groups))
        ranked = sorted(groups, key=lambda identity: (order.index(identity[:-1]), rank(identity[-1])))
        return [
            Merged(identity[-1], dict(zip(parameters, identity, strict=False)), merge(groups[identity]))
            for identity in ranked
        ]

    def number(self, name: str, contender: str, *wanted: str, **where: Any) -> float | None:
        """Return the median of the first of the wanted keys, of the first row that fits."""
        for row in self.merged(name):
            fits = all(row.parameters.get(key) == value for key, value in where.items())
            if row.contender == contender and fits and (value := row.number(*wanted)) is not None:
                return value
        return None

    def times_better(self, name: str, row: Merged) -> float | None:
        """Return how many times better a row is than the peer's of the same parameters."""
        wanted, is_more_better = HEADLINES.get(name, ((), False))
        peer = self.number(name, PEERS.get(name, PEER), *wanted, **row.parameters)
        own = row.number(*wanted)
        if row.contender in LIMITS or not peer or not own:
            return None
        return own / peer if is_more_better else peer / own


def keys(rows: Iterable[Row]) -> list[str]:
    """Return the keys of rows in the order in which they first come."""
    return list(dict.fromkeys(key for row in rows for key in row))


def rank(contender: str) -> int:
    """Return where a contender stands among others: ours first, limits last."""
    return 0 if contender.startswith("ours") else 2 if contender in LIMITS else 1


def merge(rows: Sequence[Row]) -> dict[str, Figure]:
    """Return the figures of repeats. Of lists, such as curves, the first is kept."""
    figures = {}
    for key in keys(rows):
        values = [row[key] for row in rows if row.get(key) is not None]
        if key in ("contender", "repeat") or not values:
            continue
        if all(isinstance(value, int | float) for value in values):
            figures[key] = Figure(statistics.median(values), min(values), max(values))
        elif isinstance(values[0], str):
            figures[key] = Figure(" / ".join(dict.fromkeys(map(str, values))))
        else:
            figures[key] = Figure(values[0])
    return figures
