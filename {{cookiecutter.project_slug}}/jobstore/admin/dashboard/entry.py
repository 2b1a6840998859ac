"""The overview as an entry of the admin, beside the tables of the app.

The admin lists models, so the page is a model: with a registry of its own, and without a table, a
migration or permissions. Users who may view jobs and runs may view it.
"""

from typing import Any

from django.apps.registry import Apps
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from jobstore.admin.dashboard.page import Page
from jobstore.admin.refresh import Refresh

NEEDED = ("jobstore.view_djangojob", "jobstore.view_djangojobexecution")


class Overview(models.Model):
    """A page, not a table."""

    class Meta:
        app_label = "jobstore"
        managed = False
        # Only this registry knows it, so that no migration is made.
        apps = Apps()
        verbose_name = gettext_lazy("overview")
        verbose_name_plural = gettext_lazy("overview")

    def __str__(self) -> str:
        return str(self._meta.verbose_name)


@admin.register(Overview)
class OverviewAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """One page to look at, and nothing to add or change."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Tell whether the app is shown because of this page."""
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Tell whether the user may view jobs and runs."""
        return request.user.has_perms(NEEDED)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """There is nothing to add."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """There is nothing to change."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """There is nothing to delete."""
        return False

    def get_urls(self) -> list[URLPattern]:
        """Return the one address."""
        view = self.admin_site.admin_view(self.changelist_view)
        return [path("", view, name="jobstore_overview_changelist")]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the page, or the requested fragments that changed."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        if refresh := Refresh.of(request):
            asked = {"overview": Page(self.admin_site, request)}
            render_to_string("admin/jobstore/overview/content.html", asked, request)
            return refresh.answer()
        context: dict[str, Any] = {
            **self.admin_site.each_context(request),
            "title": _("Overview"),
            "overview": Page(self.admin_site, request),
            **(extra_context or {}),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/jobstore/overview/page.html", context)
