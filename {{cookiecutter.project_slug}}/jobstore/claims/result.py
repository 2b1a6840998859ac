"""What one look at the database brings to a job store."""

import dataclasses
import datetime as dt

from apscheduler.job import Job

from jobstore.leadership.lease import NotHolder


@dataclasses.dataclass
class Settled:
    """Times of a job that a claim recorded as missed or skipped; its row stands for `total`."""

    job_id: str
    status: str
    times: list[dt.datetime]
    total: int


class LacksKeys(NotHolder):
    """Too few keys of the stored jobs are known here for a claim; its text says what to do."""


@dataclasses.dataclass
class ClaimResult:
    """Jobs to start, times that were settled, and jobs that have come to their end."""

    jobs: list[Job] = dataclasses.field(default_factory=list)
    settled: list[Settled] = dataclasses.field(default_factory=list)
    ended: list[str] = dataclasses.field(default_factory=list)
