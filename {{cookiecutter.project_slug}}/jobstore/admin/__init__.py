"""The admin: jobs and what may be done with them, their history, and the scheduler processes.

It reads and writes rows, nothing else: a web process never starts a scheduler (invariant I10).
"""

from .history import DjangoJobExecutionAdmin
from .jobs import DjangoJobAdmin
from .schedulers import SchedulerInstanceAdmin

__all__ = ["DjangoJobAdmin", "DjangoJobExecutionAdmin", "SchedulerInstanceAdmin"]
