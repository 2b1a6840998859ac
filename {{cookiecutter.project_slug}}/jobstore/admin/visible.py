"""Which jobs the user of a request may view, asked once for each request."""

from django.http import HttpRequest

from jobstore import api


def visible(request: HttpRequest) -> api.Visible:
    """Return the jobs that the user may view, to narrow lists by."""
    found: api.Visible | None = getattr(request, "jobstore_visible", None)
    if found is None:
        found = request.jobstore_visible = api.visible_to(request.user)  # type: ignore[attr-defined]
    return found
