"""The targets for this template's speed (bars), each with the measured figure."""

from collections.abc import Iterator
from dataclasses import dataclass

from rows import PEER, Results

# How much more counts as "not growing with the number of jobs": measurements are never the same.
SAME = 1.5


@dataclass(frozen=True)
class Bar:
    """One target. `measured` is empty and `met` is None if it was not measured."""

    text: str
    measured: str
    target: str
    met: bool | None

    @property
    def verdict(self) -> str:
        """Whether it is met, in words."""
        return {None: "not measured", True: "met", False: "**not met**"}[self.met]


def bars(results: Results) -> list[Bar]:
    """Return every bar; none for databases that none is set for."""
    if results.content["database"] != "postgresql":
        return []
    return [*burst(results), steady(results), *scale(results), idle(results), probe(results), *pages(results)]


def at_least(text: str, value: float | None, least: float, unit: str = "") -> Bar:
    """Return a bar that a value has to reach."""
    return Bar(
        text, shown(value, unit), f"at least {least:g}{unit}", None if value is None else value >= least
    )


def at_most(text: str, value: float | None, most: float, unit: str = "") -> Bar:
    """Return a bar that a value must not exceed."""
    return Bar(text, shown(value, unit), f"at most {most:g}{unit}", None if value is None else value <= most)


def below(text: str, value: float | None, limit: float, unit: str = "") -> Bar:
    """Return a bar that a value must stay under."""
    return Bar(text, shown(value, unit), f"below {limit:g}{unit}", None if value is None else value < limit)


def shown(value: float | None, unit: str) -> str:
    """Return a value with three significant digits."""
    return "" if value is None else f"{number(value)}{unit}"


def number(value: float) -> str:
    """Return a number as people read it: 12,345 or 12.3 or 0.0123."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def ratio(above: float | None, under: float | None) -> float | None:
    """Return a quotient, None where a part of it is not known."""
    return above / under if above is not None and under else None


def burst(results: Results) -> Iterator[Bar]:
    """Return the bars of 1,000 jobs due at one instant."""
    name = "Burst of 1,000"
    rate = {
        contender: results.number("burst", contender, "runs_per_second", jobs=1000)
        for contender in ("ours", PEER, "memory", "raw")
    }
    yield at_least(
        f"{name}: durable runs/s beside django-apscheduler", ratio(rate["ours"], rate[PEER]), 20, " ×"
    )
    yield at_least(
        f"{name}: share of what memory store and raw SQL together allow ({shown(limit(rate), ' runs/s')})"
        if limit(rate)
        else f"{name}: share of what memory store and raw SQL together allow",
        ratio(rate["ours"], limit(rate)),
        0.5,
    )
    yield at_most(
        f"{name}: statements per run", results.number("burst", "ours", "statements_per_run", jobs=1000), 0.05
    )
    yield at_most(f"{name}: falsely missed, left out or run twice", wrong(results), 0)


def limit(rate: dict[str, float | None]) -> float | None:
    """Return the runs a second of a program that spends on each run what both limits spend on it."""
    memory, raw = rate["memory"], rate["raw"]
    return 1 / (1 / memory + 1 / raw) if memory and raw else None


def wrong(results: Results) -> float | None:
    """Return how many of 1,000 runs went wrong, in the worst repeat."""
    rows = [
        row
        for row in results.scenario("burst").get("rows", [])
        if row["contender"] == "ours" and row.get("jobs") == 1000 and "ran" in row
    ]
    return max((1000 - row["ran"] + row["twice"] + (row["missed"] or 0) for row in rows), default=None)


def steady(results: Results) -> Bar:
    """Return the bar of 100 runs a second."""
    ours, peer = (results.number("steady", who, "p99_ms", rate=100) for who in ("ours", PEER))
    text = "Steady 100 runs/s: start delay p99, django-apscheduler's beside it"
    return at_least(text, ratio(peer, ours), 15, " × shorter")


def scale(results: Results) -> Iterator[Bar]:
    """Return the bars of 100,000 stored jobs beside 1,000."""

    def growth(key: str) -> float | None:
        many, few = (results.number("scale", "ours", key, jobs=count) for count in (100_000, 1000))
        return ratio(many, few)

    name = "100,000 stored jobs beside 1,000"
    yield at_most(f"{name}: time of start-up", growth("start_ms"), SAME, " ×")
    yield at_most(f"{name}: cost of one edit", growth("edit_cpu_ms"), SAME, " ×")
    yield below(f"{name}: resident memory", growth("memory_mb"), 2, " ×")
    stored = "10,000 new declarations"
    for key, text, limit, unit in (
        ("first_sync_ms", "validated and stored", 5000, " ms"),
        ("first_sync_statements", "statements", 50, ""),
    ):
        yield at_most(f"{stored}: {text}", results.number("scale", "ours", key, jobs=10_000), limit, unit)
    added = results.number("scale", "ours", "declared_added_ms", jobs=1000)
    yield at_most("200 declarations: added to a start", added, 50, " ms")


def idle(results: Results) -> Bar:
    """Return the bar of a scheduler that has nothing to do."""
    rows = [row for row in results.merged("idle") if row.contender == "ours"]
    values = [value for row in rows if (value := row.number("statements_per_minute")) is not None]
    return below("Idle: statements a minute", max(values, default=None), 40)


def probe(results: Results) -> Bar:
    """Return the bar of a container's health check."""
    return at_most("Probe: CPU", results.number("probe", "ours", "cpu_ms"), 30, " ms")


def pages(results: Results) -> Iterator[Bar]:
    """Return the bars of what people look at, click and type."""

    def number(name: str, key: str, **where: object) -> float | None:
        return results.number(name, "ours", key, **where)

    for rows, words, limit in ((1_000_000, "a million", 150), (10_000_000, "ten million", 400)):
        of = {"rows": rows, "page": "overview"}
        yield at_most(f"Overview with {words} runs: p50", number("pages", "p50_ms", **of), limit, " ms")
    statements = [
        found
        for rows in (1_000_000, 10_000_000)
        if (found := number("pages", "statements", rows=rows, page="overview")) is not None
    ]
    yield at_most("Overview: statements", max(statements, default=None), 12)
    looks = [
        row
        for row in results.merged("pages")
        if row.contender == "ours" and ", a look " in row.parameters["page"]
    ]
    for key, words, limit, unit in (
        ("web_cpu_ms", "CPU of the web server", 20, " ms"),
        ("max_size_kb", "size, not compressed", 10, " kB"),
    ):
        found_of_all = [value for row in looks if (value := row.number(key)) is not None]
        yield at_most(f"A look of an open overview: {words}", max(found_of_all, default=None), limit, unit)
    filtered = number("filters", "p95_ms", rows=10_000_000, filters="any three")
    yield at_most("Any three filters, ten million runs: p95", filtered, 300, " ms")
    yield at_most("Preview: p50 of its answer", number("effect", "p50_ms", click="preview"), 20, " ms")
    for click, words in (("run now", "“Run now”"), ("save", "“Save” of a schedule")):
        yield at_most(f"{words}: p99 to its effect", number("effect", "p99_ms", click=click), 200, " ms")
    whole = number("command", "wall_ms", jobs=10_000, command="jobs list --limit 0")
    yield at_most("10,000 jobs: all of `jobs list`, with the start of Python", whole, 1000, " ms")
