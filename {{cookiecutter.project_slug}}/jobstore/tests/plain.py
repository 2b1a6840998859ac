"""Schedulers as a project without our command starts them: `python -m jobstore.tests.plain KIND`.

KIND is background, blocking or asyncio. Also the jobs that they and `runapscheduler` are given by
tests about connections and outages, and how a test stores one without starting a scheduler.
"""

import asyncio
import datetime as dt
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.schedulers.base import BaseScheduler
from apscheduler.schedulers.blocking import BlockingScheduler

from jobstore.tests.processes import ROOT, SchedulerCommand

THREADS = 10


def trace(text: str = "ran") -> None:
    """Leave a trace outside the database, which may be away."""
    with Path(os.environ["TICK_TRACE"]).open("a") as file:
        file.write(f"{text}\n")


def work(text: str, seconds: float) -> None:
    """Take some time, and leave a trace before and after."""
    trace(f"{text} began")
    time.sleep(seconds)
    trace(f"{text} ended")


def query() -> None:
    """Use the database for a moment, so that all threads do so at once."""
    from jobstore.models import DjangoJob

    DjangoJob.objects.count()
    time.sleep(0.1)


async def query_later() -> None:
    """Use the database from a coroutine."""
    from jobstore.models import DjangoJob

    await DjangoJob.objects.acount()
    await asyncio.sleep(0.1)


def query_and_fail() -> None:
    """Use the database, and raise."""
    query()
    raise ValueError("broken")


def query_and_break_off() -> None:
    """Raise while a transaction is open by hand."""
    from django.db import transaction

    transaction.set_autocommit(False)
    query()
    raise ValueError("broken in a transaction")


def store_job(
    func: Callable[..., Any],
    job_id: str,
    *args: Any,
    trigger: str = "date",
    max_instances: int = 1,
    coalesce: bool = True,
    **when: Any,
) -> None:
    """Store a job, as a process can that runs no scheduler."""
    from jobstore.jobstores import DjangoJobStore

    scheduler = BackgroundScheduler(timezone="UTC")
    job = scheduler.add_job(func, trigger, id=job_id, args=args, **when)
    job._modify(executor="default", max_instances=max_instances, coalesce=coalesce)
    first = job.trigger.get_next_fire_time(None, dt.datetime.now(dt.UTC))
    job._modify(misfire_grace_time=3600, next_run_time=first)
    DjangoJobStore().add_job(job)


class PlainScheduler(SchedulerCommand):
    """An APScheduler scheduler on our store, in a process of its own, without our command."""

    def __init__(self, kind: str, log: Path, **environment: str) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "jobstore.tests.plain", kind],
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | self.environment() | environment,
            )

    def shut_down(self) -> None:
        """Call `shutdown()` and let the process live."""
        self.process.send_signal(signal.SIGUSR1)


def start(kind: str, log: Path, **environment: str) -> SchedulerCommand:
    """Start a plain scheduler of this kind, or our command."""
    if kind == "command":
        return SchedulerCommand(log, **environment)
    return PlainScheduler(kind, log, **environment)


def _until_told(scheduler: BaseScheduler) -> None:
    """Shut the scheduler down on SIGUSR1, and end on SIGTERM."""
    shut_down, end = threading.Event(), threading.Event()

    def watch() -> None:
        shut_down.wait()
        scheduler.shutdown()
        print("Has shut down", flush=True)

    threading.Thread(target=watch, daemon=True).start()
    signal.signal(signal.SIGUSR1, lambda *_: shut_down.set())
    signal.signal(signal.SIGTERM, lambda *_: end.set())
    print("Started", flush=True)
    scheduler.start()
    end.wait()


async def _asyncio(scheduler: AsyncIOScheduler) -> None:
    end = asyncio.Event()
    loop = asyncio.get_running_loop()

    async def shut_down() -> None:
        scheduler.shutdown()
        await asyncio.sleep(0.1)
        print("Has shut down", flush=True)

    tasks: list[asyncio.Task[None]] = []
    loop.add_signal_handler(signal.SIGUSR1, lambda: tasks.append(loop.create_task(shut_down())))
    loop.add_signal_handler(signal.SIGTERM, end.set)
    scheduler.start()
    await end.wait()


def main(kind: str) -> None:
    """Run a scheduler of this kind until SIGTERM."""
    import django

    django.setup()
    from jobstore.jobstores import DjangoJobStore

    options: dict[str, Any] = {
        "jobstores": {"default": DjangoJobStore()},
        "timezone": "UTC",
    }
    if kind == "asyncio":
        asyncio.run(_asyncio(AsyncIOScheduler(**options)))
    else:
        one: Any = {"background": BackgroundScheduler, "blocking": BlockingScheduler}[kind]
        pool = {"executors": {"default": ThreadPoolExecutor(THREADS)}}
        _until_told(one(**options, **pool))


if __name__ == "__main__":
    main(sys.argv[1])
