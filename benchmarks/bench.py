"""Measures this template beside its peers and its limits, in one run: `make bench`.

Each contender is installed in an environment of its own under build/bench. They run one after the
other on the same database server. The results are results.json, results.md and pictures in a folder
for the database and the size, under build/bench/results. Earlier results of other scenarios are kept.
Everything that it started is gone at the end, also after Ctrl-C.
"""

import argparse
import importlib
import json
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
for part in ("tools", "tests", "benchmarks"):
    sys.path.insert(0, str(ROOT / part))

import bars  # noqa: E402
import environment  # noqa: E402
import limits  # noqa: E402, F401 - names of contenders
import machine  # noqa: E402
import peers  # noqa: E402, F401 - names of contenders
import report  # noqa: E402
from contenders import BUILD, CONTENDERS, Contender  # noqa: E402
from databases import Database, MariaDB, PostgreSQL, Sqlite  # noqa: E402
from rows import Results  # noqa: E402

SCENARIOS = (
    *("burst", "steady", "mixed", "idle", "change", "failover", "scale", "admin", "purge", "probe"),
    *("image", "round-trip", "pages", "filters", "effect", "command"),
)
# The smallest only tests the benchmark itself: its figures mean nothing.
SIZES = ("small", "full", "smoke")
BENCHMARKS = Path(__file__).resolve().parent
DATABASES = {"postgresql": PostgreSQL, "mariadb": MariaDB, "sqlite": Sqlite}


class Bench:
    """One benchmark: a database, a size, and those who take part."""

    def __init__(self, database: Database, size: str, repeats: int, only: Sequence[str]) -> None:
        self.database = database
        self.size = size
        self.repeats = repeats
        self._only = only
        self._installed: dict[str, Contender] = {}
        # The contenders that cannot take part in the current scenario, and why.
        self.left_out: dict[str, str] = {}

    @property
    def installed(self) -> dict[str, Contender]:
        """The contenders that have taken part so far."""
        return self._installed

    def contenders(self, names: Sequence[str]) -> Iterator[Contender]:
        """Yield those of these contenders that take part and support this database, installed."""
        for name in names:
            if name not in CONTENDERS or (self._only and name not in self._only):
                continue
            if self.database.kind not in CONTENDERS[name].databases:
                continue
            if reason := CONTENDERS[name].obstacle():
                self.left_out[name] = reason
                continue
            if name not in self._installed:
                self._installed[name] = CONTENDERS[name](self.database)
                self._installed[name].install()
            yield self._installed[name]

    def empty(self, contender: Contender) -> None:
        """Give the contender a database with its tables and nothing in them."""
        if isinstance(self.database, Sqlite):
            self.database.remove()
        elif isinstance(self.database, PostgreSQL):
            self.database.ask("DROP SCHEMA public CASCADE")
            self.database.ask("CREATE SCHEMA public")
            self.database.ask("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        else:
            self.database.ask("DROP DATABASE app; CREATE DATABASE app")
        contender.migrate()

    def step(self, title: str) -> AbstractContextManager[None]:
        """Print what is being done, and how long it took."""
        return machine.step(title)


def some_of(known: Iterable[str]) -> Callable[[str], list[str]]:
    """Return what reads names with commas between them and refuses those that are not known."""

    def read(text: str) -> list[str]:
        names = [name.strip() for name in text.split(",") if name.strip()]
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{unknown[0]} is none of {', '.join(known)}.")
        return names

    return read


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure this template beside its peers and limits.")
    parser.add_argument("--database", choices=["", *DATABASES], default="")
    parser.add_argument("--size", choices=["", *SIZES], default="")
    parser.add_argument("--repeats", type=lambda text: int(text) if text else 0, default=0)
    parser.add_argument(
        "--only", type=some_of(SCENARIOS), default="", help="scenarios, with commas between them"
    )
    parser.add_argument(
        "--contenders", type=some_of(CONTENDERS), default="", help="who takes part, with commas between them"
    )
    parser.add_argument("--publish", action="store_true", help="put the results into benchmarks/README.md")
    return parser.parse_args()


def main() -> int:
    """Measure, write the results, return the exit code: 1 if a scenario failed."""
    given = arguments()
    kind = given.database or "postgresql"
    size = given.size or "small"
    if given.publish and size == "smoke":
        raise machine.Failed("The smallest size shows nothing that could be published.")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    # With it, everything that contenders import would be compiled again at each start.
    os.environ.pop("PYTHONPYCACHEPREFIX", None)
    folder = BUILD / "results" / f"{kind}-{size}"
    folder.mkdir(parents=True, exist_ok=True)
    results = {"scenarios": {}, "packages": {}, "titles": {}} | (earlier(folder) or {})
    results |= {"database": kind, "size": size, "environment": environment.describe(folder)}
    database = Sqlite(BUILD) if kind == "sqlite" else DATABASES[kind]()
    bench = Bench(
        database,
        size,
        given.repeats or (3 if size == "full" else 1),
        given.contenders,
    )
    failed = False
    try:
        database.prepare()
        results["environment"]["database"] = environment.version_of(database)
        for name in given.only or SCENARIOS:
            busy = environment.busy_cores()
            found = measured(bench, name) | {"busy_cores_at_start": busy}
            failed = failed or "failed" in found
            results["scenarios"][name] = found
            results["titles"] |= {name: one.title for name, one in CONTENDERS.items()}
            for one in bench.installed.values():
                results["packages"][one.home or one.name] = environment.packages(one)
            (folder / "results.json").write_text(json.dumps(results, indent=1))
    finally:
        database.remove()
    show(results, folder, publish=given.publish)
    return 1 if failed else 0


def earlier(folder: Path) -> dict[str, Any] | None:
    """Return what was measured before, None if there is nothing."""
    file = folder / "results.json"
    return json.loads(file.read_text()) if file.is_file() else None


def measured(bench: Bench, name: str) -> dict[str, Any]:
    """Return a scenario's rows and their date, or why there are none."""
    scenario = importlib.import_module(f"scenarios.{name.replace('-', '_')}")
    found = {
        "title": scenario.TITLE,
        "date": environment.now(),
        "contenders": list(scenario.CONTENDERS),
        "parameters": list(getattr(scenario, "PARAMETERS", ())),
        "rows": [],
    }
    if bench.size not in scenario.SIZES:
        return found | {"skipped": f"it has no size {bench.size}"}
    print(scenario.TITLE, flush=True)
    bench.left_out.clear()
    try:
        found["rows"] = scenario.run(bench)
        found["rows"] += [{"contender": name, "note": why} for name, why in bench.left_out.items()]
    except Exception as failure:  # noqa: BLE001 - what others have measured for hours is not lost by it
        traceback.print_exc()
        found["failed"] = str(failure) or type(failure).__name__
    for row in found["rows"]:
        print("   ", {key: value for key, value in row.items() if key != "curve"}, flush=True)
    return found


def show(results: dict[str, Any], folder: Path, *, publish: bool) -> None:
    """Write tables and pictures, and say whether the bars are met."""
    if results["size"] != "smoke":
        draw(folder)
    drawn = sorted(folder.glob("*.svg"))
    text = report.page(Results(results), SCENARIOS, tuple(file.name for file in drawn))
    (folder / "results.md").write_text(text, encoding="utf-8")
    if publish:
        name, target = report.published_as(results["database"], results["size"]), BENCHMARKS / "pictures"
        target.mkdir(exist_ok=True)
        for file in [*target.glob(f"{name}-*.svg")]:
            if file.name.removeprefix(f"{name}-").startswith("full-"):
                continue  # of the other size
            file.unlink()
        for file in drawn:
            shutil.copy(file, target / f"{name}-{file.name}")
        names = tuple(f"pictures/{name}-{file.name}" for file in drawn)
        report.publish(BENCHMARKS / "README.md", name, report.page(Results(results), SCENARIOS, names))
    print()
    for bar in bars.bars(Results(results)):
        print(f"{bar.verdict.strip('*').upper():<13} {bar.text}: {bar.measured or '-'}, target {bar.target}")
    print(f"\nResults: {os.path.relpath(folder)}/results.md, results.json and pictures")


def draw(folder: Path) -> None:
    """Draw the pictures, by a program with an environment of its own."""
    home = BUILD / "pictures"
    home.mkdir(exist_ok=True)
    with machine.step("Drawing pictures"):
        machine.install(home / ".venv", BENCHMARKS / "requirements" / "pictures.txt")
        python = home / ".venv" / "bin" / "python"
        machine.run(python, BENCHMARKS / "pictures.py", folder / "results.json", folder, cwd=folder)


if __name__ == "__main__":
    os.chdir(ROOT)
    try:
        sys.exit(main())
    except machine.Failed as failure:
        print(f"\nERROR: {failure}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nInterrupted; everything that was started is gone.", file=sys.stderr)
        sys.exit(130)
