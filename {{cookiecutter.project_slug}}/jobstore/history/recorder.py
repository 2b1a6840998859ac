"""The recorder: writes the results of runs, in batches, off the scheduling loop's thread.

While the database is away, results wait in memory (from MAX_WAITING_RESULTS on without their
texts), and are written once it is back. A result changes a row only while that row says that this
process is running it. So a late result of a run that was marked as lost changes nothing. The
same thread writes how far runs have come, which must not hold up a result.
"""

import collections
import contextlib
import dataclasses
import datetime as dt
import itertools
import logging
import threading
import time
import uuid
from collections.abc import Sequence
from typing import Any

from django import db
from django.db import connections, transaction

from jobstore.database.backoff import Backoff
from jobstore.database.timeouts import set_session_timeouts
from jobstore.history.bounded import clean, cut
from jobstore.history.progress import Progress, Reports
from jobstore.models import DjangoJobExecution
from jobstore.texts import described
from jobstore.util import as_json, release_connections

logger = logging.getLogger(__name__)

# Results that can wait for the database with their texts. Of further ones only the outcome is kept;
# from the second number on, nothing more is claimed.
MAX_WAITING_RESULTS = 10_000
MAX_BARE = 30_000
GIVEN_UP = (
    f"What this run returned or raised was given up: more than {MAX_WAITING_RESULTS} results waited"
    " for the database."
)
# Characters of text that can wait with them; beyond this only SHORT ones of each text are kept.
MAX_WAITING_CHARACTERS = 64_000_000
SHORT = 1_000
# Results, and characters of their texts, in one statement.
BATCH_RESULTS = 500
BATCH_CHARACTERS = 4_000_000
# Seconds that a result waits for others, to be written together with them.
LINGER_SECONDS = 0.02
# Seconds after which an idle recorder gives its connection back.
IDLE_SECONDS = 2.0


@dataclasses.dataclass(frozen=True)
class Result:
    """How a run ended. `finished` is by the database's clock, `duration` is in seconds."""

    execution_id: int
    status: str
    finished: dt.datetime
    started_at: dt.datetime | None = None
    duration: float | None = None
    result: str | None = None
    exception_type: str = ""
    exception: str | None = None
    traceback: str | None = None
    # What the job left behind, or what became of the texts.
    note: str = ""

    @property
    def text_size(self) -> int:
        """The number of characters in its texts."""
        texts = (self.result, self.exception, self.traceback, self.note)
        return sum(len(text or "") for text in texts)

    def shortened(self) -> "Result":
        """Return the result with only the beginning and the end of each text."""
        return dataclasses.replace(
            self,
            result=cut(self.result, SHORT),
            exception=cut(self.exception, SHORT),
            traceback=cut(self.traceback, SHORT),
        )

    def bare(self) -> "Result":
        """Return the outcome without any text."""
        note = f"{GIVEN_UP}\n{self.note}" if self.note else GIVEN_UP
        return dataclasses.replace(
            self, result=None, exception=None, traceback=None, note=cut(note, SHORT)
        )


class Recorder:
    """Takes results from any thread without delay, and writes them on a thread of its own."""

    def __init__(self, instance: uuid.UUID, using: str) -> None:
        self._instance = instance
        self._using = using
        self._waiting: collections.deque[Result] = collections.deque()
        self._reports = Reports(instance, using)
        self._text_waiting = 0
        # Results whose texts were dropped since fewer than MAX_WAITING_RESULTS waited.
        self._bare = 0
        self._lock = threading.Lock()
        self._something = threading.Event()
        self._empty = threading.Event()
        self._empty.set()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def put(self, result: Result) -> None:
        """Take a result; returns at once, whatever the database does."""
        with self._lock:
            if len(self._waiting) >= MAX_WAITING_RESULTS:
                result = result.bare()
                if not self._bare:
                    logger.error(
                        "More than %d results wait for the database. Of further ones only the "
                        "outcome is kept, without texts.",
                        MAX_WAITING_RESULTS,
                    )
                self._bare += 1
            if self._text_waiting + result.text_size > MAX_WAITING_CHARACTERS:
                result = result.shortened()
            self._waiting.append(result)
            self._text_waiting += result.text_size
            self._empty.clear()
            self._wake()

    def report(self, run_id: int, progress: Progress) -> None:
        """Take how far a run has come; returns at once, and mostly only remembers it."""
        if self._reports.put(run_id, progress):
            with self._lock:
                self._wake()

    def _wake(self) -> None:
        """Have the thread look, and start it if there is none. Call it with the lock."""
        self._something.set()
        if not self._stopping and (self._thread is None or not self._thread.is_alive()):
            self._start()

    def _start(self) -> None:
        thread = threading.Thread(target=self._work, name="jobstore-recorder", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no thread could be started; the next result tries again
            logger.error("Results wait: %s.", error)
        else:
            self._thread = thread

    def _pop(self) -> Result:
        result = self._waiting.popleft()
        self._text_waiting -= result.text_size
        return result

    @property
    def waiting(self) -> int:
        """The number of results that are not written yet."""
        return len(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether so many results wait that no more runs should start."""
        return len(self._waiting) >= MAX_BARE

    def unwritten(self) -> list[int]:
        """Return the runs that have ended although their rows do not say so yet."""
        with self._lock:
            return [result.execution_id for result in self._waiting]

    def flush(self, timeout: float) -> bool:
        """Wait until everything is written; False if `timeout` seconds were not enough."""
        return self._empty.wait(timeout)

    def stop(self, timeout: float) -> bool:
        """Write what is left and end; False if `timeout` seconds were not enough."""
        if self._stopping:
            return not self._waiting
        written = self.flush(timeout)
        with self._lock:
            self._stopping = True
            self._something.set()
        if self._thread is not None:
            self._thread.join(1.0)
        if not written:
            runs = ", ".join(str(result.execution_id) for result in list(self._waiting)[:20])
            logger.error(
                "%d results could not be written before the process ended, those of runs %s.",
                self.waiting,
                runs,
            )
        return written

    def _work(self) -> None:
        backoff = Backoff()
        while True:
            left = self._reports.seconds_left
            is_woken = self._something.wait(IDLE_SECONDS if left is None else left)
            if not is_woken and left is None:
                _release()
                self._something.wait()
            if self._stopping:
                _release()
                return
            time.sleep(backoff.seconds or LINGER_SECONDS)
            try:
                self._write_batch()
                backoff.over()
            except Exception as error:
                if not backoff.seconds:
                    logger.warning(
                        "Results wait, because the database does not accept them: %s", error
                    )
                _release()
                backoff.longer()

    def _write_batch(self) -> None:
        with self._lock:
            batch = self._next_batch()
        ending = {result.execution_id for result in batch}
        self._reports.write(ending)
        if batch:
            set_session_timeouts(self._using)
            try:
                write(batch, self._instance, self._using)
            except (db.DataError, db.IntegrityError, ValueError, TypeError):
                # One bad result must not hold back the others, nor be lost itself.
                for result in batch:
                    self._write_alone(result)
            self._reports.forget(ending)
        with self._lock:
            for result in batch:
                if self._waiting and self._waiting[0] is result:
                    self._pop()
            if self._bare and len(self._waiting) < MAX_WAITING_RESULTS:
                logger.error("%d results were kept without their texts.", self._bare)
                self._bare = 0
            if not self._waiting:
                if not self._stopping:
                    self._something.clear()
                self._empty.set()

    def _next_batch(self) -> list[Result]:
        """Return the results to write next, no more than a statement can carry."""
        batch: list[Result] = []
        size = 0
        for result in itertools.islice(self._waiting, BATCH_RESULTS):
            size += result.text_size
            if batch and size > BATCH_CHARACTERS:
                break
            batch.append(result)
        return batch

    def _write_alone(self, result: Result) -> None:
        try:
            write([result], self._instance, self._using)
        except (db.DataError, db.IntegrityError, ValueError, TypeError) as error:
            logger.exception("The result of run %d cannot be stored as it is.", result.execution_id)
            text = f"The details of this result could not be stored: {described(error)}"
            bare = dataclasses.replace(
                result,
                result=None,
                exception_type="",
                exception=cut(clean(text), SHORT),
                traceback=None,
                note="",
            )
            write([bare], self._instance, self._using)


def _release() -> None:
    with contextlib.suppress(Exception):  # nothing may end the recorder's thread
        release_connections()


def write(results: Sequence[Result], instance: uuid.UUID, using: str) -> None:
    """Write results to the rows that still say that `instance` is running them."""
    if connections[using].vendor == "postgresql":
        _write_postgresql(results, instance, using)
        return
    _write_in_transaction(results, instance, using)


COLUMNS = {
    "status": "text",
    "finished": "timestamptz",
    "started_at": "timestamptz",
    "duration": "double precision",
    "result": "text",
    "exception_type": "text",
    "exception": "text",
    "traceback": "text",
    "note": "text",
}


def _write_postgresql(results: Sequence[Result], instance: uuid.UUID, using: str) -> None:
    changes = ", ".join(f"{name} = result.{name}" for name in COLUMNS)
    types = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    # Found by id, not by the index of the status: with old statistics, which know of few running
    # rows, the planner would compare each of thousands of rows with each result.
    with connections[using].cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE jobstore_djangojobexecution AS run
            SET {changes}
            FROM json_to_recordset(%s) AS result (execution_id bigint, {types})
            WHERE run.id = result.execution_id AND run.instance_id = %s
                AND run.status || '' = %s AND run.id = ANY(%s)
            """,  # noqa: S608 - built from the names and types above alone
            [
                as_json(map(vars, results)),
                instance,
                DjangoJobExecution.RUNNING,
                [result.execution_id for result in results],
            ],
        )


def _write_in_transaction(results: Sequence[Result], instance: uuid.UUID, using: str) -> None:
    """Write on MariaDB, MySQL and SQLite, with one statement for each result, in plain SQL."""
    connection = connections[using]
    fields: list[Any] = [DjangoJobExecution._meta.get_field(name) for name in COLUMNS]
    whom: Any = DjangoJobExecution._meta.get_field("instance")
    with transaction.atomic(using=using), connection.cursor() as cursor:
        cursor.executemany(
            f"""
            UPDATE jobstore_djangojobexecution
            SET {", ".join(f"{name} = %s" for name in COLUMNS)}
            WHERE id = %s AND instance_id = %s AND status = %s
            """,  # noqa: S608 - built from the names above alone
            [
                [
                    *(
                        field.get_db_prep_save(getattr(result, field.name), connection)
                        for field in fields
                    ),
                    result.execution_id,
                    whom.get_db_prep_save(instance, connection),
                    DjangoJobExecution.RUNNING,
                ]
                for result in results
            ],
        )
