"""What stands between the web server and Django's own middleware."""

import threading
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse

# Seconds that a login waits for another to end, on a thread that it keeps meanwhile.
WAIT = 0.2


class LimitLogins:
    """Limits how many logins are checked at once; a further one gets 503 and can be repeated.

    Checking a password takes a large part of a second of CPU, on purpose. Without a limit, many
    logins at once would keep every thread busy. With it they only delay other logins; people who
    are logged in are served. It does not help against guessing of passwords: limit addresses in
    your proxy for that.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response
        self._free = threading.BoundedSemaphore(settings.LOGINS_AT_ONCE)

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Answer, and make room for the next login."""
        try:
            return self.get_response(request)
        finally:
            if getattr(request, "_is_login", False):
                self._free.release()

    def process_view(self, request: HttpRequest, *_: Any) -> HttpResponse | None:
        """Refuse a login if too many others are being checked."""
        match = request.resolver_match
        if request.method != "POST" or match is None or match.url_name != "login":
            return None
        if self._free.acquire(timeout=WAIT):
            request._is_login = True  # type: ignore[attr-defined]
            return None
        text = "Too many people are logging in. Try again in a few seconds."
        headers = {"Retry-After": "3"}
        return HttpResponse(text, "text/plain; charset=utf-8", 503, headers=headers)
