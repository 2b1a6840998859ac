"""The admin: an overview, jobs and what may be done with them, their history, and the processes.

It reads and writes rows, nothing else: a web process never starts a scheduler (invariant I10).
"""

from jobstore.admin.dashboard.entry import Overview, OverviewAdmin
from jobstore.admin.history import DjangoJobExecutionAdmin
from jobstore.admin.jobs import DjangoJobAdmin
from jobstore.admin.schedulers import SchedulerInstanceAdmin

__all__ = [
    "DjangoJobAdmin",
    "DjangoJobExecutionAdmin",
    "Overview",
    "OverviewAdmin",
    "SchedulerInstanceAdmin",
]
