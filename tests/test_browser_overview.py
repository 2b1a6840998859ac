"""The overview in a real browser: it follows what happens, disturbs nobody, and is accessible."""

import json
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Response, Route, expect

from baking import Baked
from layers import needs
from sites import STRICT, Site, log_in, pages, strictly
from test_browser import shot

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

OVERVIEW, APP = "/admin/jobstore/overview/", "/admin/jobstore/"
# Seconds in which a browser has looked again.
LOOK = 3


@pytest.fixture(scope="module")
def site(browser: Browser, bake: Callable[..., Baked]) -> Iterator[Site]:
    site = Site(bake(database="sqlite", time_zone="Europe/Berlin"))
    try:
        site.start_web()
        site.start_scheduler()
        yield site
    finally:
        site.stop()


@pytest.fixture(scope="module")
def session(browser: Browser, site: Site) -> Any:
    with browser.new_context(base_url=f"http://{site.address}") as context:
        page = context.new_page()
        log_in(page)
        expect(page.get_by_role("link", name="Overview").first).to_be_visible()
        return context.storage_state()


Open = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, site: Site, session: Any) -> Iterator[Open]:
    """Return a function that opens a page under a strict CSP; whatever the browser says fails."""
    with pages(browser, site) as new_page:

        def open_page(path: str = OVERVIEW, width: int = 1280, **options: Any) -> Page:
            page = new_page(session, width, **options)
            page.route(f"**{path}", strictly)
            assert page.goto(path).headers["content-security-policy"] == STRICT  # type: ignore[union-attr]
            return page

        yield open_page


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the checker of accessibility that browsers' makers use, as npm has it."""
    needs("npm")
    folder = tmp_path_factory.mktemp("axe")
    subprocess.run(["npm", "pack", "axe-core@4"], cwd=folder, check=True, capture_output=True, timeout=100)
    [archive] = Path(folder).glob("*.tgz")
    with tarfile.open(archive) as tar:
        file = tar.extractfile("package/axe.min.js")
        assert file is not None
        return file.read().decode()


def executed(page: Page) -> int:
    return int(page.locator(".jobstore-counts b").first.inner_text().replace(",", ""))


def refreshes(page: Page, seconds: float = LOOK) -> list[str]:
    """Return the requests for fragments within some seconds."""
    seen: list[str] = []
    page.on("request", lambda one: seen.append(one.url) if one.headers.get("jobstore-refresh") else None)
    page.wait_for_timeout(1000 * seconds)
    return seen


def test_a_run_appears_without_reloading_and_disturbs_nobody(open_page: Open) -> None:
    page = open_page(width=900)
    page.evaluate("window.isStillThere = true")
    page.get_by_text("As a table").click()
    link = page.locator("#ov-job-0 a").first
    link.focus()
    page.evaluate("window.scrollTo(0, 300)")
    before, scrolled = executed(page), page.evaluate("window.scrollY")
    expect(page.locator(".jobstore-counts b").first).not_to_have_text(str(before), timeout=30_000)
    assert executed(page) > before
    assert page.evaluate("window.isStillThere")
    assert page.evaluate("window.scrollY") == scrolled > 0
    assert page.locator("#ov-minutes details").get_attribute("open") is not None
    expect(link).to_be_focused()


def test_text_that_somebody_selects_stays_as_it_is(open_page: Open) -> None:
    page = open_page()
    page.evaluate("getSelection().selectAllChildren(document.getElementById('ov-next'))")
    before = page.evaluate("getSelection().toString()")
    page.locator("#ov-next").evaluate("element => element.dataset.version = 'old'")
    page.wait_for_timeout(1000 * 2 * LOOK)
    assert page.evaluate("getSelection().toString()") == before
    assert page.locator("#ov-next").get_attribute("data-version") == "old"


def test_it_looks_only_while_somebody_sees_it(open_page: Open) -> None:
    page = open_page()
    page.wait_for_timeout(1000 * LOOK)
    hide = "Object.defineProperty(document, 'hidden', {configurable: true, get: () => %s});"
    tell = "document.dispatchEvent(new Event('visibilitychange'))"
    page.evaluate(hide % "true" + tell)
    page.wait_for_timeout(1000)
    assert refreshes(page, 2 * LOOK) == []
    page.evaluate(hide % "false" + tell)
    assert refreshes(page)


def test_it_is_paused_and_resumed_by_keyboard(open_page: Open) -> None:
    page = open_page()
    page.get_by_role("button", name="Stop refreshing").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".jobstore-live")).to_contain_text("Paused at")
    page.wait_for_timeout(1000)
    assert refreshes(page, 2 * LOOK) == []
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Stop refreshing")).to_be_visible()
    assert refreshes(page)


def test_a_refresh_is_small_and_empty_if_nothing_changed(open_page: Open) -> None:
    page = open_page()
    answers: list[tuple[int, int]] = []

    def note(answer: Response) -> None:
        if answer.request.headers.get("jobstore-refresh"):
            answers.append((answer.status, int(answer.headers.get("content-length", 0))))

    page.on("response", note)
    page.wait_for_timeout(15_000)
    assert len(answers) >= 5
    assert all(size <= 10_000 for _status, size in answers)
    assert {status for status, _size in answers} <= {200, 304}


def test_a_scheduler_that_stops_is_seen_without_reloading(open_page: Open, site: Site) -> None:
    page = open_page()
    expect(page.get_by_text("One scheduler is active")).to_be_visible()
    site.stop_scheduler()
    expect(page.get_by_text("No scheduler is active: no job runs.")).to_be_visible(timeout=20_000)
    shot(page, "overview-nobody")
    site.start_scheduler()
    expect(page.get_by_text("One scheduler is active")).to_be_visible(timeout=20_000)


def test_everything_is_there_without_javascript(open_page: Open) -> None:
    page = open_page(java_script_enabled=False)
    expect(page.get_by_text("One scheduler is active")).to_be_visible()
    expect(page.locator("#ov-next")).to_contain_text("heartbeat")
    expect(page.locator(".jobstore-jobs svg[role=img]").first).to_be_visible()
    page.get_by_text("As a table").click()
    expect(page.locator("#ov-minutes table")).to_be_visible()
    page.get_by_role("link", name="Reload").click()
    expect(page).to_have_url(f"{page.url.split('/admin')[0]}{OVERVIEW}")


@pytest.mark.parametrize("path", [OVERVIEW, APP])
@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (1280, "dark"), (360, "light"), (360, "dark")])
def test_it_is_accessible_and_fits(open_page: Open, axe: str, path: str, width: int, theme: str) -> None:
    page = open_page(path, width, color_scheme=theme, bypass_csp=True)
    shot(page, f"overview-{'app-' if path == APP else ''}{width}-{theme}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.evaluate(axe)
    found = page.evaluate("axe.run().then(result => result.violations)")
    assert found == [], json.dumps([(one["id"], [node["html"] for node in one["nodes"]]) for one in found])


def test_an_attribute_alone_has_a_part_of_any_page_refreshed(open_page: Open) -> None:
    page = open_page()
    script = page.locator("script[src*='/refresh.']").evaluate("element => element.outerHTML")
    served: list[int] = []

    def count(route: Route) -> None:
        served.append(1)
        text = (
            f'<!DOCTYPE html><p id="part" data-refresh="2">{len(served)}</p><p id="other">{len(served)}</p>'
        )
        route.fulfill(
            body=text + script, content_type="text/html", headers={"content-security-policy": STRICT}
        )

    page.route("**/plain/", count)
    page.goto("/plain/")
    expect(page.locator("#part")).not_to_have_text("1", timeout=10_000)
    expect(page.locator("#other")).to_have_text("1")


def test_what_had_no_place_in_an_answer_is_asked_for_first_at_the_next_look(open_page: Open) -> None:
    page = open_page()
    script = page.locator("script[src*='/refresh.']").evaluate("element => element.outerHTML")
    asked: list[list[str]] = []

    def answer(route: Route) -> None:
        if not route.request.headers.get("jobstore-refresh"):
            parts = "".join(
                f'<p id="{name}" data-refresh="{every}"></p>'
                for name, every in (("a", 2), ("b", 2), ("c", 4), ("d", 4))
            )
            headers = {"content-security-policy": STRICT}
            route.fulfill(body=f"<!DOCTYPE html>{parts}{script}", content_type="text/html", headers=headers)
            return
        shown = route.request.headers["if-none-match"].strip('"')
        asked.append([one.partition("=")[0] for one in shown.split()])
        # All four are due together at the second look, of which two have place.
        left = {"jobstore-left": "c d"} if len(asked) == 2 else {}
        route.fulfill(status=304, headers=left)

    page.route("**/plain/", answer)
    page.goto("/plain/")
    page.wait_for_timeout(1000 * 4 * LOOK)
    assert sorted(asked[1]) == ["a", "b", "c", "d"]
    assert asked[2][:2] == ["c", "d"]
