"""Addresses of projects with an admin site of their own, for `override_settings(ROOT_URLCONF)`.

`beside` has Django's site as well, without our pages; `alone` has the own one only; `partly` shows
the history and nothing else.
"""

import types
from typing import Any

from django.contrib import admin
from django.contrib.admin import AdminSite
from django.urls import path

from jobstore.admin import (
    AuditEntryAdmin,
    DjangoJobAdmin,
    DjangoJobExecutionAdmin,
    Overview,
    OverviewAdmin,
    SchedulerInstanceAdmin,
)
from jobstore.models import AuditEntry, DjangoJob, DjangoJobExecution, SchedulerInstance

ops = AdminSite(name="ops")
ops.register(DjangoJob, DjangoJobAdmin)
ops.register(DjangoJobExecution, DjangoJobExecutionAdmin)
ops.register(SchedulerInstance, SchedulerInstanceAdmin)
ops.register(AuditEntry, AuditEntryAdmin)
ops.register(Overview, OverviewAdmin)

history = AdminSite(name="history")
history.register(DjangoJobExecution, DjangoJobExecutionAdmin)


def _urls(name: str, *patterns: Any) -> Any:
    module: Any = types.ModuleType(name)
    module.urlpatterns = list(patterns)
    return module


beside = _urls("beside", path("admin/", admin.site.urls), path("ops/", ops.urls))
alone = _urls("alone", path("ops/", ops.urls))
partly = _urls("partly", path("ops/", history.urls))
