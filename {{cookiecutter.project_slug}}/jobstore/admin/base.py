"""What the pages share: nobody adds or edits rows by hand, and a banner says who is active."""

import dataclasses
from typing import Any

from django.contrib import admin
from django.db import router
from django.http import HttpRequest, HttpResponse

from ..models import DjangoJob, SchedulerLease, database_now
from ..presence import holder
from .display import moment


@dataclasses.dataclass(frozen=True)
class Active:
    """The scheduler that holds a valid lease."""

    process: str
    lease: SchedulerLease

    @property
    def until(self) -> str:
        """When the lease ends unless it is renewed."""
        return moment(self.lease.expires_at)


def look_for_active() -> Active | None:
    """Return the active scheduler, or None if nobody holds a valid lease."""
    using = router.db_for_read(DjangoJob)
    lease, process = holder(using)
    if lease is None or lease.expires_at is None or lease.expires_at <= database_now(using):
        return None
    return Active(str(process or lease.holder), lease)


class ReadOnlyAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    """Rows are written by the scheduler and by actions only."""

    # Counts beside filters would read all of the history once for each.
    show_facets = admin.ShowFacets.NEVER
    show_full_result_count = False

    class Media:
        css = {"all": ["jobstore/admin.css"]}

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds rows by hand."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody edits rows by hand."""
        return False

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the list below a banner that says who is active."""
        # As a function: a list that is not rendered, since an action was posted, need not ask.
        return super().changelist_view(
            request, {"look_for_active": look_for_active} | (extra_context or {})
        )
