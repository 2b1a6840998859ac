"""As much of a job's row as a claim reads."""

import datetime as dt
from typing import NamedTuple


class DueJob(NamedTuple):
    """What a claim needs of a due job: when, how it runs, and what its signature covers.

    `running` is the number of its claims that are running in whatever process. The times that one
    claim took run one after the other and so count as one; runs that were asked for are started on
    their own.
    """

    pk: str
    job_state: bytes | memoryview
    next_run_time: dt.datetime
    version: int
    func: str
    arguments: str
    trigger: str
    executor: str
    coalesce: bool
    max_instances: int
    misfire_grace_time: int | None
    running: int
