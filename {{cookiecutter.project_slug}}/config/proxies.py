"""Reports a proxy that is not trusted: every page would be redirected to itself forever."""

import logging
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponse

logger = logging.getLogger(__name__)


class ProxyMiddleware:
    """Logs once in each process what to set, if a request that came by https is redirected."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        """Take the next middleware."""
        self.get_response = get_response
        self.has_spoken = False

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Look at the request, and pass it on."""
        says_https = request.headers.get("X-Forwarded-Proto", "").lower() == "https"
        if says_https and settings.SECURE_SSL_REDIRECT and not request.is_secure():
            self._speak(request.META.get("REMOTE_ADDR", ""))
        return self.get_response(request)

    def _speak(self, address: str) -> None:
        if self.has_spoken:
            return
        self.has_spoken = True
        logger.warning(
            "A request from %s says that it came by https. That address is not trusted, so the "
            "request is redirected to https again. If it is the address of your proxy, set "
            "FORWARDED_ALLOW_IPS=%s, or to its network; seen from a container, a proxy on this "
            "machine has the address of Docker's gateway.",
            address,
            address,
        )
