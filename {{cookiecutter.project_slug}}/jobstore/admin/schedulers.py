"""The page of scheduler processes: which one is active, which are surplus, which died."""

import datetime as dt
from typing import Any

from django.contrib import admin
from django.db.models import BooleanField, ExpressionWrapper, OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from jobstore import conf, versions
from jobstore.admin.base import ReadOnlyAdmin
from jobstore.admin.display import badge, moment_of
from jobstore.models import SchedulerInstance, SchedulerLease, database_now

Role = SchedulerInstance.Role


@admin.register(SchedulerInstance)
class SchedulerInstanceAdmin(ReadOnlyAdmin):
    """Scheduler processes, the newest first."""

    list_display = (
        "process",
        "role_now",
        "last_sign_of_life",
        "started",
        "epoch",
        "lease_ends",
        "stopped",
        "running_version",
    )
    list_filter = ("role",)
    search_fields = ("host",)
    fields = (*list_display, "id")

    lease_ends = moment_of("lease_until", gettext_lazy("lease until"))
    started = moment_of("started_at", gettext_lazy("started"), sortable=True)
    last_sign_of_life = moment_of("heartbeat_at", gettext_lazy("last sign of life"), sortable=True)
    stopped = moment_of("stopped_at", gettext_lazy("stopped"))

    @admin.display(description=gettext_lazy("version"))
    def running_version(self, instance: SchedulerInstance) -> str:
        """Show the version of the program; a tooltip shows the versions of this site's packages."""
        packages = _("This site runs on %(packages)s.") % {"packages": versions.of_packages()}
        return format_html('<span title="{}">{}</span>', packages, instance.version)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Allow nobody to delete processes: housekeeping deletes those that no history names."""
        return False

    def all_rows(self, request: HttpRequest) -> QuerySet[SchedulerInstance]:
        """Add the lease's end to its holder, and whether a process has been silent for too long."""
        rows: QuerySet[SchedulerInstance] = super().all_rows(request)
        now = database_now(rows.db)
        patience = dt.timedelta(seconds=conf.get("SCHEDULER_DEAD_SECONDS"))
        silent = Q(heartbeat_at__lt=now - patience)
        lease = SchedulerLease.objects.filter(holder=OuterRef("pk"), expires_at__gt=now)
        return rows.annotate(
            lease_until=Subquery(lease.values("expires_at")[:1]),
            silent=ExpressionWrapper(silent, BooleanField()),
        )

    @admin.display(description=gettext_lazy("process"), ordering="host")
    def process(self, instance: SchedulerInstance) -> str:
        """Show where it runs."""
        return str(instance)

    @admin.display(description=gettext_lazy("role"), ordering="role")
    def role_now(self, instance: Any) -> str:
        """Show its role, and whether the role is doubtful because the process is silent."""
        if instance.role in SchedulerInstance.GONE or not instance.silent:
            if not instance.problem:
                return badge(instance.role)
            reason = format_html('<span class="jobstore-reason">{}</span>', instance.problem)
            return format_html("{} {}", badge(instance.role), reason)
        former = _("was %(role)s") % {"role": instance.get_role_display()}
        return format_html("{} {}", badge("no sign of life"), former)
