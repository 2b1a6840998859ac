"""Publishes queued runs: at once after their claim, and again if no worker has taken them.

The rows are the outbox. What waits in memory is only a shortcut: if an engine is away, the process
dies or another one takes over, the rows tell what is still to be published.
"""

import collections
import contextlib
import datetime as dt
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from django.db.models import Case, Count, F, Min, Q, Value, When

from jobstore.database.backoff import Backoff
from jobstore.database.timeouts import set_session_timeouts
from jobstore.executors import endings
from jobstore.executors.elsewhere import ElsewhereExecutor, Message, Refused
from jobstore.leadership.elector import Elector
from jobstore.models import DjangoJobExecution
from jobstore.repeated import RepeatedFailure
from jobstore.texts import described
from jobstore.util import as_aware, get_django_internal_datetime, release_connections

logger = logging.getLogger("jobstore.scheduler")

# Seconds between two looks for runs that are still to be published.
LOOK_SECONDS = 5.0
# Seconds between two looks for runs that must be ended.
END_SECONDS = 1.5
# Seconds after the claim from which a run that is not marked as published is published again.
UNMARKED_SECONDS = 5.0
# Seconds after which a run that no worker has taken is published again: the engine may have
# forgotten it. Twice as long each time, up to the second number, for workers may only be busy.
UNTAKEN_SECONDS, LONGEST_UNTAKEN_SECONDS = 60.0, 3_840.0
# Runs that one look reads, and that are marked as published together.
BATCH_RUNS = 500

Run = DjangoJobExecution


class Publisher:
    """Sends messages on a thread of its own, which ends with the process."""

    def __init__(self, elector: Elector, executors: Callable[[], Mapping[str, Any]]) -> None:
        """Prepare.

        :param executors: returns the scheduler's executors by their aliases.
        """
        self._elector = elector
        self._all_executors = executors
        self._waiting: collections.deque[Message] = collections.deque()
        self._something = threading.Event()
        self._lock = threading.Lock()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._next_look = self._next_ending = 0.0
        # By alias: when to try again, and what was told.
        self._pauses: dict[str, Backoff] = {}
        self._failing: dict[str, RepeatedFailure] = {}
        # Those that were away: what waits in the rows is sent first, in the order of its times.
        self._draining: set[str] = set()
        # By job: what was told of its own runs.
        self._refusing: dict[str, RepeatedFailure] = {}
        self._looking = RepeatedFailure(
            logger, "Queued runs are not looked for", "Queued runs are looked for again"
        )
        # Since when the oldest claimed run has been waiting to be published; None if none has.
        self.waiting_since: dt.datetime | None = None

    @property
    def executors(self) -> dict[str, ElsewhereExecutor]:
        """The executors whose workers are elsewhere, by alias."""
        return {
            alias: one
            for alias, one in self._all_executors().items()
            if isinstance(one, ElsewhereExecutor)
        }

    @property
    def late_seconds(self) -> float:
        """For how long the oldest run has been waiting to be published."""
        since = self.waiting_since
        return max(0.0, (self._elector.now() - since).total_seconds()) if since else 0.0

    def put(self, messages: Iterable[Message]) -> None:
        """Take messages of runs that were claimed; returns at once."""
        new = list(messages)
        if not new:
            return  # a scheduler without such jobs has no thread for them
        with self._lock:
            self._waiting.extend(new)
            self._something.set()
            self._start_if_needed()

    def watch(self) -> None:
        """Look for runs that others left unpublished, if there are executors for them."""
        if self._thread is None and self.executors:
            with self._lock:
                self._start_if_needed()

    def _start_if_needed(self) -> None:
        if not self._stopping and (self._thread is None or not self._thread.is_alive()):
            thread = threading.Thread(target=self._work, name="jobstore-publisher", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # no thread could be started; the next claim tries again
                logger.error("Queued runs wait: %s.", error)
            else:
                self._thread = thread

    def stop(self, timeout: float) -> None:
        """Publish what is in memory, and end; what is left, the next holder publishes."""
        deadline = time.monotonic() + timeout
        while self._waiting and time.monotonic() < deadline and self._is_alive:
            time.sleep(0.01)
        with self._lock:
            self._stopping = True
            self._something.set()
        if self._thread is not None:
            self._thread.join(max(deadline - time.monotonic(), 0.5))

    @property
    def _is_alive(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _work(self) -> None:
        try:
            while not self._stopping:
                first = min(self._next_look, self._next_ending)
                self._something.wait(max(first - time.monotonic(), 0.0))
                self._something.clear()
                try:
                    self._turn()
                    self._looking.over()
                except Exception as error:
                    self._looking.happened(described(error))
                    self._next_look = self._next_ending = time.monotonic() + LOOK_SECONDS
                    with contextlib.suppress(Exception):
                        release_connections()
        finally:
            release_connections()

    def _turn(self) -> None:
        while batch := self._next_batch():
            self._publish(one for one in batch if one.executor not in self._draining)
        is_due = time.monotonic() >= self._next_ending
        if is_due:  # whoever does not hold the lease waits as long for the next turn
            self._next_ending = time.monotonic() + END_SECONDS
        if is_due and self._elector.term is not None:
            set_session_timeouts(self._elector.using)
            endings.end_what_must(self.executors, self._elector.using)
        if time.monotonic() < self._next_look:
            return
        is_full = self._elector.term is not None and self._look()
        pauses = [self._pause_of(alias).seconds for alias in self._draining]
        wait = 0.0 if is_full else min([LOOK_SECONDS, *pauses])
        self._next_look = time.monotonic() + wait

    def _next_batch(self) -> list[Message]:
        with self._lock:
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), BATCH_RUNS))]

    # --- To the engines -------------------------------------------------------------------------

    def _publish(self, messages: Iterable[Message]) -> int:
        """Publish what can be published now, and mark it; return how many runs that were."""
        executors, sent = self.executors, []
        for message in messages:
            executor = executors.get(message.executor)
            if executor is None or self._pause_of(message.executor).lasts:
                continue  # its row tells that it is still to be published
            try:
                executor.publish(message)
            except Refused as error:
                self._refused(message, error)
            except Exception as error:
                self._failed(message.executor, executor, error)
            else:
                sent.append(message.run_id)
                if self._refusing and message.job_id in self._refusing:
                    self._refusing.pop(message.job_id).over()
                if self._pause_of(message.executor).seconds:
                    self._pause_of(message.executor).over()
                    self._failure_of(message.executor).over()
        if sent:
            self._mark(sent)
        return len(sent)

    def _failed(self, alias: str, executor: ElsewhereExecutor, error: Exception) -> None:
        self._failure_of(alias).happened(described(error))
        self._pause_of(alias).longer()
        self._draining.add(alias)
        with contextlib.suppress(Exception):
            executor.close()
        self._next_look = min(self._next_look, time.monotonic() + self._pause_of(alias).seconds)

    def _refused(self, message: Message, error: Refused) -> None:
        """Say so of one job, again after a while; the executor goes on with those of others."""
        what = f"Queued runs of job {message.job_id!r} wait, its executor refuses them"
        over = f"The executor takes runs of job {message.job_id!r} again"
        failure = RepeatedFailure(logger, what, over)
        self._refusing.setdefault(message.job_id, failure).happened(described(error))

    def _pause_of(self, alias: str) -> Backoff:
        return self._pauses.setdefault(alias, Backoff())

    def _failure_of(self, alias: str) -> RepeatedFailure:
        what = f"Queued runs wait, the executor {alias!r} does not take them"
        over = f"The executor {alias!r} takes runs again"
        return self._failing.setdefault(alias, RepeatedFailure(logger, what, over))

    # --- In the database ------------------------------------------------------------------------

    def _mark(self, run_ids: list[int]) -> None:
        """Note that runs were published. If that fails, they are published once more."""
        using = self._elector.using
        set_session_timeouts(using)
        Run.objects.using(using).filter(pk__in=run_ids, status=Run.QUEUED).update(
            published_at=get_django_internal_datetime(self._elector.now()),
            publications=Case(
                When(publications=None, then=Value(1)), default=F("publications") + 1
            ),
        )

    def _look(self) -> bool:
        """Publish what the rows tell is due for it; return whether there is more."""
        using = self._elector.using
        set_session_timeouts(using)
        aliases = [alias for alias in self.executors if not self._pause_of(alias).lasts]
        now = self._elector.now()
        queued = Run.objects.using(using).filter(status=Run.QUEUED)
        # Their jobs run in this process by now. Nothing would ever take them.
        here = queued.filter(job__executor__in=self._all_executors().keys() - self.executors.keys())
        if ids := list(here.order_by().values_list("pk", flat=True)[:BATCH_RUNS]):
            queued.filter(pk__in=ids).update(status=Run.REQUESTED, claimed_at=None)
            logger.info(
                "%d queued runs start here: their jobs have another executor now.", len(ids)
            )
        unmarked = queued.filter(published_at=None).aggregate(
            since=Min("claimed_at"), number=Count("pk")
        )
        since = unmarked["since"]
        self.waiting_since = as_aware(since).astimezone(dt.UTC) if since else None
        draining = self._draining.intersection(aliases)
        waits = Q(published_at=None, job__executor__in=draining)
        rows = (
            queued.filter(_is_due(now) | waits, job__executor__in=aliases)
            .order_by("run_time", "pk")
            .values_list("pk", "attempt", "job_id", "job__executor", "job__timeout", "job__queue")
        )
        messages = [Message(*row) for row in rows[:BATCH_RUNS]]
        sent = self._publish(messages)
        if sent:
            logger.info("%d queued runs were published once more.", sent)
        is_full = len(messages) == BATCH_RUNS
        if not is_full:
            self._draining -= {alias for alias in draining if not self._pause_of(alias).lasts}
        return is_full or bool(sent and draining)


def _is_due(now: dt.datetime) -> Q:
    """Return which queued runs are to be published, again or for the first time."""

    def before(seconds: float) -> Any:
        return get_django_internal_datetime(now - dt.timedelta(seconds=seconds))

    due = Q(published_at=None, claimed_at__lt=before(UNMARKED_SECONDS))
    seconds, times = UNTAKEN_SECONDS, 1
    while seconds < LONGEST_UNTAKEN_SECONDS:
        due |= Q(publications=times, published_at__lt=before(seconds))
        seconds, times = 2 * seconds, times + 1
    return due | Q(publications__gte=times, published_at__lt=before(seconds))
