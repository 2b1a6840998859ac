"""Where runs run, beside APScheduler's own threads: in worker processes on the same machine.

For any APScheduler scheduler: `executors={"processes": WorkerProcesses(2)}`; `runapscheduler` adds
it if SCHEDULER_PROCESSES says so.
"""

from jobstore.executors.processes import WorkerProcesses

__all__ = ["WorkerProcesses"]
