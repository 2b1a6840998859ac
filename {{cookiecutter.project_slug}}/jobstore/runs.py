"""The run that is being carried out, for functions of jobs that need to know it."""

from jobstore.execution.run import ActiveRun, current_run

__all__ = ["ActiveRun", "current_run"]
