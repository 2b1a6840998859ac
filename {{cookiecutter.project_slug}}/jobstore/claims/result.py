"""What one claim returns to the job store."""

import dataclasses
import datetime as dt

from apscheduler.job import Job

from jobstore.leadership.lease import NotHolder


@dataclasses.dataclass
class Settled:
    """Times of a job that a claim recorded as missed or skipped; their row now counts `total`."""

    job_id: str
    status: str
    times: list[dt.datetime]
    total: int


class LacksKeys(NotHolder):
    """The process knows too few keys of the stored jobs to claim; the text says what to do."""


@dataclasses.dataclass
class ClaimResult:
    """Jobs to start, times that were missed or skipped, and ids of jobs without a next time."""

    jobs: list[Job] = dataclasses.field(default_factory=list)
    settled: list[Settled] = dataclasses.field(default_factory=list)
    ended: list[str] = dataclasses.field(default_factory=list)
