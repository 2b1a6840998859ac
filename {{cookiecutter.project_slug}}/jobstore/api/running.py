"""Operations that request and cancel runs, and that pause, resume and retire jobs."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from django.db import router, transaction
from django.utils.translation import gettext_noop as _

from jobstore.api import access, audit, building, inputs
from jobstore.api.errors import (
    CannotCancel,
    InvalidArguments,
    InvalidSchedule,
    NoSuchJob,
    NoSuchRun,
    NotEnded,
    Quarantined,
    Unreadable,
)
from jobstore.api.reading import restore
from jobstore.api.transaction import changing
from jobstore.models import DjangoJob, DjangoJobExecution
from jobstore.schedules.next_times import first_run_time
from jobstore.sentences import changed, said, told
from jobstore.storage import quarantine, run_arguments, serializer
from jobstore.texts import described, flattened
from jobstore.util import get_django_internal_datetime

Run = DjangoJobExecution


@contextlib.contextmanager
def _runnable(job_ids: list[str], by: access.By) -> Iterator[tuple[str, dict[str, DjangoJob]]]:
    """Begin a transaction in which runs of jobs may be requested; yield the jobs, by their ids."""
    using = router.db_for_write(Run)
    job_ids = list(dict.fromkeys(map(inputs.job_key, job_ids)))
    with transaction.atomic(using=using):
        rows = DjangoJob.objects.using(using).in_bulk(job_ids)
        for job_id in job_ids:
            row = rows.get(job_id)
            if row is None:
                text = _("Job %(job)r is retired, or there is none; it does not run.")
                raise NoSuchJob(said(text, job=job_id))
            access.check(by, "run", row)
            if row.quarantined_at is not None:
                text = _(
                    "Job %(job)r is in quarantine and does not run: %(reason)s Repair it, and "
                    "resume it."
                )
                reason = flattened(row.quarantine_reason)
                raise Quarantined(said(text, job=job_id, reason=reason))
        yield using, rows


def _run(run: DjangoJobExecution | int, using: str) -> DjangoJobExecution:
    key = inputs.run_key(run)
    found = Run.objects.using(using).filter(pk=key).first()
    if found is None:
        raise NoSuchRun(said(_("There is no run %(run)s in the history."), run=key))
    return found


def pause(job_id: str, reason: str = "", *, by: access.By = None) -> bool:
    """Stop scheduling a job until `resume`; return whether that changed anything.

    Running runs continue, and `run_now` still runs the job.

    :param reason: why, shown wherever the job is.
    :raises InvalidOption: if the reason is not text.
    :raises NoSuchJob: if there is none in service.
    :raises NotAllowed: if the user who asks may not.
    """
    reason = inputs.reason_of(reason)
    with changing(job_id, "pause", "pause", by) as change:
        is_paused = change.row.next_run_time is None
        if not is_paused or (reason and reason != change.row.pause_reason):
            change.write(next_run_time=None, pause_reason=reason)
    return change.is_done


def resume(job_id: str, *, by: access.By = None) -> bool:
    """Schedule a paused job again from now on; return whether that changed anything.

    For a quarantined job this ends the quarantine, if the job can be restored now.

    :raises NoSuchJob: if there is none in service.
    :raises Unreadable: if it cannot be restored.
    :raises InvalidSchedule: if its schedule has no more times, or raises.
    :raises NotAllowed: if the user who asks may not.
    """
    with changing(job_id, "resume", "pause", by) as change:
        row = change.row
        if row.next_run_time is None:
            job = restore(row)
            now = building.now(change.using)
            try:
                next_run_time = first_run_time(job.trigger, now)
            except Exception as error:  # the trigger may be code of the project
                text = _("The trigger of job %(job)r raised %(error)s.")
                raised = said(text, job=job_id, error=described(error))
                raise InvalidSchedule(raised) from error
            if next_run_time is None:
                text = _("The trigger of job %(job)r has no run time left.")
                raise InvalidSchedule(said(text, job=job_id))
            stored = get_django_internal_datetime(next_run_time)
            change.write(next_run_time=stored, pause_reason="")
        if row.quarantined_at is not None:
            try:
                change.is_done |= quarantine.release(row)
            except serializer.UnreadableState as error:
                text = _("Job %(job)r cannot be restored: %(error)s")
                raise Unreadable(said(text, job=job_id, error=told(error))) from error
            except ValueError as error:
                text = _("Job %(job)r stays in quarantine: %(error)s.")
                raise InvalidSchedule(said(text, job=job_id, error=told(error))) from error
    return change.is_done


def retire(job_id: str, *, by: access.By = None) -> bool:
    """Take a job out of service; return whether it was in service. Its history stays.

    Requested runs that have not started are cancelled.

    :raises NoSuchJob: if there is none.
    :raises NotAllowed: if the user who asks may not.
    """
    with changing(job_id, "retire", "retire", by) as change:
        jobs = DjangoJob.objects.using(change.using).filter(pk=change.row.pk)
        why = f"The job was retired by {access.name_of(by)}"
        change.is_done = bool(jobs.retire(why if by else "The job was retired"))
    return change.is_done


def run_now(
    job_id: str,
    *,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    by: access.By = None,
) -> DjangoJobExecution:
    """Request one run from the active scheduler, now; return its row.

    :param args: used in place of the job's own for this run only, like `kwargs`. If only one of
        them is given, the job's own value of the other is used.
    :param by: who asks, shown in the history: a user, whose rights are checked, or a text.
    :raises NoSuchJob: if there is none in service.
    :raises Quarantined: if it is in quarantine.
    :raises InvalidArguments: if its function does not take the arguments.
    :raises NotAllowed: if the user who asks may not.
    """
    with _runnable([job_id], by) as (using, rows):
        signer, (row,) = None, rows.values()
        if args is not None or kwargs is not None:
            job = restore(row)
            args = job.args if args is None else args
            kwargs = job.kwargs if kwargs is None else kwargs
            building.check_call(job.func, args, kwargs)
            try:
                signer = run_arguments.signer(job, args, kwargs)
            except ValueError as error:
                raise InvalidArguments(changed(told(error), "{}.".format)) from error
        run = Run.objects.db_manager(using).request(row.pk, access.name_of(by), arguments=signer)
        audit.record("run", row.pk, by, using=using, after=audit.of_run(run), run_id=run.pk)
    return run


def run_all_now(job_ids: Iterable[str], *, by: access.By = None) -> dict[str, int]:
    """Request one run of each of several jobs, all or none; return the runs' ids, by the jobs' ids.

    It takes a few statements for any number of jobs.

    :raises InvalidOption: if they are no list.
    :raises NoSuchJob: if one of them is not in service.
    :raises Quarantined: if one of them is in quarantine.
    :raises NotAllowed: if the user who asks may not run one of them.
    """
    with _runnable(inputs.several(job_ids), by) as (using, rows):
        if not rows:
            return {}
        runs = Run.objects.db_manager(using).request_all(rows, access.name_of(by))
        after = {"status": Run.REQUESTED}
        entries = {job_id: (run_id, None, after) for job_id, run_id in runs.items()}
        audit.record_all("run", entries, by, using=using)
    return runs


def run_again(run: DjangoJobExecution | int, *, by: access.By = None) -> DjangoJobExecution:
    """Request another run of the same job, with the arguments that a run had; return its row.

    :param run: a run of the history, or its id. If it had the job's arguments, so has the new one.
    :raises NoSuchRun: if there is no such run.
    :raises NotEnded: if it has not ended yet.
    :raises NoSuchJob: if its job is not in service.
    :raises Quarantined: if its job is in quarantine.
    :raises Unreadable: if its arguments were not signed for it.
    :raises NotAllowed: if the user who asks may not.
    """
    using = router.db_for_write(Run)
    former = _run(run, using)
    with _runnable([former.job_id], by) as (using, _rows):
        if former.status in Run.UNFINISHED:
            text = _("Run %(run)s of job %(job)r has not ended yet.")
            raise NotEnded(said(text, run=former.pk, job=former.job_id))
        try:
            signer = run_arguments.signer_again(former)
        except serializer.UnreadableState as error:
            text = _("Run %(run)s cannot be repeated: %(error)s")
            raise Unreadable(said(text, run=former.pk, error=told(error))) from error
        again = Run.objects.db_manager(using).request(
            former.job_id, access.name_of(by), arguments=signer
        )
        after = audit.of_run(again) | {"again": former.pk}
        audit.record("run", former.job_id, by, using=using, after=after, run_id=again.pk)
    return again


def cancel(run: DjangoJobExecution | int, *, by: access.By = None) -> DjangoJobExecution:
    """Cancel a requested run that has not started; return its row.

    :param run: a run of the history, or its id.
    :raises NoSuchRun: if there is no such run.
    :raises CannotCancel: if it has started: a thread cannot be interrupted.
    :raises NotAllowed: if the user who asks may not.
    """
    using = router.db_for_write(Run)
    with transaction.atomic(using=using):
        found = _run(run, using)
        job = DjangoJob.all_objects.using(using).filter(pk=found.job_id).first()
        access.check(by, "cancel", job)
        if not found.cancel(access.name_of(by)):
            found.refresh_from_db(using=using)
            if found.status == Run.RUNNING:
                text = _("Run %(run)s of job %(job)r is running; a thread cannot be interrupted.")
                raise CannotCancel(said(text, run=found.pk, job=found.job_id))
            text = _("Run %(run)s of job %(job)r has ended: %(status)s")
            status = said(found.status)
            raise CannotCancel(said(text, run=found.pk, job=found.job_id, status=status))
        before = audit.of_run(found)
        found.refresh_from_db(using=using)
        after = audit.of_run(found)
        audit.record(
            "cancel", found.job_id, by, using=using, before=before, after=after, run_id=found.pk
        )
    return found
