"""Operations on many runs of the history: a batch is one transaction and a handful of statements.

A run for which the operation is impossible does not stop the others: it is counted with the reason.
"""

import collections
import dataclasses
import datetime as dt
from collections.abc import Iterable
from typing import Any

from django.db import IntegrityError, router, transaction

from jobstore.api import access, audit, inputs
from jobstore.api.errors import NotAllowed
from jobstore.database.notifications import notify
from jobstore.models import DjangoJob, DjangoJobExecution, database_now
from jobstore.storage import run_arguments, serializer

Run = DjangoJobExecution

# Runs that one transaction changes, so that it holds its locks only for milliseconds.
BATCH_RUNS = 100

# Why a run was left alone.
UNFINISHED = "have not ended yet"
ENDED = "have begun or ended already"
GONE = "are not in the history any more"
RETIRED = "belong to jobs that are not in service"
QUARANTINED = "belong to jobs in quarantine"
UNREADABLE = "have arguments that cannot be read"
FORBIDDEN = "belong to jobs that you may not do this with"


@dataclasses.dataclass
class Outcome:
    """What became of several runs: those that were changed, by id, and why others were not.

    The values are the ids of the new runs (`run_all_again`), or of the same runs (`cancel_all`).
    """

    done: dict[int, int] = dataclasses.field(default_factory=dict)
    left: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    def add(self, other: "Outcome") -> None:
        """Count another batch as well."""
        self.done |= other.done
        self.left += other.left


def run_all_again(run_ids: Iterable[int], *, by: access.By = None) -> Outcome:
    """Request another run of each of several runs that have ended, with the arguments they had.

    :param run_ids: at most some hundreds, since this is one transaction.
    :param by: who asks: a user, whose rights are checked for each job, or a text.
    :raises InvalidOption: if they are no list.
    :raises NoSuchRun: for what can be no number of a run.
    """
    ids = list(dict.fromkeys(map(inputs.run_key, inputs.several(run_ids))))
    using = router.db_for_write(Run)
    with transaction.atomic(using=using):
        found = Run.objects.using(using).filter(pk__in=ids)
        formers = list(found.defer("result", "exception", "traceback", "note").order_by("pk"))
        outcome = Outcome(left=collections.Counter({GONE: len(ids) - len(formers)}))
        refused = _refused(formers, "run", by, using)
        wanted: list[tuple[Run, run_arguments.Columns | None]] = []
        for former in formers:
            try:
                why = UNFINISHED if former.status in Run.UNFINISHED else refused[former.job_id]
                signer = None if why else run_arguments.signer_again(former)
            except serializer.UnreadableState:
                why = UNREADABLE
            if why:
                outcome.left[why] += 1
            else:
                wanted.append((former, signer))
        again = _request(wanted, access.name_of(by), using)
        entries = []
        for former, _ in wanted:
            run = again[former.pk]
            outcome.done[former.pk] = run.pk
            after = audit.of_run(run) | {"again": former.pk}
            entries.append((former.job_id, run.pk, None, after))
        audit.record_each("run", entries, by, using=using)
    outcome.left += collections.Counter()  # without zeros
    return outcome


def cancel_all(run_ids: Iterable[int], *, by: access.By = None) -> Outcome:
    """Cancel those of several runs that are requested and have not started.

    :param run_ids: at most some hundreds, since this is one transaction.
    :param by: who asks: a user, whose rights are checked for each job, or a text.
    :raises InvalidOption: if they are no list.
    :raises NoSuchRun: for what can be no number of a run.
    """
    ids = list(dict.fromkeys(map(inputs.run_key, inputs.several(run_ids))))
    using = router.db_for_write(Run)
    with transaction.atomic(using=using):
        rows = Run.objects.using(using).filter(pk__in=ids, status=Run.REQUESTED)
        # Locked, so that either a claim finds them cancelled, or this finds them claimed.
        waiting = list(rows.order_by("pk").select_for_update().only("pk", "job_id", "status"))
        outcome = Outcome(left=collections.Counter({ENDED: len(ids) - len(waiting)}))
        refused = _refused(waiting, "cancel", by, using, needs_service=False)
        done = [run for run in waiting if not refused[run.job_id]]
        outcome.left[FORBIDDEN] += len(waiting) - len(done)
        text = f"Cancelled by {access.name_of(by)} before it started."
        rows.filter(pk__in=[run.pk for run in done]).update(
            status=Run.CANCELLED, finished=database_now(using), exception=text
        )
        before, after = {"status": Run.REQUESTED}, {"status": Run.CANCELLED}
        entries = [(run.job_id, run.pk, before, after) for run in done]
        audit.record_each("cancel", entries, by, using=using)
        outcome.done = {run.pk: run.pk for run in done}
    outcome.left += collections.Counter()
    return outcome


def _refused(
    runs: list[Run], verb: str, by: access.By, using: str, *, needs_service: bool = True
) -> dict[str, str]:
    """Return, for the job of each run, why nothing can be done; an empty text if it can."""
    ids = {run.job_id for run in runs}
    rows = DjangoJob.all_objects.using(using).defer("job_state").in_bulk(ids)
    return {job_id: _why(rows.get(job_id), verb, by, needs_service) for job_id in ids}


def _why(job: DjangoJob | None, verb: str, by: access.By, needs_service: bool) -> str:
    if needs_service and (job is None or job.retired_at is not None):
        return RETIRED
    try:
        access.check(by, verb, job)
    except NotAllowed:
        return FORBIDDEN
    return QUARANTINED if needs_service and job and job.quarantined_at is not None else ""


def _request(
    wanted: list[tuple[Run, run_arguments.Columns | None]], name: str, using: str
) -> dict[int, Run]:
    """Write the requests; return them by the ids of the former runs."""
    if not wanted:
        return {}
    moment = database_now(using)
    while True:
        again, last = _rows(wanted, name, moment)
        try:
            with transaction.atomic(using=using):
                notify(using)
                Run.objects.using(using).bulk_create(again.values())
                # Not every database returns the ids of rows that are written together.
                written = Run.objects.using(using).filter(
                    job__in={run.job_id for run in again.values()},
                    run_time__gte=moment,
                    run_time__lte=last,
                )
                ids = {(job, when): key for job, when, key in _keys(written)}
        except IntegrityError:
            # Somebody asked in the same microsecond, and job and time identify a run.
            moment = last + dt.timedelta(microseconds=1)
            continue
        for run in again.values():
            run.pk = ids[run.job_id, run.run_time]
        return again


def _keys(runs: Any) -> Any:
    return runs.values_list("job_id", "run_time", "pk")


def _rows(
    wanted: list[tuple[Run, run_arguments.Columns | None]], name: str, moment: dt.datetime
) -> tuple[dict[int, Run], dt.datetime]:
    number: collections.Counter[str] = collections.Counter()
    rows, last = {}, moment
    for former, signer in wanted:
        # A microsecond apart, in the order of the former runs.
        when = moment + dt.timedelta(microseconds=number[former.job_id])
        number[former.job_id] += 1
        last = max(last, when)
        rows[former.pk] = Run(
            job_id=former.job_id,
            status=Run.REQUESTED,
            run_time=when,
            requested_by=name[:150],
            **(signer(when) if signer else {}),
        )
    return rows, last
