"""The metrics of a scheduler process, in Prometheus's text format.

https://prometheus.io/docs/instrumenting/exposition_formats/ - it takes a dozen lines, which are not
worth a dependency.
"""

from typing import TYPE_CHECKING

from jobstore import conf
from jobstore.models import SchedulerInstance

if TYPE_CHECKING:
    from jobstore.process.scheduler import SchedulerProcess

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def render(process: "SchedulerProcess") -> str:
    """Return the page. It does not ask the database, so it works during an outage."""
    seen, store = process.elector, process.store
    gauges = {
        "active": ("Whether this process holds the lease.", float(seen.term is not None)),
        "epoch": ("Epoch of the lease, 0 without it.", seen.epoch or 0),
        "loop_age_seconds": ("Seconds since the loop's last turn.", process.scheduler.loop_age),
        "database_age_seconds": ("Seconds since the database last answered.", seen.database_age),
        "clock_skew_seconds": (
            "Seconds by which this machine's clock is ahead of the database's.",
            seen.clock_skew,
        ),
        "due_lag_seconds": ("Seconds by which the oldest due job was late.", seen.due_lag),
        "workers": ("Jobs that can run at once.", conf.get("SCHEDULER_THREADS")),
        "workers_busy": ("Jobs that are running.", process.busy_workers),
        "executors_saturated": (
            "Executors whose workers are all busy while jobs wait for them.",
            len(seen.saturation.executors),
        ),
        "results_waiting": ("Results not yet written.", process.results_waiting),
        "declaration_problems": (
            "Problems with declared jobs and their files.",
            len(process.declared.problems),
        ),
    }
    lines = []
    for name, (text, value) in gauges.items():
        lines += [f"# HELP jobstore_{name} {text}", f"# TYPE jobstore_{name} gauge"]
        lines.append(f"jobstore_{name} {value}")
    lines += ["# HELP jobstore_role What this process is.", "# TYPE jobstore_role gauge"]
    lines += [
        _labelled("jobstore_role", "role", role, int(role == seen.role))
        for role in SchedulerInstance.Role.values
    ]
    lines += ["# HELP jobstore_runs_total Runs by outcome.", "# TYPE jobstore_runs_total counter"]
    lines += [
        _labelled("jobstore_runs_total", "status", status, number)
        for status, number in sorted(store.outcomes.items())
    ]
    return "\n".join(lines) + "\n"


def _labelled(name: str, label: str, value: str, number: int) -> str:
    escaped = value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return name + "{" + f'{label}="{escaped}"' + "}" + f" {number}"
