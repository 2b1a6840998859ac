"""Scheduler processes that tests start, stop, freeze and kill."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from django.db import connection, connections

ROOT = Path(__file__).resolve().parent.parent
SCHEMES = {"postgresql": "postgres", "mysql": "mysql"}


class SchedulerCommand:
    """`manage.py runapscheduler` in a process of its own, on the test's database."""

    def __init__(self, log: Path, **environment: str) -> None:
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "runapscheduler"],
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=os.environ | self.environment() | environment,
            )

    @staticmethod
    def environment() -> dict[str, str]:
        return {
            "DATABASE_URL": database_url(),
            "DJANGO_SETTINGS_MODULE": "tests.jobs_settings",
            "SCHEDULER_HEALTH_ADDRESS": "",
        }

    def is_active(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return "Active:" in self.log.read_text()

    def kill(self) -> None:
        """End it at once, if it has not ended."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


def database_url() -> str:
    """Return the address of the test's database for another process."""
    database = connections["default"].settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{database['NAME']}"
    place = f"{database['HOST']}:{database['PORT']}/{database['NAME']}"
    return f"{SCHEMES[connection.vendor]}://{database['USER']}:{database['PASSWORD']}@{place}"


def unreachable_url(folder: Path) -> str:
    """Return the address of a database of the same kind that does not answer."""
    if connection.vendor == "sqlite":
        return f"sqlite:///{folder}"
    return f"{SCHEMES[connection.vendor]}://nobody:nothing@127.0.0.1:1/none"
