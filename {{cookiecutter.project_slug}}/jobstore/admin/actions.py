"""What may be done with jobs, each with a permission and an audit entry of its own."""

import time
from collections.abc import Callable, Iterable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin import helpers
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.options import get_content_type_for_model
from django.db import connections, router, transaction
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.response import TemplateResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from jobstore import api, conf
from jobstore.admin.base import Active, ReadOnlyAdmin, look_for_active
from jobstore.admin.display import link, page_of, seconds
from jobstore.models import DjangoJob, DjangoJobExecution

Run = DjangoJobExecution

# Jobs that can be run or retired together; more are hardly meant.
MAX_SELECTED_JOBS = 100
# Runs that were asked for at once of which each gets a message of its own. Of more, those that are
# well are counted, so that the others show.
MAX_MESSAGES = 10
WELL = {
    Run.SUCCESS: (messages.SUCCESS, "ran"),
    Run.RUNNING: (messages.INFO, "are running; their outcomes will appear in the history"),
    Run.REQUESTED: (messages.WARNING, "wait for {whom}; they run in their turn"),
}
# Seconds between two looks at a run that was asked for.
POLL_SECONDS = 0.1

NOBODY = (
    "No scheduler is active, so nothing runs. Start one with `python manage.py runapscheduler`; "
    "it will run what was requested."
)

# How a run that was asked for may end, other than well or with an error.
ENDS = {
    Run.MAX_INSTANCES: (messages.WARNING, "was skipped"),
    Run.MISSED: (messages.WARNING, "was missed"),
    Run.LOST: (messages.ERROR, "was lost"),
}


class JobActions(ReadOnlyAdmin):
    """The actions of the page of jobs."""

    actions = (
        "run_selected_jobs",
        "pause_selected_jobs",
        "resume_selected_jobs",
        "retire_selected_jobs",
    )

    def has_run_permission(self, request: HttpRequest) -> bool:
        """Tell whether the user may ask for runs."""
        return api.may(request.user, "run")

    def has_pause_permission(self, request: HttpRequest) -> bool:
        """Tell whether the user may pause and resume jobs."""
        return api.may(request.user, "pause")

    def has_retire_permission(self, request: HttpRequest) -> bool:
        """Tell whether the user may take jobs out of service."""
        return api.may(request.user, "retire")

    @admin.action(description="Run the selected jobs now", permissions=["run"])
    def run_selected_jobs(self, request: HttpRequest, queryset: QuerySet[DjangoJob]) -> None:
        """Ask the active scheduler for a run of each job, and tell what became of them.

        Whatever is not finished after APSCHEDULER_RUN_NOW_TIMEOUT goes on; nothing is cut.
        """
        asked = self._request_runs(request, self._together(request, queryset))
        active = look_for_active()
        if asked and active is None:
            self.message_user(request, NOBODY, messages.ERROR)
        elif asked:
            _wait_for(asked)
        runs = Run.objects.using(router.db_for_write(Run)).defer("traceback")
        told = list(runs.filter(pk__in=asked).order_by("pk"))
        plain = WELL if len(told) > MAX_MESSAGES else {}
        whom = _whom(active)
        for status, (level, what) in plain.items():
            if number := sum(run.status == status for run in told):
                self.message_user(request, f"{number} jobs {what.format(whom=whom)}.", level)
        for run in told:
            if run.status not in plain:
                level, text = _told(run, active)
                self.message_user(request, self._with_link(request, text, run), level)

    def _request_runs(self, request: HttpRequest, jobs: list[DjangoJob]) -> list[int]:
        """Ask for a run of each job and write it into the admin's log, in one transaction."""
        runnable = []
        for job in jobs:
            if job.retired_at:
                text = f"Job {job.pk} is retired and does not run."
                self.message_user(request, text, messages.ERROR)
            elif job.quarantined_at:
                text = f"Job {job.pk} is in quarantine and does not run: {job.quarantine_reason}"
                self.message_user(request, text, messages.ERROR)
            elif not api.may(request.user, "run", job):
                text = f"You may not run job {job.pk}."
                self.message_user(request, text, messages.ERROR)
            else:
                runnable.append(job)
        if not runnable:
            return []
        with transaction.atomic(using=router.db_for_write(Run)), api.through("admin"):
            try:
                runs = api.run_all_now([job.pk for job in runnable], by=request.user)
            except api.OperationError as error:  # one of them was changed meanwhile
                self.message_user(request, f"{error} Nothing was run.", messages.ERROR)
                return []
            content_type = get_content_type_for_model(DjangoJob)
            LogEntry.objects.bulk_create(
                LogEntry(
                    user_id=request.user.pk or 0,
                    content_type_id=content_type.pk,
                    object_id=job.pk,
                    object_repr=str(job)[:200],
                    action_flag=CHANGE,
                    change_message=f"Requested run {runs[job.pk]}.",
                )
                for job in runnable
            )
        return list(runs.values())

    @admin.action(description="Pause the selected jobs", permissions=["pause"])
    def pause_selected_jobs(self, request: HttpRequest, queryset: QuerySet[DjangoJob]) -> None:
        """Stop scheduling jobs until they are resumed; a deploy does not resume them."""
        reason = request.POST.get("reason", "")
        self._change(request, queryset, _pause(reason), "Paused", "paused or retired already")

    @admin.action(description="Resume the selected jobs", permissions=["pause"])
    def resume_selected_jobs(self, request: HttpRequest, queryset: QuerySet[DjangoJob]) -> None:
        """Schedule paused jobs again from now on, and try quarantined ones again."""
        self._change(request, queryset, _resume, "Resumed", "not paused or retired")

    @admin.action(description="Retire the selected jobs", permissions=["retire"])
    def retire_selected_jobs(
        self, request: HttpRequest, queryset: QuerySet[DjangoJob]
    ) -> TemplateResponse | None:
        """Take jobs out of service, once that was confirmed. Their history stays.

        What was asked for of them and has not started is cancelled.
        """
        in_service = queryset.filter(retired_at=None)
        if request.POST.get("post") == "yes":
            self._change(request, queryset, _retire, "Retired", "retired already")
            return None
        if not in_service.exists():
            self.message_user(request, "None of these jobs is in service.", messages.WARNING)
            return None
        jobs = self._together(request, in_service)
        if not jobs:
            return None
        context = {
            **self.admin_site.each_context(request),
            "title": "Retire jobs",
            "original": "Retire",
            "has_view_permission": True,
            "opts": self.opts,
            "media": self.media,
            "jobs": jobs,
            "checkbox": helpers.ACTION_CHECKBOX_NAME,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(
            request, "admin/jobstore/djangojob/retire_confirmation.html", context
        )

    def _with_link(
        self, request: HttpRequest, text: str, run: DjangoJobExecution
    ) -> str | SafeString:
        # A traceback's worth of text would not fit into a message.
        text = text if len(text) <= 500 else f"{text[:500]}…"
        address = page_of(self.admin_site, run)
        if not address or not request.user.has_perm("jobstore.view_djangojobexecution"):
            return text
        return format_html("{} {}", text, link(address, "View the run"))

    def _together(self, request: HttpRequest, queryset: QuerySet[DjangoJob]) -> list[DjangoJob]:
        jobs = list(queryset[: MAX_SELECTED_JOBS + 1])
        if len(jobs) > MAX_SELECTED_JOBS:
            text = f"Select at most {MAX_SELECTED_JOBS} jobs at a time; nothing was done."
            self.message_user(request, text, messages.ERROR)
            return []
        return jobs

    def _change(
        self,
        request: HttpRequest,
        jobs: Iterable[DjangoJob],
        change: Callable[[DjangoJob, Any], bool],
        done: str,
        otherwise: str,
    ) -> None:
        """Change each job, and say which were changed, which need not be and which cannot be."""
        changed: list[DjangoJob] = []
        unchanged: list[DjangoJob] = []
        for job in list(jobs):
            try:
                with transaction.atomic(using=router.db_for_write(DjangoJob)), api.through("admin"):
                    is_changed = change(job, request.user)
                    if is_changed:
                        self.log_change(request, job, f"{done}.")
                (changed if is_changed else unchanged).append(job)
            except api.OperationError as error:
                self.message_user(request, f"Job {job.pk} stays as it is: {error}", messages.ERROR)
        if changed:
            self.message_user(request, f"{done}: {_names(changed)}.", messages.SUCCESS)
        if unchanged:
            text = f"Nothing to do, {otherwise}: {_names(unchanged)}."
            self.message_user(request, text, messages.WARNING)


def _names(jobs: list[DjangoJob]) -> str:
    return ", ".join(job.pk for job in jobs)


def _pause(reason: str) -> Callable[[DjangoJob, Any], bool]:
    return lambda job, user: job.retired_at is None and api.pause(job.pk, reason, by=user)


def _resume(job: DjangoJob, user: Any) -> bool:
    return job.retired_at is None and api.resume(job.pk, by=user)


def _retire(job: DjangoJob, user: Any) -> bool:
    return api.retire(job.pk, by=user)


def _wait_for(runs: list[int]) -> None:
    """Wait until the runs are finished, at most APSCHEDULER_RUN_NOW_TIMEOUT seconds."""
    using = router.db_for_write(Run)
    if connections[using].in_atomic_block:
        return  # nobody sees the requests before this transaction ends
    unfinished = Run.objects.using(using).filter(pk__in=runs, status__in=Run.UNFINISHED)
    deadline = time.monotonic() + conf.get("APSCHEDULER_RUN_NOW_TIMEOUT")
    while unfinished.exists() and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def _whom(active: Active | None) -> str:
    return "a free worker" if active else "a scheduler"


def _told(run: DjangoJobExecution, active: Active | None) -> tuple[int, str]:
    """Return the message about a run that was asked for, and its level."""
    name = f"Job {run.job_id}"
    if run.status == Run.SUCCESS:
        return messages.SUCCESS, f"{name} ran in {seconds(run.duration)}."
    if run.status == Run.RUNNING:
        return messages.INFO, f"{name} is running; its outcome will appear in the history."
    if run.status == Run.REQUESTED:
        return (
            messages.WARNING,
            f"{name} waits for {_whom(active)}; its run will appear in the history.",
        )
    reason = ": ".join(part for part in (run.exception_type, run.exception) if part)
    level, what = ENDS.get(run.status, (messages.ERROR, "failed"))
    return level, f"{name} {what}. {reason}"
