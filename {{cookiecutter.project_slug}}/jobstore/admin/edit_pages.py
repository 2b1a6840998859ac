"""The parts that all pages that change jobs share: forms, then a preview, then saving it."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from django import forms
from django.contrib import messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.db import router, transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import override

from jobstore import api
from jobstore.admin.base import ReadOnlyAdmin
from jobstore.admin.display import page_of
from jobstore.admin.preview import digest_of, preview_of
from jobstore.admin.refresh import HEADER
from jobstore.admin.words import in_words
from jobstore.models import DjangoJob
from jobstore.sentences import shown

TEMPLATES = "admin/jobstore/djangojob"


@dataclasses.dataclass
class Edit:
    """One page: its forms, and the operation that stores them."""

    title: str
    forms: Sequence[Any]
    operation: Callable[[], DjangoJob]
    place: Callable[[api.OperationError], None]
    context: dict[str, Any]
    job: DjangoJob | None = None
    # Tell what was done: in the admin's log, and to the person.
    log: str = ""
    done: str = ""


class EditPages(ReadOnlyAdmin):
    """Shows forms and a preview of their effect, and saves what was previewed."""

    def _job(self, request: HttpRequest, object_id: str, verb: str) -> DjangoJob:
        key = unquote(object_id)
        jobs = DjangoJob.objects.filter(pk=key)
        job: DjangoJob | None = jobs.first() if self._are_keys([key]) else None
        if job is None:
            raise Http404
        if not self.has_view_permission(request, job) or not api.may(request.user, verb, job):
            raise PermissionDenied
        return job

    def _answer(self, request: HttpRequest, edit: Edit) -> HttpResponse:
        """Show the page, with a preview if the forms are valid, or save what was previewed."""
        context = edit.context
        if request.method == "POST" and _are_valid(edit.forms):
            seen = digest_of(request.POST)
            is_looked_at = request.POST.get("previewed") == seen
            try:
                if "save" in request.POST and is_looked_at:
                    return self._save(request, edit)
                if edit.context.get("new") is None and not _has_changed(edit):
                    edit.forms[0].add_error(None, _("Nothing is changed."))
                else:
                    context["preview"] = preview_of(edit.operation)
                    context |= {"previewed": seen, "is_unseen": "save" in request.POST}
            except api.NotAllowed:
                if edit.context.get("new") is None:
                    raise
                edit.forms[0].add_error(None, _("You may not add a job like that."))
            except api.NoSuchJob as error:
                self.message_user(request, shown(error), messages.ERROR)
                return redirect(self._list())
            except api.Conflict as error:
                edit.forms[0].add_error(None, shown(error))
                self._look_again(edit)
            except api.OperationError as error:
                edit.place(error)
        context["back"] = page_of(self.admin_site, edit.job) if edit.job else self._list()
        if _is_for_preview(request) and "preview" in context:
            return _preview_alone(request, context)
        context |= {"title": edit.title, "original": edit.job or _("Add"), "job": edit.job}
        context["errors"] = [one for form in edit.forms for one in form.errors]
        context["general"] = [one for form in edit.forms for one in form.non_field_errors()]
        return self._render(request, "editor", context)

    def _look_again(self, edit: Edit) -> None:
        """Compare the forms with what somebody else has saved meanwhile."""
        if edit.job is None:
            return
        edit.job.refresh_from_db()
        edit.context["expected"] = api.definition(edit.job).fingerprint
        edit.context["now_in_words"] = in_words(edit.job.trigger)

    def _save(self, request: HttpRequest, edit: Edit) -> HttpResponse:
        is_new = edit.context.get("new") is not None
        with transaction.atomic(using=router.db_for_write(DjangoJob)), api.through("admin"):
            row = edit.operation()
            if is_new:
                with override("en"):
                    words = in_words(row.trigger)
                self.log_addition(request, row, f"{edit.log}: {words}.")
            else:
                self.log_change(request, row, f"{edit.log}.")
        text = edit.done % {"job": row.pk, "words": in_words(row.trigger)}
        if row.next_run_time is None:
            text = _("%(text)s It is paused.") % {"text": text}
        self.message_user(request, text, messages.SUCCESS)
        return redirect(page_of(self.admin_site, row))

    def message_user(self, request: HttpRequest, *args: Any, **options: Any) -> None:
        """Tell a person; not a script, as the browser then asks again, and would be told twice."""
        if not _is_for_preview(request):
            super().message_user(request, *args, **options)

    def _back(self, request: HttpRequest, job: DjangoJob, error: Exception) -> HttpResponse:
        self.message_user(request, shown(error), messages.ERROR)
        return redirect(page_of(self.admin_site, job))

    def _render(
        self, request: HttpRequest, template: str, context: dict[str, Any]
    ) -> TemplateResponse:
        request.current_app = self.admin_site.name
        shared = {
            **self.admin_site.each_context(request),
            "has_view_permission": True,
            "opts": self.opts,
            "media": self.media,
        }
        return TemplateResponse(request, f"{TEMPLATES}/{template}.html", shared | context)

    def _address(self, page: str, job: DjangoJob) -> str:
        return reverse(
            f"admin:jobstore_djangojob_{page}",
            args=(quote(job.pk),),
            current_app=self.admin_site.name,
        )

    def _list(self) -> str:
        return reverse("admin:jobstore_djangojob_changelist", current_app=self.admin_site.name)


def _is_for_preview(request: HttpRequest) -> bool:
    """Tell whether a script asks for a preview alone. Any other answer makes it send the form."""
    return HEADER in request.headers and "save" not in request.POST


def _preview_alone(request: HttpRequest, context: dict[str, Any]) -> TemplateResponse:
    """Return the preview without the page around it, which takes longer."""
    headers = {HEADER: "fragments", "Vary": HEADER}
    return TemplateResponse(request, f"{TEMPLATES}/preview.html", context, headers=headers)


def _has_changed(edit: Edit) -> bool:
    schedule = edit.context.get("schedule")
    is_foreign = schedule is not None and not schedule.is_shown
    return is_foreign or any(form.has_changed() for form in edit.forms)


def _are_valid(found: Sequence[forms.Form]) -> bool:
    """Tell whether all forms are valid. Each one is validated, so that all mistakes are shown."""
    return not sum(not form.is_valid() for form in found)
