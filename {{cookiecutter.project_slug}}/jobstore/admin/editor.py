"""Pages that change and add jobs: fill in, look at the preview, save.

They need no script. Each one calls one operation. If that refuses, the error is shown at a field,
and nothing that was filled in is lost.
"""

from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import router, transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path
from django.utils.translation import gettext as _

from jobstore import api
from jobstore.admin.arguments_form import ArgumentsForm
from jobstore.admin.display import page_of
from jobstore.admin.edit_pages import Edit, EditPages
from jobstore.admin.options_form import NewJobForm, OptionsForm
from jobstore.admin.schedule_form import ScheduleForm
from jobstore.admin.words import in_words
from jobstore.declarations.offers import Offer
from jobstore.models import DjangoJob
from jobstore.sentences import shown

# The pages of one job, by the end of their addresses.
PAGES = ("schedule", "options", "clone", "reset")


class JobEditor(EditPages):
    """Changes of schedules, arguments and options; new jobs, clones, and the reset to code."""

    class Media:
        css = {"all": ["jobstore/editor.css"]}

    def get_urls(self) -> list[URLPattern]:
        """Add the pages."""
        added = [
            path(
                f"<path:object_id>/{name}/",
                self.admin_site.admin_view(getattr(self, f"{name}_view")),
                name=f"jobstore_djangojob_{name}",
            )
            for name in PAGES
        ]
        return [*added, *super().get_urls()]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Tell whether the user may add jobs, of functions that the code offers."""
        return api.may(request.user, "add")

    def editing_links(
        self, request: HttpRequest, job: DjangoJob, *, is_resettable: bool
    ) -> dict[str, str]:
        """Return the addresses of the pages that the user may open for a job, by name."""
        if job.retired_at is not None:
            return {}
        links = {}
        if api.may(request.user, "edit", job):
            if job.quarantined_at is None:
                links[_("Change schedule")] = self._address("schedule", job)
                links[_("Change arguments and options")] = self._address("options", job)
            if is_resettable:
                links[_("Reset to code")] = self._address("reset", job)
        if job.quarantined_at is None and api.may(request.user, "add") and api.offer_for(job):
            links[_("Clone")] = self._address("clone", job)
        return links

    # --- Pages ----------------------------------------------------------------------------------

    def schedule_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Change when a job runs."""
        job = self._job(request, object_id, "edit")
        try:
            definition = api.definition(job)
        except api.Unreadable as error:
            return self._back(request, job, error)
        form = ScheduleForm(request.POST or None, trigger=definition.trigger)
        expected = request.POST.get("expected") or definition.fingerprint

        def operation() -> DjangoJob:
            trigger, fields = form.arguments
            return api.reschedule(job.pk, trigger, expected=expected, by=request.user, **fields)

        edit = Edit(
            _("Change the schedule of %(job)s") % {"job": job.pk},
            [form],
            operation,
            form.place,
            {"schedule": form, "expected": expected, "now_in_words": in_words(job.trigger)},
            job,
            "Changed the schedule",
            _("Changed the schedule: %(job)s runs %(words)s."),
        )
        return self._answer(request, edit)

    def options_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Change the arguments and the options of a job."""
        job = self._job(request, object_id, "edit")
        try:
            found = api.definition(job)
        except api.Unreadable as error:
            return self._back(request, job, error)
        expected = request.POST.get("expected") or found.fingerprint
        arguments = ArgumentsForm(
            request.POST or None,
            func=found.func,
            offer=api.offer_for(job),
            stored=(found.args, found.kwargs),
        )
        options = OptionsForm(request.POST or None, job=job)

        def operation() -> DjangoJob:
            changes = options.changes()
            args, kwargs = arguments.call()
            if arguments.has_changed():
                changes |= {"args": args, "kwargs": kwargs}
            return api.change(job.pk, expected=expected, by=request.user, **changes)

        edit = Edit(
            _("Change arguments and options of %(job)s") % {"job": job.pk},
            [arguments, options],
            operation,
            lambda error: _place(error, arguments, options),
            {"arguments": arguments, "options": options, "expected": expected},
            job,
            "Changed arguments or options",
            _("Changed arguments or options: %(job)s runs %(words)s."),
        )
        return self._answer(request, edit)

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Choose a function that the code offers, and add a job of it."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        key = request.GET.get("function", "")
        if key:
            try:
                return self._add(request, api.offered(key))
            except api.NotSchedulable as error:
                self.message_user(request, shown(error), messages.ERROR)
        context = {
            "offers": api.offers().values(),
            "title": _("Add a job"),
            "original": _("Add"),
        }
        return self._render(request, "choose_function", context)

    def clone_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Add a job like another one, with an id of its own."""
        job = self._job(request, object_id, "view")
        if not self.has_add_permission(request):
            raise PermissionDenied
        offer = api.offer_for(job)
        if offer is None:
            text = _("Job %(job)s cannot be cloned: the code does not offer its function.")
            self.message_user(request, text % {"job": job.pk}, messages.ERROR)
            return redirect(page_of(self.admin_site, job))
        try:
            return self._add(request, offer, job)
        except api.Unreadable as error:
            return self._back(request, job, error)

    def _add(
        self, request: HttpRequest, offer: Offer, like: DjangoJob | None = None
    ) -> HttpResponse:
        found = api.definition(like) if like else None
        data = request.POST or None
        new = NewJobForm(data, initial={"paused": like is not None})
        schedule = ScheduleForm(data, trigger=found.trigger if found else None)
        arguments = ArgumentsForm(
            data, func=offer.func, offer=offer, stored=(found.args, found.kwargs) if found else None
        )
        options = OptionsForm(data, job=like)

        def operation() -> DjangoJob:
            trigger, fields = schedule.arguments
            args, kwargs = arguments.call()
            row: DjangoJob = api.add_job(
                found.reference if found else offer.func,
                trigger,
                args=args,
                kwargs=kwargs,
                by=request.user,
                **_filled(options, new),
                **fields,
            )
            return row

        title = (
            _("Clone %(job)s") % {"job": like.pk}
            if like
            else _("Add a job: %(function)s") % {"function": offer.name}
        )
        edit = Edit(
            title,
            [new, schedule, arguments, options],
            operation,
            lambda error: _place(error, arguments, options, schedule, new),
            {
                "new": new,
                "schedule": schedule,
                "arguments": arguments,
                "options": options,
                "offer": offer,
            },
            like,
            "Added",
            _("Added: %(job)s runs %(words)s."),
        )
        return self._answer(request, edit)

    def reset_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Reset a job to what the code declares, after a confirmation."""
        job = self._job(request, object_id, "edit")
        differences = api.differs_from_code(job)
        if request.method == "POST":
            try:
                with transaction.atomic(using=router.db_for_write(DjangoJob)), api.through("admin"):
                    api.reset(job.pk, by=request.user)
                    self.log_change(request, job, "Reset to what the code declares.")
            except api.NotAllowed:
                raise
            except api.OperationError as error:
                return self._back(request, job, error)
            text = _("Job %(job)s is again as the code declares it.")
            self.message_user(request, text % {"job": job.pk}, messages.SUCCESS)
            return redirect(page_of(self.admin_site, job))
        title = _("Reset %(job)s to code") % {"job": job.pk}
        context = {"title": title, "job": job, "differences": differences}
        return self._render(request, "reset_confirmation", context | {"original": _("Reset")})


def _filled(options: OptionsForm, new: NewJobForm) -> dict[str, Any]:
    found = {**options.cleaned_data, **new.cleaned_data}
    if not found["name"]:
        del found["name"]
    return found


def _place(
    error: api.OperationError,
    arguments: ArgumentsForm,
    options: OptionsForm,
    schedule: ScheduleForm | None = None,
    new: forms.Form | None = None,
) -> None:
    """Show an operation's error at the field that it concerns."""
    if isinstance(error, api.InvalidArguments):
        arguments.place(error)
    elif isinstance(error, api.InvalidSchedule) and schedule is not None:
        schedule.place(error)
    elif new is not None and (isinstance(error, api.AlreadyExists) or " id " in str(error)):
        new.add_error("id", shown(error))
    else:
        options.place(error)
