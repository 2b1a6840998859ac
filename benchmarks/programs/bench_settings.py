"""Settings of the baked project while it is measured: its own, and nothing is pruned meanwhile."""

import os

from config.settings import *  # type: ignore[import-not-found]  # noqa: F403

# Without the sample jobs, which would run beside what is measured.
INSTALLED_APPS = [app for app in INSTALLED_APPS if app != "jobs"]  # type: ignore[has-type]  # noqa: F405
INSTALLED_APPS += os.environ.get("BENCH_APPS", "").split()
JOB_HISTORY_DAYS = 36500
JOB_HISTORY_PER_JOB = 10**9
