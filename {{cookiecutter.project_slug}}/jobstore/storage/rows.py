"""The part of a job's row that a claim reads."""

import datetime as dt
from typing import NamedTuple


class DueJob(NamedTuple):
    """The columns of a due job that a claim needs: when and how it runs, and its signature's.

    `running` is the number of its claims that are running, in all processes. The times that one
    claim took run one after the other, and so count as one. Each requested run counts on its own.
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
