"""A benchmark counts right, says what it found and what it did not, and its harness works."""

import importlib
import json
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import bars
import bench
import machine
import measure
import report
from baking import ROOT, clean_environment
from databases import Sqlite
from documents import WITH_TOOLBOX, Block
from rows import Results

pytestmark = pytest.mark.benchmark

Row = dict[str, Any]


# --- Delays ---------------------------------------------------------------------------------------


def test_a_percentile_is_a_value_that_came() -> None:
    values = [float(value) for value in range(1, 101)]
    assert measure.percentile(values, 0.5) == 50
    assert measure.percentile(values, 0.99) == 99
    assert measure.percentile(values[::-1], 1.0) == 100
    assert measure.percentile([7.0], 0.5) == 7
    assert measure.percentile([], 0.5) is None


def test_a_summary_is_in_milliseconds() -> None:
    assert measure.summary([0.001, 0.002, 0.0101]) == {"p50_ms": 2.0, "p99_ms": 10.1, "max_ms": 10.1}
    assert measure.summary([]) == {"p50_ms": None, "p99_ms": None, "max_ms": None}


def test_a_curve_goes_from_the_shortest_to_the_longest() -> None:
    curve = measure.curve([value / 1000 for value in range(1000, 0, -1)])
    assert len(curve) == 200
    assert (curve[0], curve[-1]) == (0.001, 1.0)
    assert curve == sorted(curve)
    assert measure.curve([]) == []


def test_the_trace_is_what_jobs_wrote(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    assert measure.starts(trace) == []
    trace.write_bytes(measure.RECORD.pack(3, 1.5) + measure.RECORD.pack(1, 2.5))
    assert measure.starts(trace) == [(3, 1.5), (1, 2.5)]
    assert measure.count_starts(trace) == 2


# --- What is said ---------------------------------------------------------------------------------


def burst(contender: str, rates: list[float], **others: Any) -> list[Row]:
    """Return rows of 1,000 jobs, one for each repeat."""
    row: Row = {"contender": contender, "jobs": 1000, "ran": 1000, "twice": 0, "missed": 0, **others}
    return [row | {"runs_per_second": rate, "repeat": repeat} for repeat, rate in enumerate(rates)]


def results(burst_rows: list[Row], **scenarios: list[Row]) -> Results:
    """Return results of these rows, as bench.py writes them."""
    return Results(
        {
            "database": "postgresql",
            "size": "full",
            "titles": {"ours": "this template", "django-ox": "django-ox 1.9"},
            "packages": {"ours": {"Django": "5.2"}},
            "scenarios": {
                name: {
                    "title": name.capitalize(),
                    "date": "2026-01-02T03:04:05+00:00",
                    "busy_cores_at_start": 0.1,
                    "contenders": ["ours", "django-ox"],
                    "rows": rows,
                }
                for name, rows in {"burst": burst_rows, **scenarios}.items()
            },
        }
    )


GOOD = [
    *burst("memory", [10_000.0]),
    *burst("django-apscheduler", [100.0, 90.0, 300.0]),
    *burst("ours", [3000.0, 2500.0, 9000.0], statements_per_run=0.04),
    *burst("raw", [10_000.0]),
]


def verdicts(given: Results) -> dict[str, bars.Bar]:
    """Return the bars by the words after the colon, without what stands in brackets."""
    return {bar.text.rpartition(": ")[2].partition(" (")[0]: bar for bar in bars.bars(given)}


def test_repeats_are_shown_by_their_median_and_extremes() -> None:
    page = report.page(results(GOOD), ("burst", "steady"))
    line = "| 1,000 | this template | 30 × | 3,000 (2,500–9,000) |"
    assert line in page
    assert page.index("| this template |") < page.index("| django-apscheduler |") < page.index("| memory |")
    assert "- Not measured here: django-ox 1.9." in page
    assert "### Not run\n\nsteady." in page
    assert "the median of 3 (least–most)" in page


def test_pictures_stand_below_their_tables() -> None:
    idle = [{"contender": "ours", "jobs": 10, "statements_per_minute": 30}]
    pictures = ("idle.svg", "pictures/postgresql-burst-delays.svg")
    page = report.page(results(GOOD, idle=idle), ("burst", "idle"), pictures)
    assert page.index("### Burst") < page.index("![") < page.index("### Idle") < page.index("(idle.svg)")
    assert "![postgresql-burst, start delays](pictures/postgresql-burst-delays.svg)" in page


def test_a_bar_is_a_ratio_of_medians() -> None:
    found = verdicts(results(GOOD))
    beside = found["durable runs/s beside django-apscheduler"]
    assert (beside.measured, beside.met) == ("30 ×", True)
    # 1/(1/10,000 + 1/10,000) are 5,000 runs a second.
    share = found["share of what memory store and raw SQL together allow"]
    assert (share.measured, share.met) == ("0.6", True)
    assert found["statements per run"].met
    assert found["falsely missed, left out or run twice"].met


def test_a_bar_that_is_not_met_is_said_so() -> None:
    bad = [*burst("ours", [150.0], statements_per_run=4.0, missed=2, ran=999), *GOOD[:4], *GOOD[-1:]]
    given = results(
        bad, idle=[{"contender": "ours", "jobs": count, "statements_per_minute": count} for count in (10, 40)]
    )
    found = verdicts(given)
    assert found["falsely missed, left out or run twice"].measured == "3"
    assert found["statements a minute"].measured == "40"
    assert [bar.met for bar in found.values() if bar.measured] == [False] * 5
    assert report.page(given, ("burst", "idle")).count("| **not met** |") == 5


def test_a_bar_that_was_not_measured_is_neither() -> None:
    given = results(burst("ours", [3000.0]))
    assert verdicts(given)["durable runs/s beside django-apscheduler"].met is None
    page = report.page(given, ("burst",))
    assert "\nNot measured: " in page
    assert "durable runs/s beside django-apscheduler" in page.partition("\nNot measured: ")[2]


def test_bars_are_set_for_postgresql_alone() -> None:
    given = results(GOOD)
    given.content["database"] = "mariadb"
    assert "### Bars" not in report.page(given, ("burst",))


def test_a_peer_that_does_nothing_is_no_measure() -> None:
    rows = [
        {"contender": name, "jobs": 10, "statements_per_minute": count}
        for name, count in (("ours", 30), ("django-apscheduler", 0))
    ]
    assert "× peer" not in report.page(results(GOOD, idle=rows), ("idle",))


def test_stored_jobs_are_compared_with_few() -> None:
    rows = [
        {"contender": "ours", "jobs": count, "start_ms": start, "edit_cpu_ms": 5, "memory_mb": memory}
        for count, start, memory in ((1000, 900, 60), (100_000, 1000, 130))
    ]
    found = verdicts(results(GOOD, scale=rows))
    assert found["time of start-up"].met
    assert found["cost of one edit"].met
    assert found["resident memory"].met is False


def test_the_steady_bar_compares_delays() -> None:
    rows = [
        {"contender": name, "rate": rate, "p99_ms": delay}
        for name, rate, delay in (("ours", 1, 90), ("ours", 100, 10), ("django-apscheduler", 100, 149))
    ]
    bar = verdicts(results(GOOD, steady=rows))["start delay p99, django-apscheduler's beside it"]
    assert (bar.measured, bar.met) == ("14.9 × shorter", False)


def test_a_failed_scenario_a_note_and_a_busy_machine_are_said() -> None:
    given = results([{"contender": "django-ox", "note": "has no such thing"}, *GOOD])
    given.content["scenarios"]["idle"] = {"title": "Idle", "failed": "It ended.\nMore.", "rows": []}
    given.content["scenarios"]["burst"]["busy_cores_at_start"] = 2.0
    environment = {
        "date": "2026-01-02T03:04:05+00:00",
        "cpu": "Some",
        "cores": 2,
        "memory_gb": 8,
        "kernel": "6",
    }
    given.content["environment"] = environment | {"flushes_per_second": 1000, "python": "3.13"}
    page = report.page(given, ("burst", "idle"))
    assert "- django-ox 1.9: has no such thing." in page
    assert "**Failed:** `It ended.`" in page
    assert "busy when these began, so take their figures for nothing: burst (2)" in page


def test_results_are_published_between_their_markers(tmp_path: Path) -> None:
    document = tmp_path / "README.md"
    document.write_text("a\n<!-- results sqlite -->\nold\n<!-- end of results -->\nb\n")
    for text in ("once", "again"):
        report.publish(document, "sqlite", text)
    assert document.read_text() == "a\n<!-- results sqlite -->\n\nagain\n\n<!-- end of results -->\nb\n"
    with pytest.raises(ValueError, match="does not hold"):
        report.publish(document, report.published_as("sqlite", "full"), "text")


# --- The harness ----------------------------------------------------------------------------------


def scenario(
    monkeypatch: pytest.MonkeyPatch, run: Callable[[Any], list[Row]], **sizes: int
) -> dict[str, Any]:
    """Return what is kept of a scenario that does this."""
    module = ModuleType("scenarios.invented")
    module.__spec__ = ModuleSpec("scenarios.invented", None)
    module.__dict__.update(TITLE="Invented", CONTENDERS=("ours",), SIZES=sizes, run=run)
    monkeypatch.setitem(sys.modules, "scenarios.invented", module)
    return bench.measured(bench.Bench(Sqlite(Path("nowhere")), "smoke", 1, []), "invented")


def test_a_scenario_that_fails_is_kept_as_failed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: Any) -> list[Row]:
        raise machine.Failed("It ended.")

    found = scenario(monkeypatch, fail, smoke=1)
    assert (found["failed"], found["rows"]) == ("It ended.", [])
    assert "It ended." in capsys.readouterr().err


def test_a_scenario_without_this_size_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    assert scenario(monkeypatch, lambda _: [], small=1)["skipped"] == "it has no size smoke"
    assert scenario(monkeypatch, lambda _: [{"contender": "ours"}], smoke=1)["rows"]


@pytest.mark.parametrize("option", ["--only", "--contenders"])
def test_a_name_that_nobody_knows_is_refused_with_those_that_there_are(
    option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["bench.py", option, "burts"])
    with pytest.raises(SystemExit):
        bench.arguments()
    assert "burts is none of " in capsys.readouterr().err


def test_all_scenarios_are_there() -> None:
    for name in bench.SCENARIOS:
        assert importlib.import_module(f"scenarios.{name.replace('-', '_')}").TITLE


@pytest.mark.project
@pytest.mark.timeout(600)
def test_small_scenarios_are_measured_from_end_to_end_by_the_documented_command(
    workshop: Callable[[str], Path], documented: Callable[[str, str], Block]
) -> None:
    folder = workshop("ours/sqlite/my_project")
    small = "DATABASE=sqlite SIZE=smoke ONLY=burst,scale,pages,effect CONTENDERS=ours"
    documented("benchmarks/README.md", "make bench  ").run(
        ROOT,
        clean_environment(BENCH_FOLDER=folder.name),
        replace={"make bench": f"make {WITH_TOOLBOX} bench {small}"},
    )
    written = json.loads((folder / "results" / "sqlite-smoke" / "results.json").read_text())
    [row] = written["scenarios"]["burst"]["rows"]
    assert (row["contender"], row["ran"], row["twice"], row["missed"]) == ("ours", row["jobs"], 0, 0)
    assert row["jobs"] == 30
    assert written["environment"]["database"].startswith("SQLite 3")
    assert "Django" in written["packages"]["ours"]
    page = (folder / "results" / "sqlite-smoke" / "results.md").read_text()
    assert "| 30 | this template |" in page
    assert "scale (" in page.partition("### Not run")[2]
    assert not list(folder.glob("*.sqlite3*"))

    pages = {row["page"]: row for row in written["scenarios"]["pages"]["rows"]}
    assert pages["overview"]["size_kb"] > 20
    # An answer that holds what has changed, and nothing else.
    assert 1 < pages["overview, a look at which all has changed"]["max_size_kb"] <= 10
    clicks = {row["click"]: row for row in written["scenarios"]["effect"]["rows"]}
    assert {name: row["seen"] for name, row in clicks.items()} == dict.fromkeys(
        ("run now", "save", "preview", "preview, no script", "editor"), 2
    )
    # The new schedule's time is that far away.
    assert clicks["save"]["p50_ms"] >= 100
