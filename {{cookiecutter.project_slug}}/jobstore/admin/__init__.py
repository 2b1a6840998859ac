"""The admin: an overview, jobs and their actions, the history, the audit, and the processes.

It only reads and writes rows: a web process never starts a scheduler or runs a job.
"""

from jobstore.admin.audit import AuditEntryAdmin
from jobstore.admin.dashboard.entry import Overview, OverviewAdmin
from jobstore.admin.history import DjangoJobExecutionAdmin
from jobstore.admin.jobs import DjangoJobAdmin
from jobstore.admin.schedulers import SchedulerInstanceAdmin

__all__ = [
    "AuditEntryAdmin",
    "DjangoJobAdmin",
    "DjangoJobExecutionAdmin",
    "Overview",
    "OverviewAdmin",
    "SchedulerInstanceAdmin",
]
