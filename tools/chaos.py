"""Runs a random mix of faults on real schedulers and writes a report: `make chaos`.

It generates and installs a project under build/chaos, and starts three schedulers on a database of
their own. It kills, stops, freezes and cuts them off as a seed decides, and compares what ran with
the history. It exits with 1, and prints the findings, if anything is wrong. Everything that it started
is gone at the end, also after Ctrl-C.
"""

import argparse
import json
import os
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from bakery import project  # noqa: E402
from baking import Baked  # noqa: E402
from faults.cluster import Cluster  # noqa: E402
from faults.mix import Mix  # noqa: E402
from faults.report import page  # noqa: E402
from layers import answers  # noqa: E402
from machine import Failed  # noqa: E402
from servers import MariaDB, PostgreSQL, Server  # noqa: E402

Number = TypeVar("Number", int, float)

CHAOS = ROOT / "build" / os.environ.get("CHAOS_FOLDER", "chaos")
KINDS: dict[str, type[Server] | None] = {"postgresql": PostgreSQL, "mariadb": MariaDB, "sqlite": None}
# Jobs that run each second, beside some others; SQLite has one writer at a time.
JOBS = {"postgresql": 100, "mariadb": 100, "sqlite": 30}


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Kill, freeze and cut off real schedulers, and check.")
    parser.add_argument("--database", choices=["", *KINDS], default="")
    parser.add_argument("--minutes", type=optional(float), help="how long faults go on (5)")
    parser.add_argument("--hours", type=optional(float), help="the same in hours")
    parser.add_argument("--runs", type=optional(int), help="until so many runs have started, instead")
    parser.add_argument("--seed", type=optional(int), help="repeats the decisions of an earlier mix")
    return parser.parse_args()


def optional(kind: Callable[[str], Number]) -> Callable[[str], Number | None]:
    """Return a parser of numbers that reads None from an empty text, which `make` passes if unset."""
    return lambda text: kind(text) if text else None


def main() -> int:
    """Run a mix, write the report, return the exit code."""
    given = arguments()
    database = given.database or "postgresql"
    if KINDS[database] and not answers("docker", "info"):
        print("Docker does not work here, and the database runs in it. Try DATABASE=sqlite.", file=sys.stderr)
        return 2
    seed = secrets.randbelow(10**6) if given.seed is None else given.seed
    minutes = given.hours * 60 if given.hours else given.minutes or 5.0
    # A signal ends this program by an exception, so that it ends what it has started.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.default_int_handler)
    print(f"A mix of faults on {database}, seed {seed}", flush=True)
    baked = Baked(project(CHAOS, database))
    baked.compile()  # the schedulers write no bytecode
    work = CHAOS / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    with Cluster(baked, work, KINDS[database], jobs=JOBS[database]) as cluster:
        mix = Mix(cluster, seed, lambda line: print(line, flush=True), JOBS[database])
        result = mix.run(minutes * 60, given.runs)
    (CHAOS / "report.json").write_text(json.dumps(result, indent=1))
    (CHAOS / "report.html").write_text(page(result))
    taken = time.strftime("%H:%M:%S", time.gmtime(result["ended"] - result["began"]))
    print(
        f"\n{result['runs']} runs, {len(result['faults'])} faults, "
        f"{len(result['terms']) - 1} take-overs in {taken}."
    )
    print(f"Report: {(CHAOS / 'report.html').relative_to(ROOT)}, and the logs in {work.relative_to(ROOT)}")
    for sentence in result["findings"]:
        print(f"FOUND  {sentence}", file=sys.stderr)
    print("Nothing wrong was found." if not result["findings"] else "", flush=True)
    return 1 if result["findings"] else 0


if __name__ == "__main__":
    os.chdir(ROOT)
    try:
        sys.exit(main())
    except Failed as failure:
        print(f"\nERROR: {failure}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\nInterrupted; everything that was started is gone.", file=sys.stderr)
        sys.exit(130)
