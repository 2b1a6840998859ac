"""Settings of the schedulers of these tests: the project's own, with jobs that run all the time.

Timings are production's, unless LOAD_QUICK=1 asks for leases of two seconds.
"""

import importlib.util
import os

from config.settings import *  # type: ignore[import-not-found]  # noqa: F403
from config.settings import INSTALLED_APPS as USUAL_APPS

INSTALLED_APPS = [*USUAL_APPS, "load"]
# The app that people deploy lies outside the project; not every test has one.
if importlib.util.find_spec("deployed"):
    INSTALLED_APPS.append("deployed")

# History is compared with what ran, so none of it may be pruned.
JOB_HISTORY_DAYS = 36500
JOB_HISTORY_PER_JOB = 10**9

if os.environ.get("LOAD_QUICK") == "1":
    SCHEDULER_DATABASE_WAIT_SECONDS = 10
    SCHEDULER_LEASE_SECONDS = 2.0
    SCHEDULER_RENEW_SECONDS = 0.4
    SCHEDULER_MARGIN_SECONDS = 0.5
    SCHEDULER_POLL_SECONDS = 0.2
    SCHEDULER_DEAD_SECONDS = 3.0
    SCHEDULER_STATEMENT_SECONDS = 2.0
