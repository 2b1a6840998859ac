"""Template tags of the admin's pages: refreshed fragments, the overview, fields of schedules."""

import functools
import re
from typing import Any, cast

from django import template
from django.contrib import admin
from django.contrib.admin.sites import all_sites
from django.template.base import FilterExpression, NodeList, Parser, Token, token_kwargs
from django.utils.html import format_html
from django.utils.safestring import SafeString

from jobstore.admin.dashboard.entry import Overview
from jobstore.admin.dashboard.page import Page
from jobstore.admin.refresh import Fragment, Refresh, version_of
from jobstore.admin.schedule_rows import schedule_row

register = template.Library()
register.filter(schedule_row)

# What a template is indented with, which is half of what Django's own would send.
BETWEEN_TAGS = re.compile(r"(?<=>)\s*\n\s*(?=<)")
OPTIONS = {"every", "tag", "class", "hidden"}


class FragmentNode(template.Node):
    """An element whose content the browser requests again."""

    def __init__(
        self, name: FilterExpression, options: dict[str, FilterExpression], nodelist: NodeList
    ) -> None:
        self._name = name
        self._options = options
        self.nodelist = nodelist

    def render(self, context: template.Context) -> SafeString:
        """Render the element; of a request for fragments, only tell how, and return nothing."""
        name = str(self._name.resolve(context))
        request = context.get("request")
        refresh = Refresh.of(request) if request is not None else None
        if refresh is None:
            return SafeString(self._made(name, context).html)
        if refresh.wants(name):
            # Of its own: the page is through before fragments are made, and loops have gone on.
            kept = context.new(cast("dict[str, Any]", context.flatten()))
            refresh.offer(name, functools.partial(self._made, name, kept))
        return SafeString("")

    def _made(self, name: str, context: template.Context) -> Fragment:
        options = {key: value.resolve(context) for key, value in self._options.items()}
        content = SafeString(BETWEEN_TAGS.sub("\n", self.nodelist.render(context)))
        tag, every = options.get("tag", "div"), options.get("every", 2)
        hidden = SafeString(" hidden") if options.get("hidden") else ""
        version = version_of(f"{every}{hidden}{content}")
        # What does not change any more is not asked for again.
        often = format_html(' data-refresh="{}"', every) if every else ""
        html = format_html(
            '<{} id="{}" class="{}"{} data-version="{}"{}>{}</{}>',
            *(tag, name, options.get("class", ""), often, version, hidden, content, tag),
        )
        return Fragment(version, html, str(tag))


@register.tag
def fragment(parser: Parser, token: Token) -> FragmentNode:
    """Mark a part of a page that is requested again: {% fragment "id" every=2 tag="section" %}.

    `every` is in seconds, 0 for never; `class` and `hidden` are attributes of the element.
    """
    _, *bits = token.split_contents()
    if not bits:
        raise template.TemplateSyntaxError("fragment needs an id.")
    name = parser.compile_filter(bits.pop(0))
    options = token_kwargs(bits, parser)
    if bits or set(options) - OPTIONS:
        known = ", ".join(sorted(OPTIONS))
        raise template.TemplateSyntaxError(f"fragment takes an id and {known}.")
    nodelist = parser.parse(("endfragment",))
    parser.delete_first_token()
    return FragmentNode(name, options, nodelist)


@register.simple_tag(takes_context=True)
def jobstore_overview(context: template.Context) -> Any:
    """Return the overview for the page of the app; None if the site or the user has none."""
    request = context.get("request")
    if request is None:
        return None
    site = _site_of(request)
    page = site._registry.get(Overview)
    if page is None or not page.has_view_permission(request):
        return None
    return Page(site, request)


def _site_of(request: Any) -> admin.AdminSite:
    """Return the admin site that answers a request."""
    name = getattr(request, "current_app", None)
    return next((site for site in all_sites if site.name == name), admin.site)
