"""What a worker process is asked to carry out."""

import dataclasses
import datetime as dt


@dataclasses.dataclass(frozen=True)
class Request:
    """One run. The arguments are pickled apart, since only the child's modules can read them.

    `ahead` is by how many seconds the database's clock is ahead of this machine's monotonic one.
    """

    execution_id: int
    job_id: str
    run_time: dt.datetime
    epoch: int | None
    func: str
    executor: str
    attempt: int
    ahead: float
    arguments: bytes
