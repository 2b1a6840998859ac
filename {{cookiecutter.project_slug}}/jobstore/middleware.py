"""Answers the web's own probes before hosts are checked and http is redirected."""

from collections.abc import Callable

from django.db import DatabaseError, InterfaceError, connections, router
from django.http import HttpRequest, HttpResponse, JsonResponse

from . import health
from .models import DjangoJob


class HealthMiddleware:
    """Serves /health/live, /health/ready and /health/scheduler; must come first."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer a probe, or pass the request on."""
        page = {
            "/health/live": _live,
            "/health/ready": _ready,
            "/health/scheduler": _scheduler,
        }.get(request.path.rstrip("/"))
        if page is None:
            return self.get_response(request)
        code, body = page()
        return JsonResponse(body, status=code, headers={"Cache-Control": "no-store"})


def _live() -> health.Answer:
    return health.OK, {"status": "ok", "reason": ""}


def _ready() -> health.Answer:
    connection = connections[router.db_for_read(DjangoJob)]
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except (DatabaseError, InterfaceError) as error:
        reason = f"The database does not answer: {str(error).strip()}"
        return health.UNAVAILABLE, {"status": "unavailable", "reason": reason}
    return _live()


def _scheduler() -> health.Answer:
    return health.scheduler(router.db_for_read(DjangoJob))
