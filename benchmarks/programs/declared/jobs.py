"""Its jobs: one function, as many declarations."""

import os

from jobstore.registry import scheduled  # type: ignore[import-not-found]

import load

for number in range(int(os.environ["BENCH_DECLARED"])):
    scheduled("interval", id=f"declared-{number}", days=1, args=(number,))(load.work)
