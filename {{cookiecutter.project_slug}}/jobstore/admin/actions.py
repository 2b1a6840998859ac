"""The actions on jobs, each with a permission and an audit entry of its own."""

import dataclasses
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
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, gettext_noop, ngettext, ngettext_lazy

from jobstore import api, conf
from jobstore.admin.base import Active, ReadOnlyAdmin, look_for_active
from jobstore.admin.display import link, page_of, seconds
from jobstore.models import DjangoJob, DjangoJobExecution
from jobstore.sentences import shown

Run = DjangoJobExecution

# Jobs that can be run or retired together; more are probably a mistake.
MAX_SELECTED_JOBS = 100
# Runs that were requested together and get a message each. If there are more, successful runs are
# only counted, so that the others are seen.
MAX_MESSAGES = 10
WELL: dict[str, tuple[int, Any]] = {
    Run.SUCCESS: (
        messages.SUCCESS,
        ngettext_lazy("%(number)d job ran.", "%(number)d jobs ran.", "number"),
    ),
    Run.RUNNING: (
        messages.INFO,
        ngettext_lazy(
            "%(number)d job is running; its outcome will appear in the history.",
            "%(number)d jobs are running; their outcomes will appear in the history.",
            "number",
        ),
    ),
    Run.REQUESTED: (
        messages.WARNING,
        ngettext_lazy(
            "%(number)d job waits for a free worker; it runs in its turn.",
            "%(number)d jobs wait for a free worker; they run in their turn.",
            "number",
        ),
    ),
}
WITHOUT_SCHEDULER = ngettext_lazy(
    "%(number)d job waits for a scheduler; it runs in its turn.",
    "%(number)d jobs wait for a scheduler; they run in their turn.",
    "number",
)
# Seconds between two looks at a requested run.
POLL_SECONDS = 0.1

NOBODY = gettext_lazy(
    "No scheduler is active, so nothing runs. Start one with `python manage.py runapscheduler`; "
    "it will run what was requested."
)

# How a requested run may end, other than with success or an error.
ENDS: dict[str, tuple[int, Any]] = {
    Run.MAX_INSTANCES: (messages.WARNING, gettext_lazy("Job %(job)s was skipped. %(reason)s")),
    Run.MISSED: (messages.WARNING, gettext_lazy("Job %(job)s was missed. %(reason)s")),
    Run.LOST: (messages.ERROR, gettext_lazy("Job %(job)s was lost. %(reason)s")),
}
FAILED = gettext_lazy("Job %(job)s failed. %(reason)s")


@dataclasses.dataclass(frozen=True)
class Words:
    """What a change of jobs is called: in the admin's log, and in the messages about it."""

    log: str
    done: Any
    unchanged: Any


PAUSED = Words(
    gettext_noop("Paused."),
    gettext_lazy("Paused: %(jobs)s."),
    gettext_lazy("Nothing to do, paused or retired already: %(jobs)s."),
)
RESUMED = Words(
    gettext_noop("Resumed."),
    gettext_lazy("Resumed: %(jobs)s."),
    gettext_lazy("Nothing to do, not paused or retired: %(jobs)s."),
)
RETIRED = Words(
    gettext_noop("Retired."),
    gettext_lazy("Retired: %(jobs)s."),
    gettext_lazy("Nothing to do, retired already: %(jobs)s."),
)


class JobActions(ReadOnlyAdmin):
    """The actions of the page of jobs."""

    actions = (
        "run_selected_jobs",
        "pause_selected_jobs",
        "resume_selected_jobs",
        "retire_selected_jobs",
    )

    def has_run_permission(self, request: HttpRequest) -> bool:
        """Tell whether the user may request runs."""
        return api.may(request.user, "run")

    def has_pause_permission(self, request: HttpRequest) -> bool:
        """Tell whether the user may pause and resume jobs."""
        return api.may(request.user, "pause")

    def has_retire_permission(self, request: HttpRequest) -> bool:
        """Tell whether the user may take jobs out of service."""
        return api.may(request.user, "retire")

    @admin.action(description=gettext_lazy("Run the selected jobs now"), permissions=["run"])
    def run_selected_jobs(self, request: HttpRequest, queryset: QuerySet[DjangoJob]) -> None:
        """Request a run of each job from the active scheduler, and show what became of them.

        Runs that have not ended after APSCHEDULER_RUN_NOW_TIMEOUT seconds continue.
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
        for status, (level, text) in plain.items():
            if number := sum(run.status == status for run in told):
                if status == Run.REQUESTED and active is None:
                    text = WITHOUT_SCHEDULER
                self.message_user(request, text % {"number": number}, level)
        for run in told:
            if run.status not in plain:
                level, text = _told(run, active)
                self.message_user(request, self._with_link(request, text, run), level)

    def _request_runs(self, request: HttpRequest, jobs: list[DjangoJob]) -> list[int]:
        """Request a run of each job and write it into the admin's log, in one transaction."""
        runnable = []
        for job in jobs:
            named = {"job": job.pk, "reason": job.quarantine_reason}
            if job.retired_at:
                text = _("Job %(job)s is retired and does not run.") % named
                self.message_user(request, text, messages.ERROR)
            elif job.quarantined_at:
                text = _("Job %(job)s is in quarantine and does not run: %(reason)s") % named
                self.message_user(request, text, messages.ERROR)
            elif not api.may(request.user, "run", job):
                text = _("You may not run job %(job)s.") % named
                self.message_user(request, text, messages.ERROR)
            else:
                runnable.append(job)
        if not runnable:
            return []
        with transaction.atomic(using=router.db_for_write(Run)), api.through("admin"):
            try:
                runs = api.run_all_now([job.pk for job in runnable], by=request.user)
            except api.OperationError as error:  # one of them was changed meanwhile
                text = _("%(error)s Nothing was run.") % {"error": shown(error)}
                self.message_user(request, text, messages.ERROR)
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

    @admin.action(description=gettext_lazy("Pause the selected jobs"), permissions=["pause"])
    def pause_selected_jobs(self, request: HttpRequest, queryset: QuerySet[DjangoJob]) -> None:
        """Stop scheduling jobs until they are resumed; a deploy does not resume them."""
        reason = request.POST.get("reason", "")
        self._change(request, queryset, _pause(reason), PAUSED)

    @admin.action(description=gettext_lazy("Resume the selected jobs"), permissions=["pause"])
    def resume_selected_jobs(self, request: HttpRequest, queryset: QuerySet[DjangoJob]) -> None:
        """Schedule paused jobs again from now on, and try quarantined ones again."""
        self._change(request, queryset, _resume, RESUMED)

    @admin.action(description=gettext_lazy("Retire the selected jobs"), permissions=["retire"])
    def retire_selected_jobs(
        self, request: HttpRequest, queryset: QuerySet[DjangoJob]
    ) -> TemplateResponse | None:
        """Take jobs out of service after a confirmation. Their history stays.

        Their requested runs that have not started are cancelled.
        """
        in_service = queryset.filter(retired_at=None)
        if request.POST.get("post") == "yes":
            self._change(request, queryset, _retire, RETIRED)
            return None
        if not in_service.exists():
            text = _("None of these jobs is in service.")
            self.message_user(request, text, messages.WARNING)
            return None
        jobs = self._together(request, in_service)
        if not jobs:
            return None
        context = {
            **self.admin_site.each_context(request),
            "title": _("Retire jobs"),
            "original": _("Retire"),
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
        # A text as long as a traceback would not fit into a message.
        text = text if len(text) <= 500 else f"{text[:500]}…"
        address = page_of(self.admin_site, run)
        if not address or not request.user.has_perm("jobstore.view_djangojobexecution"):
            return text
        return format_html("{} {}", text, link(address, _("View the run")))

    def _together(self, request: HttpRequest, queryset: QuerySet[DjangoJob]) -> list[DjangoJob]:
        jobs = list(queryset[: MAX_SELECTED_JOBS + 1])
        if len(jobs) > MAX_SELECTED_JOBS:
            text = ngettext(
                "Select at most %(number)d job at a time; nothing was done.",
                "Select at most %(number)d jobs at a time; nothing was done.",
                MAX_SELECTED_JOBS,
            )
            self.message_user(request, text % {"number": MAX_SELECTED_JOBS}, messages.ERROR)
            return []
        return jobs

    def _change(
        self,
        request: HttpRequest,
        jobs: Iterable[DjangoJob],
        change: Callable[[DjangoJob, Any], bool],
        words: Words,
    ) -> None:
        """Change each job, and say which were changed, needed no change, or cannot be changed."""
        changed: list[DjangoJob] = []
        unchanged: list[DjangoJob] = []
        for job in list(jobs):
            try:
                with transaction.atomic(using=router.db_for_write(DjangoJob)), api.through("admin"):
                    is_changed = change(job, request.user)
                    if is_changed:
                        self.log_change(request, job, words.log)
                (changed if is_changed else unchanged).append(job)
            except api.OperationError as error:
                text = _("Job %(job)s stays as it is: %(error)s")
                named = {"job": job.pk, "error": shown(error)}
                self.message_user(request, text % named, messages.ERROR)
        if changed:
            self.message_user(request, words.done % {"jobs": _names(changed)}, messages.SUCCESS)
        if unchanged:
            text = words.unchanged % {"jobs": _names(unchanged)}
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
        return  # no scheduler sees the requests before this transaction ends
    unfinished = Run.objects.using(using).filter(pk__in=runs, status__in=Run.UNFINISHED)
    deadline = time.monotonic() + conf.get("APSCHEDULER_RUN_NOW_TIMEOUT")
    while unfinished.exists() and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)


def _told(run: DjangoJobExecution, active: Active | None) -> tuple[int, str]:
    """Return the message about a requested run, and its level."""
    named = {"job": run.job_id, "duration": seconds(run.duration)}
    if run.status == Run.SUCCESS:
        return messages.SUCCESS, _("Job %(job)s ran in %(duration)s.") % named
    if run.status == Run.RUNNING:
        text = _("Job %(job)s is running; its outcome will appear in the history.")
        return messages.INFO, text % named
    if run.status == Run.REQUESTED:
        text = (
            _("Job %(job)s waits for a free worker; its run will appear in the history.")
            if active
            else _("Job %(job)s waits for a scheduler; its run will appear in the history.")
        )
        return messages.WARNING, text % named
    named["reason"] = ": ".join(part for part in (run.exception_type, run.exception) if part)
    level, what = ENDS.get(run.status, (messages.ERROR, FAILED))
    return level, what % named
