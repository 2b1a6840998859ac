"""The run that is being carried out here, which all code that it calls can ask for."""

import contextvars
from typing import Protocol


class CurrentRun(Protocol):
    """A run as far as everybody may know it; `jobstore.runs.Run` has more."""

    execution_id: int
    job_id: str
    epoch: int | None


current: contextvars.ContextVar[CurrentRun | None] = contextvars.ContextVar(
    "current_run", default=None
)
