"""The tables: jobs, their runs, the lease, and the processes that compete for it.

Every time is taken from the database's clock, so that the clocks of other machines do not matter.
"""

import datetime as dt
import json
import time
import uuid
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

from django.db import IntegrityError, models, router, transaction
from django.db.models import Case, Exists, F, OuterRef, Q, When, Window
from django.db.models.functions import RowNumber
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from jobstore.batches import batched
from jobstore.database.notifications import notify

# Rows that one statement deletes or cancels.
BATCH_ROWS = 1000
# How the texts begin that say why requested runs are cancelled.
DELETED = "The job was deleted"
REPLACED = "The job was replaced by a new one"
# Characters of the words in which a run tells its progress.
MAX_PROGRESS_TEXT = 200
# Seconds. No history is older, and dates of Python and of every database reach further back.
MAX_AGE_SECONDS = 36_525 * 86_400


class IdField(models.CharField):  # type: ignore[type-arg]
    """A text that equals another only if every character does, on every database.

    MariaDB and MySQL would otherwise take "Report" and "report " for one job.
    """

    def db_parameters(self, connection: Any) -> Any:
        """Return Django's parameters, with a collation that compares characters."""
        parameters = super().db_parameters(connection)
        if connection.vendor == "mysql":
            exact = "utf8mb4_nopad_bin" if connection.mysql_is_mariadb else "utf8mb4_0900_bin"
            parameters["collation"] = exact
        return parameters

    def get_prep_value(self, value: Any) -> Any:
        """Return Django's value as plain text: drivers would store the name of an Enum's member."""
        prepared = super().get_prep_value(value)
        return str.__str__(prepared) if isinstance(prepared, str) else prepared


class JSONTextField(models.TextField):  # type: ignore[type-arg]
    """JSON in a text column, for values that nobody searches.

    A system check of Django's own JSONField asks SQLite whether it knows JSON, so it needs a
    database. `manage.py check` must work without one.
    """

    # The types of its values, for type checkers.
    _pyi_private_set_type: Any
    _pyi_private_get_type: Any

    def from_db_value(self, value: str | None, *_parameters: object) -> Any:
        """Return the value of a stored text."""
        return None if value is None else json.loads(value)

    def to_python(self, value: Any) -> Any:
        """Return a value as it is: only `from_db_value` gets texts."""
        return value

    def get_prep_value(self, value: Any) -> str | None:
        """Return a value as the text that is stored."""
        return None if value is None else json.dumps(value, ensure_ascii=True)


class StaleJob(Exception):
    """A job was changed since it was read, so that saving it would undo that. Read it again."""


class StaleRun(Exception):
    """A run went on since it was read, so that saving it would put it back. Read it again."""


def first_version() -> int:
    """Return a version that no deleted job of the same id has had."""
    return time.time_ns() // 1000


class JobQuerySet(models.QuerySet["DjangoJob"]):
    """Jobs. A claim that is under way notices every change that is made through this queryset.

    Saving an object that was read before a claim must not put back a time that has run. So methods
    that write objects compare versions first.
    """

    def update(self, **changes: Any) -> int:
        """Update as Django does, raise the version that claims compare, and announce it."""
        changes.setdefault("version", F("version") + 1)
        changed = super().update(**changes)
        if changed:
            notify(self.db)
        return changed

    def bulk_update(
        self, objs: Iterable["DjangoJob"], fields: Iterable[str], batch_size: int | None = None
    ) -> int:
        """Update as Django does, and raise the versions of the objects.

        :raises StaleJob: if a job was changed since its object was read. Nothing is written then.
        """
        jobs, names = list(objs), [name for name in fields if name != "version"]
        with transaction.atomic(using=self.db):
            rows = self.model.all_objects.using(self.db).filter(pk__in=[job.pk for job in jobs])
            stored = dict(rows.select_for_update().values_list("pk", "version"))
            if stale := [job.pk for job in jobs if stored.get(job.pk) != job.version]:
                raise StaleJob(_stale(stale))
            updated = super().bulk_update(jobs, names, batch_size)
        for job in jobs:
            job.version += 1
        return updated

    def bulk_create(self, objs: Iterable["DjangoJob"], *args: Any, **options: Any) -> Any:
        """Create as Django does, and announce it.

        :raises ValueError: if existing jobs would be replaced without another version.
        """
        if options.get("update_conflicts") and "version" not in options["update_fields"]:
            raise ValueError(
                'Jobs that are there would change without a claim noticing. Add "version" to '
                "update_fields."
            )
        with transaction.atomic(using=self.db):
            created = super().bulk_create(objs, *args, **options)
            notify(self.db)
        return created

    def retire(self, why: str = "The job was retired") -> int:
        """Retire jobs and cancel their requested runs; return how many jobs were retired.

        The rows stay, so that the history keeps their names.

        :param why: how the text begins that says why runs are cancelled.
        """
        self._for_write = True
        with transaction.atomic(using=self.db):
            now = database_now(self.db)
            retired = self.filter(retired_at=None).update(next_run_time=None, retired_at=now)
            if retired:
                jobs = self.model.all_objects.using(self.db).filter(retired_at=now)
                DjangoJobExecution.objects.db_manager(self.db).cancel_waiting(jobs, why)
        return retired

    def delete(self) -> tuple[int, dict[str, int]]:
        """Delete as Django does, and take back the runs that wait: a new job is not to run them."""
        self._for_write = True
        with transaction.atomic(using=self.db):
            DjangoJobExecution.objects.db_manager(self.db).cancel_waiting(self, DELETED)
            return super().delete()

    delete.alters_data = True  # type: ignore[attr-defined]
    delete.queryset_only = True  # type: ignore[attr-defined]


class LiveJobManager(models.Manager.from_queryset(JobQuerySet)):  # type: ignore[misc]
    """Jobs that are in service: all but the retired ones."""

    def get_queryset(self) -> JobQuerySet:
        """Leave out retired jobs."""
        return super().get_queryset().filter(retired_at=None)  # type: ignore[no-any-return]


class DjangoJob(models.Model):
    """A job: APScheduler's own state, signed, and beside it the columns that people look at.

    `next_run_time` alone says when the job runs next; NULL means paused (or retired). The value
    inside `job_state` is ignored.
    """

    class OnLost(models.TextChoices):
        """What becomes of a run whose process died."""

        RECORD = "record", _("recorded as lost")
        RERUN = "rerun", _("recorded, and run again")

    id = IdField(_("id"), max_length=255, primary_key=True)
    next_run_time = models.DateTimeField(
        null=True, blank=True, help_text=_("Empty while the job is paused.")
    )
    job_state = models.BinaryField()

    name = models.CharField(_("name"), max_length=255, default="")
    func = models.CharField(_("function"), max_length=255, default="")
    arguments = models.TextField(default="", blank=True)
    trigger = models.CharField(_("trigger"), max_length=255, default="")
    executor = models.CharField(_("executor"), max_length=191, default="default")
    coalesce = models.BooleanField(_("coalesce"), default=True)
    max_instances = models.PositiveIntegerField(_("max instances"), default=1)
    misfire_grace_time = models.PositiveBigIntegerField(
        _("misfire grace (s)"), null=True, blank=True
    )
    on_lost = models.CharField(
        _("if a run is lost"), max_length=10, choices=OnLost.choices, default=OnLost.RECORD
    )

    pause_reason = models.CharField(
        max_length=500, default="", db_default="", blank=True, help_text=_("Why the job is paused.")
    )
    # The parts that an operator has changed, with digests of what was declared (storage/edits.py).
    edited = models.CharField(max_length=500, default="", db_default="", editable=False)

    version = models.BigIntegerField(default=first_version, editable=False)
    declaration = models.CharField(
        max_length=64, default="", editable=False, help_text=_("Digest of the declaration in code.")
    )
    declared_in = models.CharField(
        max_length=255,
        default="",
        db_default="",
        editable=False,
        help_text=_("The declaring module."),
    )
    quarantined_at = models.DateTimeField(null=True, blank=True, editable=False)
    quarantine_reason = models.TextField(default="", blank=True, editable=False)
    retired_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = LiveJobManager()
    all_objects: ClassVar[models.Manager["DjangoJob"]] = models.Manager.from_queryset(JobQuerySet)()

    class Meta:
        ordering = ("next_run_time",)
        verbose_name = _("job")
        verbose_name_plural = _("jobs")
        # In the order of a claim, so that it reads only the rows that it takes.
        indexes = (models.Index(fields=["next_run_time", "id"], name="jobstore_due"),)
        # History shows the names of retired jobs too.
        base_manager_name = "all_objects"
        permissions = (
            ("run_djangojob", "Can ask for a run of a job"),
            ("pause_djangojob", "Can pause and resume a job"),
            ("cancel_djangojob", "Can cancel runs of a job"),
            ("retire_djangojob", "Can take a job out of service"),
        )

    def __str__(self) -> str:
        from jobstore.util import get_local_dt_format

        if self.retired_at:
            return gettext("%(job)s (retired)") % {"job": self.id}
        if self.quarantined_at:
            return gettext("%(job)s (quarantined)") % {"job": self.id}
        if self.next_run_time is None:
            return gettext("%(job)s (paused)") % {"job": self.id}
        when = get_local_dt_format(self.next_run_time)
        return gettext("%(job)s (next run at: %(time)s)") % {"job": self.id, "time": when}

    def save(self, *args: Any, **options: Any) -> None:
        """Save as Django does, if nobody has changed the job since it was read, and announce it.

        A new job is inserted, and never replaces an existing one.

        :raises StaleJob: if the job was changed. A claim may have moved it to its next time, and
            saving it would run the same time again.
        """
        using = options.get("using") or router.db_for_write(type(self), instance=self)
        with transaction.atomic(using=using):
            if self._state.adding or options.get("force_insert"):
                # Django would try an update first, whatever the version of the row.
                super().save(*args, **(options | {"using": using, "force_insert": True}))
                notify(using)
                return
            if "version" in self.get_deferred_fields():
                raise StaleJob(f"Job {self.pk!r} was read without its version; read all of it.")
            # This locks the row, raises its version and announces the change.
            rows = type(self).all_objects.using(using)
            if not rows.filter(pk=self.pk, version=self.version).update(version=self.version + 1):
                raise StaleJob(_stale([self.pk]))
            self.version += 1
            try:
                super().save(*args, **(options | {"using": using}))
            except BaseException:
                self.version -= 1
                raise

    def delete(self, *args: Any, **options: Any) -> tuple[int, dict[str, int]]:
        """Delete as Django does, and take back the runs that wait: a new job is not to run them."""
        using = options.get("using") or router.db_for_write(type(self), instance=self)
        jobs = type(self).all_objects.using(using).filter(pk=self.pk)
        with transaction.atomic(using=using):
            DjangoJobExecution.objects.db_manager(using).cancel_waiting(jobs, DELETED)
            return super().delete(*args, **options)

    def pause(self, reason: str = "") -> bool:
        """Stop scheduling the job, as `api.pause` does."""
        from .api import pause

        return pause(self.pk, reason)

    def resume(self) -> bool:
        """Schedule a paused job again, as `api.resume` does."""
        from .api import resume

        return resume(self.pk)

    def request_run(self, requested_by: str) -> "DjangoJobExecution":
        """Ask for one run, as `api.run_now` does."""
        from .api import run_now

        return run_now(self.pk, by=requested_by)


class DjangoJobExecutionManager(models.Manager["DjangoJobExecution"]):
    """The history, and the operations that keep it from growing without bound."""

    def request(
        self,
        job_id: str,
        requested_by: str,
        attempt: int = 1,
        *,
        put_off: float = 0.0,
        arguments: Callable[[dt.datetime], dict[str, Any]] | None = None,
    ) -> "DjangoJobExecution":
        """Write a request for a run, which the active scheduler will start.

        :param put_off: seconds that must pass before it starts.
        :param arguments: returns, for the run's time, the columns of its own signed arguments.
        """
        run_time = database_now(self.db) + dt.timedelta(seconds=put_off)
        while True:
            try:
                with transaction.atomic(using=self.db):
                    notify(self.db)
                    return self.using(self.db).create(
                        job_id=job_id,
                        status=DjangoJobExecution.REQUESTED,
                        run_time=run_time,
                        requested_by=requested_by[:150],
                        attempt=attempt,
                        **(arguments(run_time) if arguments else {}),
                    )
            except IntegrityError:
                # Somebody asked in the same microsecond, and job and time identify a run.
                run_time += dt.timedelta(microseconds=1)

    def request_all(self, job_ids: Iterable[str], requested_by: str) -> dict[str, int]:
        """Write a request for one run of each job; return the runs' ids, by the jobs' ids."""
        job_ids = list(job_ids)
        run_time = database_now(self.db)
        while True:
            rows = [
                DjangoJobExecution(
                    job_id=job_id,
                    status=DjangoJobExecution.REQUESTED,
                    run_time=run_time,
                    requested_by=requested_by[:150],
                )
                for job_id in job_ids
            ]
            try:
                with transaction.atomic(using=self.db):
                    notify(self.db)
                    self.using(self.db).bulk_create(rows)
                    # Not every database returns the ids of rows that are written together.
                    written = self.using(self.db).filter(job__in=job_ids, run_time=run_time)
                    return dict(written.values_list("job_id", "pk"))
            except IntegrityError:
                run_time += dt.timedelta(microseconds=1)  # as above

    def cancel_waiting(self, jobs: models.QuerySet["DjangoJob"], why: str) -> int:
        """Cancel the requested runs of some jobs that have not started; return how many.

        :param why: how the text begins that says why they are cancelled.
        """
        waiting = self.using(self.db).filter(status=DjangoJobExecution.REQUESTED)
        # Read first: MySQL cannot change rows that a subquery on the same table chooses.
        of_jobs = waiting.filter(Exists(jobs.order_by().filter(pk=OuterRef("job"))))
        ids = list(of_jobs.order_by().values_list("pk", flat=True))
        cancelled = 0
        for batch in batched(ids, BATCH_ROWS):
            # Runs that were claimed since then stay as they are.
            cancelled += waiting.filter(pk__in=batch).update(
                status=DjangoJobExecution.CANCELLED,
                finished=database_now(self.db),
                exception=f"{why} before this run started.",
            )
        return cancelled

    def delete_old_job_executions(self, max_age: float, keep_per_job: int | None = None) -> int:
        """Delete finished history, in batches; return the number of rows deleted.

        Runs of jobs in memory are deleted by age, even if their end is not known.

        :param max_age: seconds; runs scheduled longer ago than this are deleted.
        :param keep_per_job: of each job, the number of newest runs to keep, and as many rows of
            times that were missed, skipped or cancelled; None for all.
        :raises ValueError: if one of them is negative or not a number; nothing is deleted then.
        """
        if not 0 <= max_age <= MAX_AGE_SECONDS:
            raise ValueError(
                f"Runs older than {max_age:g} seconds cannot be asked for: "
                f"it must be from 0 to {MAX_AGE_SECONDS} (a hundred years)."
            )
        if keep_per_job is not None and keep_per_job < 0:
            raise ValueError(
                f"{keep_per_job} runs of each job cannot be kept: it must be 0 or more."
            )
        using = router.db_for_write(DjangoJobExecution)
        finished = self.using(using).exclude(status__in=DjangoJobExecution.UNFINISHED)
        cutoff = database_now(using) - dt.timedelta(seconds=max_age)
        # A row that counts several times is as old as the last of them.
        ended = finished.filter(Q(last_run_time=None) | Q(last_run_time__lte=cutoff))
        # A process with jobs in memory has no row, so nobody finds out that it is gone.
        nobodys = self.using(using).filter(status=DjangoJobExecution.RUNNING, instance=None)
        old = ended | nobodys
        deleted = self._delete(old.filter(run_time__lte=cutoff).order_by())
        if keep_per_job is not None:
            # Each kind on its own: skipped or missed times must not push out runs that ran.
            ran = Case(When(status__in=DjangoJobExecution.NOT_RUN, then=0), default=1)
            newest_first = Window(
                RowNumber(), partition_by=[F("job_id"), F("ran")], order_by=F("run_time").desc()
            )
            numbered = finished.annotate(ran=ran, position=newest_first)
            # Numbered once, however many rows are deleted: each job's newest row that goes.
            goes = numbered.order_by().filter(position=keep_per_job + 1)
            for job_id, has_run, run_time in list(goes.values_list("job_id", "ran", "run_time")):
                kind = Q(status__in=DjangoJobExecution.NOT_RUN)
                older = finished.filter(~kind if has_run else kind, job=job_id)
                deleted += self._delete(older.filter(run_time__lte=run_time).order_by())
        return deleted

    def _delete(self, rows: models.QuerySet["DjangoJobExecution"]) -> int:
        deleted = 0
        while ids := list(rows.values_list("pk", flat=True)[:BATCH_ROWS]):
            deleted += self.using(rows.db).filter(pk__in=ids).delete()[0]
        return deleted


class DjangoJobExecution(models.Model):
    """One run of a job at one scheduled time. It outlives its job."""

    RUNNING = "Started execution"
    # django-apscheduler's name for it.
    SENT = RUNNING
    SUCCESS = "Executed"
    MISSED = "Missed!"
    MAX_INSTANCES = "Max instances!"
    ERROR = "Error!"
    LOST = "Lost!"
    REQUESTED = "Requested"
    CANCELLED = "Cancelled"
    UNFINISHED = (REQUESTED, RUNNING)
    NOT_RUN = (MISSED, MAX_INSTANCES, CANCELLED)
    STATUSES = (REQUESTED, RUNNING, SUCCESS, MISSED, MAX_INSTANCES, ERROR, LOST, CANCELLED)
    STATUS_CHOICES = [
        (REQUESTED, _("Requested")),
        (RUNNING, _("Started execution")),
        (SUCCESS, _("Executed")),
        (MISSED, _("Missed!")),
        (MAX_INSTANCES, _("Max instances!")),
        (ERROR, _("Error!")),
        (LOST, _("Lost!")),
        (CANCELLED, _("Cancelled")),
    ]

    job = models.ForeignKey(
        DjangoJob,
        # History must outlive a job however its row disappears, so the database does not
        # enforce the reference. The unique constraint below serves as its index.
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
    )
    status = models.CharField(max_length=50, choices=STATUS_CHOICES)
    run_time = models.DateTimeField(_("scheduled time"), db_index=True)
    claimed_at = models.DateTimeField(null=True, editable=False)
    started_at = models.DateTimeField(_("started"), null=True, editable=False)
    finished = models.DateTimeField(null=True, editable=False)
    duration = models.DecimalField(
        _("duration (s)"), max_digits=15, decimal_places=6, null=True, editable=False
    )
    result = models.TextField(null=True, editable=False)
    exception_type = models.CharField(
        _("exception type"), max_length=255, default="", editable=False
    )
    exception = models.TextField(null=True, editable=False)
    traceback = models.TextField(null=True, editable=False)
    note = models.TextField(
        default="",
        db_default="",
        editable=False,
        help_text=_(
            "What the job left behind, such as an open transaction, and what became of it."
        ),
    )
    # A row may stand for consecutive times that were skipped or missed; it counts them.
    times = models.PositiveIntegerField(default=1, db_default=1, editable=False)
    last_run_time = models.DateTimeField(
        null=True,
        editable=False,
        help_text=_("The last of the scheduled times, if there are more."),
    )
    # As far as it told (history/progress.py). Without a default: SQLite would copy the table.
    progress_done = models.FloatField(null=True, editable=False)
    progress_total = models.FloatField(null=True, editable=False)
    progress_text = models.CharField(max_length=MAX_PROGRESS_TEXT, null=True, editable=False)
    requested_by = models.CharField(max_length=150, default="", editable=False)
    # The run's own arguments, in place of its job's: as text for people, and signed.
    arguments = models.TextField(default="", db_default="", editable=False)
    arguments_state = models.BinaryField(null=True, editable=False)
    attempt = models.PositiveSmallIntegerField(_("attempt"), default=1, editable=False)
    epoch = models.BigIntegerField(_("epoch"), null=True, editable=False)
    instance = models.ForeignKey(
        "SchedulerInstance",
        verbose_name=_("process"),
        null=True,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
    )

    objects = DjangoJobExecutionManager()

    class Meta:
        ordering = ("-run_time",)
        verbose_name = _("run")
        verbose_name_plural = _("runs")
        constraints = (
            # Invariant: a (job, scheduled time) is claimed at most once.
            models.UniqueConstraint(fields=["job", "run_time"], name="jobstore_one_run_per_time"),
        )
        indexes = (models.Index(fields=["status", "job"], name="jobstore_run_status"),)

    def __str__(self) -> str:
        text = gettext("%(run)s: job '%(job)s' (%(status)s)")
        return text % {"run": self.pk, "job": self.job_id, "status": self.get_status_display()}

    def save(self, *args: Any, **options: Any) -> None:
        """Save as Django does, unless that would put the run back to what it was before.

        A run that is put back to "Requested" would run twice, and one that is put back to "Started
        execution" would never end.

        :raises StaleRun: if the run has begun, ended or been deleted since it was read.
        """
        fields = options.get("update_fields")
        writes_status = (
            "status" not in self.get_deferred_fields() if fields is None else ("status" in fields)
        )
        is_new = self._state.adding or options.get("force_insert")
        if is_new or not writes_status or self.status not in self.UNFINISHED:
            super().save(*args, **options)
            return
        using = options.get("using") or router.db_for_write(type(self), instance=self)
        with transaction.atomic(using=using):
            row = DjangoJobExecution.objects.using(using).filter(pk=self.pk).select_for_update()
            stored = row.values_list("status", flat=True).first()
            if stored not in self.UNFINISHED[: self.UNFINISHED.index(self.status) + 1]:
                now = "is gone" if stored is None else f"is {stored!r} by now"
                raise StaleRun(
                    f"Run {self.pk} {now}, so it cannot be saved as {self.status!r}. Read it "
                    "again, or name the columns to save: update_fields=[...]."
                )
            super().save(*args, **(options | {"using": using}))

    def cancel(self, cancelled_by: str) -> bool:
        """Cancel a requested run; return whether no scheduler had started it.

        :param cancelled_by: who or what cancels it, for the history.
        """
        using = router.db_for_write(DjangoJobExecution)
        requests = DjangoJobExecution.objects.using(using).filter(pk=self.pk, status=self.REQUESTED)
        text = f"Cancelled by {cancelled_by[:150]} before it started."
        changed = requests.update(
            status=self.CANCELLED, finished=database_now(using), exception=text
        )
        return bool(changed)

    @property
    def start_delay(self) -> dt.timedelta | None:
        """How long after its scheduled time the run started; None before it has."""
        return None if self.started_at is None else self.started_at - self.run_time

    @property
    def progress_share(self) -> float | None:
        """How much of the total is done, from 0 to 1; None if the run told no total."""
        if self.progress_done is None or not self.progress_total:
            return None
        return min(1.0, self.progress_done / self.progress_total)


class AuditEntry(models.Model):
    """What somebody did to a job or a run, written in the transaction that does it.

    It outlives the job, the run and the user, so it names them without references.
    """

    class Through(models.TextChoices):
        """Where an operation was called."""

        ADMIN = "admin", pgettext_lazy("way of an operation", "admin")
        COMMAND = "command", pgettext_lazy("way of an operation", "command")
        CODE = "code", pgettext_lazy("way of an operation", "code")

    at = models.DateTimeField(db_index=True)
    job_id = IdField(_("job"), max_length=255)
    run_id = models.BigIntegerField(_("run"), null=True)
    verb = models.CharField(max_length=20)
    who = models.CharField(max_length=150, default="")
    user_id = models.CharField(_("user's key"), max_length=64, null=True)
    through = models.CharField(max_length=10, choices=Through.choices, default=Through.CODE)
    # Only the parts that differ; arguments with secret names are masked.
    before = JSONTextField(default=dict)
    after = JSONTextField(default=dict)

    class Meta:
        ordering = ("-at", "-id")
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit entries")
        indexes = (models.Index(fields=["job_id", "at"], name="jobstore_audit_job"),)

    def __str__(self) -> str:
        return f"{self.who}: {self.verb} {self.job_id}"


class SchedulerLease(models.Model):
    """Who may claim runs: one row, one holder at a time, an epoch that only grows."""

    DEFAULT = "default"

    name = models.CharField(max_length=50, primary_key=True, default=DEFAULT)
    epoch = models.BigIntegerField(default=0)
    holder = models.UUIDField(null=True)
    acquired_at = models.DateTimeField(null=True)
    renewed_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(null=True)
    # Whether the holder has the session lock: a process that gets the lock may then take over.
    session_lock = models.BooleanField(default=False)

    class Meta:
        verbose_name = _("lease")

    def __str__(self) -> str:
        return gettext("%(name)s, epoch %(epoch)s") % {"name": self.name, "epoch": self.epoch}


class SchedulerInstance(models.Model):
    """A scheduler process: where it runs, what it is, and when it last gave a sign of life."""

    class Role(models.TextChoices):
        """What a scheduler process is doing."""

        STARTING = "starting", _("starting")
        ACTIVE = "active", _("active")
        STANDBY = "standby", _("standby")
        SURPLUS = "surplus", _("surplus")
        DRAINING = "draining", _("draining")
        UNFIT = "unfit", _("unfit")
        STOPPED = "stopped", _("stopped")
        LOST = "lost", _("lost")

    GONE = (Role.STOPPED, Role.LOST)

    id = models.UUIDField(_("id"), primary_key=True, default=uuid.uuid4)
    host = models.CharField(max_length=255)
    pid = models.PositiveIntegerField()
    version = models.CharField(max_length=50, default="")
    role = models.CharField(_("role"), max_length=10, choices=Role.choices, default=Role.STARTING)
    epoch = models.BigIntegerField(_("epoch"), null=True)
    started_at = models.DateTimeField()
    heartbeat_at = models.DateTimeField(_("last sign of life"))
    stopped_at = models.DateTimeField(null=True)
    problem = models.TextField(
        default="",
        db_default="",
        help_text=_("Why this process cannot run jobs, although nothing else keeps it."),
    )
    saturated = models.TextField(
        default="",
        db_default="",
        editable=False,
        help_text=_("Executors whose workers are all busy while jobs wait for them, as JSON."),
    )

    class Meta:
        ordering = ("-started_at",)
        verbose_name = _("scheduler")
        verbose_name_plural = _("schedulers")

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"


class DeclarationProblem(models.Model):
    """What is wrong with one declaration, or with one file of jobs; gone once it is right."""

    # The job's id, or the name of the module that cannot be imported.
    subject = IdField(max_length=255, primary_key=True)
    place = models.CharField(max_length=500, default="", help_text=_("File and line."))
    text = models.TextField()
    is_fatal = models.BooleanField(
        default=True, help_text=_("Whether the declaration is left out, or only questionable.")
    )
    noticed_at = models.DateTimeField()

    class Meta:
        ordering = ("subject",)
        verbose_name = _("problem of a declaration")
        verbose_name_plural = _("problems of declarations")

    def __str__(self) -> str:
        return f"{self.place}: {self.text}" if self.place else self.text


def renew_version(sender: type[models.Model], instance: Any, raw: bool, **_more: Any) -> None:
    """Give a job that a fixture brings a version that no claim under way has read.

    Fixtures are saved without `DjangoJob.save`.
    """
    if raw:
        instance.version = first_version()


def announce(sender: type[models.Model], using: str, raw: bool, **_more: Any) -> None:
    """Wake the scheduler for a job that a fixture has brought."""
    if raw:
        notify(using)


def _stale(job_ids: list[str]) -> str:
    names = ", ".join(map(repr, job_ids[:5])) + (", …" if len(job_ids) > 5 else "")
    return (
        f"Job {names} was changed or deleted since it was read; saving it would undo that. Read it "
        "again, or change it by an update of a queryset."
    )


def database_now(using: str) -> dt.datetime:
    """Return the time of the database's clock, aware, in UTC (without USE_TZ: naive, in TIME_ZONE).

    SQLite has no clock of its own; its host's is used.
    """
    from django.db import connections

    from jobstore.util import get_django_internal_datetime

    connection = connections[using]
    now = dt.datetime.now(dt.UTC)
    statement = {
        "postgresql": "SELECT clock_timestamp() AT TIME ZONE 'UTC'",
        "mysql": "SELECT UTC_TIMESTAMP(6)",
    }.get(connection.vendor)
    if statement:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            now = cursor.fetchone()[0]
    if now.tzinfo is None:
        now = now.replace(tzinfo=dt.UTC)
    return get_django_internal_datetime(now.astimezone(dt.UTC))
