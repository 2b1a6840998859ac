"""Refreshes parts of a page: the browser requests fragments again, and gets those that changed.

A template marks a fragment with `{% fragment "id" every=2 %}…{% endfragment %}`; refresh.js asks
the address of the page for those that are due, and says which version of each it shows. The view
passes its answer through `changed_fragments`. (`data-refresh="2"` and an id on an element of any
page does as well: then the whole page is asked for again.)
"""

import hashlib
import re

from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.cache import patch_vary_headers

# The header of a request for fragments, and of an answer that has only fragments.
HEADER = "Jobstore-Refresh"
# Bytes of one answer; fragments that do not fit are requested again two seconds later.
MAX_BYTES = 10_000
# Fragments that a request can name.
MAX_FRAGMENTS = 100
SHOWN = re.compile(r"([\w-]{1,60})=([\w-]{0,40})", re.ASCII)
# Elements that a browser accepts only inside of a table.
AROUND = {"tr": "<table><tbody>{}</tbody></table>", "tbody": "<table>{}</table>"}


def version_of(content: str) -> str:
    """Return a short digest of a fragment's content."""
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:12]


class Refresh:
    """The fragments that a request asks for, and the answer so far."""

    def __init__(self, shown: dict[str, str]) -> None:
        """Take the requested fragments, with the versions that the browser shows."""
        self._shown = shown
        self._current = dict(shown)
        self._found: list[str] = []
        self._size = 0

    @classmethod
    def of(cls, request: HttpRequest) -> "Refresh | None":
        """Return the fragments that a request asks for; None if it asks for the page."""
        known: Refresh | None = getattr(request, "jobstore_refresh", None)
        if known is None and HEADER in request.headers:
            named = SHOWN.findall(request.headers.get("If-None-Match", ""))[:MAX_FRAGMENTS]
            known = request.jobstore_refresh = cls(dict(named))  # type: ignore[attr-defined]
        return known

    def wants(self, name: str) -> bool:
        """Tell whether a fragment is requested and still fits into the answer."""
        return name in self._shown and self._size < MAX_BYTES

    def add(self, name: str, version: str, html: str, tag: str = "div") -> None:
        """Put a fragment into the answer, if it changed and fits."""
        placed = AROUND.get(tag, "{}").format(html)
        size = len(placed.encode("utf-8", "surrogatepass"))
        has_place = not self._found or self._size + size <= MAX_BYTES
        if self._shown.get(name) == version or not has_place:
            return
        self._current[name] = version
        self._found.append(placed)
        self._size += size

    def answer(self) -> HttpResponse:
        """Return the changed fragments; status 304 if none changed."""
        tag = " ".join(f"{name}={version}" for name, version in self._current.items())
        answer = HttpResponse("".join(self._found), status=200 if self._found else 304)
        answer["ETag"], answer[HEADER] = f'"{tag}"', "fragments"
        patch_vary_headers(answer, [HEADER])
        return answer


def changed_fragments(request: HttpRequest, answer: HttpResponse) -> HttpResponse:
    """Return the page as it is, or only its fragments if the request is for these."""
    refresh = Refresh.of(request)
    if refresh is None or answer.status_code != 200:
        return answer
    if isinstance(answer, TemplateResponse):
        answer.render()
    return refresh.answer()
