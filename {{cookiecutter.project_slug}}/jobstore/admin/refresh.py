"""Refreshes parts of a page: the browser requests fragments again, and gets those that changed.

A template marks a fragment with `{% fragment "id" every=2 %}…{% endfragment %}`; refresh.js asks
the address of the page for those that are due, and says which version of each it shows. The view
passes its answer through `changed_fragments`. An answer is small: fragments are made in the order
in which they are requested, the longest waiting first, until it is full. The others are not made,
and the browser requests them before all others. (`data-refresh="2"` and an id on an element of any
page does as well: then the whole page is asked for again.)
"""

import dataclasses
import hashlib
import re
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.cache import patch_vary_headers

# The header of a request for fragments, and of an answer that has only fragments.
HEADER = "Jobstore-Refresh"
# The header of an answer that names the fragments that had no place in it.
LEFT = "Jobstore-Left"
# Bytes of one answer, of which the first changed fragment alone may take more.
MAX_BYTES = 10_000
# Fragments that a request can name.
MAX_FRAGMENTS = 100
SHOWN = re.compile(r"([\w-]{1,60})=([\w-]{0,40})", re.ASCII)
# Elements that a browser accepts only inside of a table.
AROUND = {"tr": "<table><tbody>{}</tbody></table>", "tbody": "<table>{}</table>"}


def version_of(content: str) -> str:
    """Return a short digest of a fragment's content."""
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:12]


@dataclasses.dataclass(frozen=True)
class Fragment:
    """One fragment as it is now: its element, and the version of this."""

    version: str
    html: str
    tag: str = "div"


class Refresh:
    """The fragments that a request asks for, and the answer to it."""

    def __init__(self, shown: dict[str, str]) -> None:
        """Take the requested fragments in their order, with the versions that the browser shows."""
        self._shown = shown
        self._offered: dict[str, Callable[[], Fragment]] = {}

    @classmethod
    def of(cls, request: HttpRequest) -> "Refresh | None":
        """Return the fragments that a request asks for; None if it asks for the page."""
        known: Refresh | None = getattr(request, "jobstore_refresh", None)
        if known is None and HEADER in request.headers:
            named = SHOWN.findall(request.headers.get("If-None-Match", ""))[:MAX_FRAGMENTS]
            known = request.jobstore_refresh = cls(dict(named))  # type: ignore[attr-defined]
        return known

    def wants(self, name: str) -> bool:
        """Tell whether a fragment is requested."""
        return name in self._shown

    def offer(self, name: str, make: Callable[[], Fragment]) -> None:
        """Take what makes a fragment, if it is requested. It is called if the answer has place."""
        if self.wants(name):
            self._offered[name] = make

    def answer(self) -> HttpResponse:
        """Make fragments while they fit, and return those that changed; status 304 if none did."""
        current = dict(self._shown)
        found: list[str] = []
        size = 0
        names = iter(self._shown)
        left = []
        for name in names:
            if name not in self._offered:
                continue
            fragment = self._offered[name]()
            if fragment.version == self._shown[name]:
                continue
            placed = AROUND.get(fragment.tag, "{}").format(fragment.html)
            length = len(placed.encode("utf-8", "surrogatepass"))
            if found and size + length > MAX_BYTES:
                left = [name, *names]
                break
            current[name] = fragment.version
            found.append(placed)
            size += length
        tag = " ".join(f"{name}={version}" for name, version in current.items())
        answer = HttpResponse("".join(found), status=200 if found else 304)
        answer["ETag"], answer[HEADER] = f'"{tag}"', "fragments"
        if left:
            answer[LEFT] = " ".join(left)
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
