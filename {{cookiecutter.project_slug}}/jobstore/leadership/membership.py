"""A scheduler process as the others see it: its row, its heartbeat, and its sign-off."""

import logging
import os
import socket
import time
import uuid

from django.db import DatabaseError, InterfaceError, transaction

from jobstore import versions
from jobstore.leadership import losses
from jobstore.leadership.fitness import Fitness
from jobstore.models import SchedulerInstance, database_now

logger = logging.getLogger("jobstore.scheduler")

Role = SchedulerInstance.Role

# Seconds between two heartbeats.
HEARTBEAT_SECONDS = 5.0


class Membership:
    """The row of this process. For the elector's thread, and for the end of the process, only."""

    def __init__(self, using: str) -> None:
        """Prepare; nothing is written yet.

        :param using: alias of the database that holds the jobs.
        """
        self.using = using
        self.id = uuid.uuid4()
        self.host = socket.gethostname()
        self.pid = os.getpid()
        self.version = versions.of_project()[:50]
        self.role = Role.STARTING
        self.fitness = Fitness()
        self._registered = False
        self._next_heartbeat = 0.0
        # What the history says of runs that this process leaves unfinished.
        self._parting = ""
        # When the database last answered, on this machine's monotonic clock.
        self._reached_at = 0.0

    def _register(self) -> None:
        now = database_now(self.using)
        SchedulerInstance.objects.using(self.using).create(
            id=self.id,
            host=self.host,
            pid=self.pid,
            version=self.version,
            role=self.role,
            started_at=now,
            heartbeat_at=now,
            problem=self.fitness.shown,
        )
        self._registered = True

    def _heartbeat_if_due(self) -> None:
        if time.monotonic() >= self._next_heartbeat:
            self._write(role=self.role)
            self._reached_at = time.monotonic()
            self._next_heartbeat = time.monotonic() + HEARTBEAT_SECONDS

    def _write(self, **changes: object) -> None:
        instances = SchedulerInstance.objects.using(self.using).filter(pk=self.id)
        if not instances.update(heartbeat_at=database_now(self.using), **changes):
            self._registered = False

    def _sign_off(self) -> None:
        """Write that this process has left, and mark its runs as lost in the same transaction."""
        if not self._registered or self.role == Role.STOPPED:
            return
        try:
            with transaction.atomic(using=self.using):
                self._write(role=Role.STOPPED, stopped_at=database_now(self.using))
                # A thread that cannot be ended runs until the process ends, soon after this.
                lost = losses.mark_lost(
                    [self.id], self.using, self._parting, put_off=losses.PUT_OFF_SECONDS
                )
            self.role = Role.STOPPED
        except (DatabaseError, InterfaceError) as error:
            logger.warning("This process could not sign off: %s", error)
        else:
            if lost:
                logger.error("%d runs that this process leaves were marked as lost.", lost)
