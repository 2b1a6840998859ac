"""Answers the web's own probes before hosts are checked and http is redirected.

Anybody may ask, under any host name. The answer has fixed words and costs at most one statement,
or one look at the schedulers, a second in each process. The admin shows more to those who may see
it.
"""

import logging
from collections.abc import Callable

from django.db import DatabaseError, InterfaceError, connections, router
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, JsonResponse

from jobstore import probe
from jobstore.database import timeouts
from jobstore.health import answers
from jobstore.health.throttle import Throttled
from jobstore.models import DjangoJob
from jobstore.texts import flattened

logger = logging.getLogger("jobstore.health")


class HealthMiddleware:
    """Serves /health/live, /health/ready and /health/scheduler; must come first."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        late = (answers.UNAVAILABLE, answers.silent_database())
        self._pages: dict[str, Callable[[], answers.Answer]] = {
            "/health/live": _live,
            "/health/ready": Throttled(_ready, late),
            "/health/scheduler": Throttled(_scheduler, late),
        }

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer a probe, or pass the request on."""
        page = self._pages.get(request.path_info.rstrip("/"))
        if page is None:
            return self.get_response(request)
        if request.method not in ("GET", "HEAD"):
            return HttpResponseNotAllowed(["GET", "HEAD"])
        code, body = page()
        headers = {"Cache-Control": "no-store", probe.HEADER: probe.identity()}
        return JsonResponse(answers.public(body), status=code, headers=headers)


def _live() -> answers.Answer:
    return answers.OK, {"status": "ok", "cause": ""}


def _ready() -> answers.Answer:
    using = router.db_for_read(DjangoJob)
    try:
        with timeouts.limited_look(using), connections[using].cursor() as cursor:
            cursor.execute("SELECT 1")
    except (DatabaseError, InterfaceError) as error:
        text = flattened(error)
        logger.warning("The web is not ready, the database does not answer: %s", text)
        return answers.UNAVAILABLE, answers.silent_database(text)
    return _live()


def _scheduler() -> answers.Answer:
    return answers.scheduler(router.db_for_read(DjangoJob))
