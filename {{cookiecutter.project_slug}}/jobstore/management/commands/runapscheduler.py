"""`manage.py runapscheduler`: run the jobs, as long as this process is the active scheduler."""

import gc
import logging
import os
import signal
import threading
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError, InterfaceError, connections
from django.db.migrations.executor import MigrationExecutor

from jobstore import conf, forks, registry
from jobstore.checks import declared_jobs, fresh_start
from jobstore.checks.configuration import SHUTDOWN_RESERVE_SECONDS
from jobstore.database.connecting import explain
from jobstore.declarations.declaration import Collected, Problem
from jobstore.health import answers
from jobstore.process import ending
from jobstore.process.scheduler import SchedulerProcess
from jobstore.schedules.wording import describe
from jobstore.texts import flattened
from jobstore.util import release_connections

logger = logging.getLogger("jobstore.scheduler")


class Command(BaseCommand):
    """Starts the scheduler and blocks until SIGTERM or SIGINT."""

    help = "Runs the scheduled jobs. Stops cleanly, with exit code 0, on SIGTERM and SIGINT."
    # The database may be away for a moment; this command reports that itself.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare --check and --dry-run."""
        instead = parser.add_mutually_exclusive_group()
        instead.add_argument(
            "--check",
            action="store_true",
            help="validate settings and declared jobs without a database, and exit",
        )
        instead.add_argument(
            "--dry-run",
            action="store_true",
            help="print what a start would add, update and retire, and exit",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Validate, wait for the database, run."""
        with declared_jobs.left_out():
            self.check()
        process = SchedulerProcess()
        if options["check"]:
            self._check_declarations(process)
            return
        self._wait_for_database(process.store.using)
        self._require_migrations(process.store.using)
        self._validate_declarations(process)
        if options["dry_run"]:
            self._print_plan(process)
            return
        self._run(process)

    def _check_declarations(self, process: SchedulerProcess) -> None:
        found = registry.collect(process.scheduler)
        for job_id, (_, job) in found.jobs.items():
            first = f"first run {job.next_run_time}" if job.next_run_time else "paused"
            first = "never runs" if job_id in found.ended else first
            self.stdout.write(f"{flattened(job_id)}  {flattened(describe(job.trigger))}  {first}")
        for problem in (*found.problems, *found.ended.values()):
            if not problem.is_fatal:
                self.stderr.write(self.style.WARNING(str(problem)))
        fatal = [*found.fatal, *self._unsteady(found)]
        if fatal:
            raise CommandError("\n".join(map(str, fatal)))
        self.stdout.write(self.style.SUCCESS(f"{len(found.jobs)} declared jobs are valid."))

    def _unsteady(self, found: Collected) -> list[Problem]:
        """Return the problems of declarations that differ in each process."""
        try:
            return fresh_start.problems(found)
        except fresh_start.NoAnswer as error:
            text = (
                "It could not be checked whether the declarations are the same in each process: "
                f"{error}."
            )
            self.stderr.write(self.style.WARNING(text))
            return []

    def _validate_declarations(self, process: SchedulerProcess) -> None:
        """Import the declarations before competing; refuse wrong ones if settings ask for it."""
        found = process.declared.collect()
        if found.fatal and conf.get("SCHEDULER_ON_BAD_JOBS") == "refuse":
            raise CommandError(
                (
                    f"{len(found.fatal)} problems with declared jobs, and "
                    "SCHEDULER_ON_BAD_JOBS=refuse:\n"
                )
                + "\n".join(map(str, found.fatal))
            )

    def _print_plan(self, process: SchedulerProcess) -> None:
        declared = process.declared
        changes = registry.sync(
            process.store,
            process.scheduler,
            dry_run=True,
            collected=declared.collected,
            report=declared.tell,
        )
        for change in changes:
            self.stdout.write(f"{change.action:<7} {change.job_id}  {change.trigger}")
        self.stdout.write(f"Changes: {len(changes)}; nothing was written.")

    def _wait_for_database(self, using: str) -> None:
        patience = conf.get("SCHEDULER_DATABASE_WAIT_SECONDS")
        deadline = time.monotonic() + patience
        while True:
            try:
                connections[using].ensure_connection()
                return
            except (DatabaseError, InterfaceError) as error:
                settings = connections[using].settings_dict
                place = settings["HOST"] or settings["NAME"]
                text = flattened(error)
                if time.monotonic() >= deadline:
                    reason = f"{text}. Check that DATABASE_URL is right."
                    raise CommandError(
                        f"The database at {place} did not answer within {patience:g} s. "
                        + (explain(error, using) or reason)
                    ) from error
                logger.warning("Waiting for the database at %s: %s", place, text)
                time.sleep(2.0)

    def _require_migrations(self, using: str) -> None:
        executor = MigrationExecutor(connections[using])
        targets = [key for key in executor.loader.graph.leaf_nodes() if key[0] == "jobstore"]
        missing = executor.migration_plan(targets)
        if missing:
            names = ", ".join(f"{migration.app_label}.{migration.name}" for migration, _ in missing)
            raise CommandError(
                f"The database lacks migrations ({names}). Run `python manage.py migrate` first."
            )

    def _run(self, process: SchedulerProcess) -> None:
        release_connections()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, process.ask_to_stop)
        forks.guard_handler(process.ask_to_stop)
        server = answers.serve(process, conf.get("SCHEDULER_HEALTH_ADDRESS"))
        # All objects so far stay. The garbage collector would stop all threads for 50 ms each time
        # that it went through them.
        gc.collect()
        gc.freeze()
        process.start()
        logger.info("Started as process %d on database %r.", os.getpid(), process.store.using)
        process.wait()
        logger.info("Stopping: no more runs are claimed.")
        limit = self._limit_the_end(process)
        all_ended = process.stop()
        limit.cancel()
        if server is not None:
            server.shutdown()
        for number in (signal.SIGTERM, signal.SIGINT):
            # A further signal must not turn a clean end into a death by signal: the interpreter
            # removes our handlers before it has ended.
            signal.signal(number, signal.SIG_IGN)
        logger.info("Stopped.")
        if not all_ended:
            ending.end_at_once()
        ending.limit_exit()

    def _limit_the_end(self, process: SchedulerProcess) -> threading.Timer:
        """End the process in time, even if the database never answers a statement."""

        def end() -> None:
            logger.error("Ending without an answer from the database; %s.", process.left_over)
            ending.end_at_once()

        limit = threading.Timer(conf.get("SCHEDULER_DRAIN_SECONDS") + SHUTDOWN_RESERVE_SECONDS, end)
        limit.daemon = True
        limit.start()
        return limit
