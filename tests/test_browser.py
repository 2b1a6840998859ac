"""What a person sees: the admin in a real browser, before a real web server and a real scheduler."""

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Error, Page, expect

from baking import ROOT, Baked
from sites import USER, Site, log_in, pages

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

SCREENSHOTS = ROOT / "build" / "screenshots"
BROKEN_JOB = """
from jobstore.registry import scheduled


@scheduled("interval", id="broken", seconds=5)
def broken():
    raise ValueError("the disk is full")
"""

SLOW_JOB = """
import time

from jobstore.registry import scheduled
from jobstore.runs import progress


@scheduled("interval", id="slow", days=1)
def slow():
    for number in range(1, 21):
        time.sleep(0.5)
        progress(number, 20, f"order {number}")
    return "20 orders"
"""

# WCAG's contrast of every badge and banner with what lies behind it.
CONTRASTS = """() => [...document.querySelectorAll('.jobstore-badge, .jobstore-banner')].map(element => {
    const luminance = colour => {
        const [r, g, b] = colour.match(/[0-9.]+/g).map(Number).map(c => c / 255)
            .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const style = getComputedStyle(element);
    let behind = element;
    while (getComputedStyle(behind).backgroundColor.endsWith(', 0)')) behind = behind.parentElement;
    const pair = [luminance(style.color), luminance(getComputedStyle(behind).backgroundColor)].sort();
    return [element.textContent.trim(), (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05)];
})"""


@pytest.fixture(scope="module")
def site(browser: Browser, bake: Callable[..., Baked]) -> Iterator[Site]:
    site = Site(bake(database="sqlite", time_zone="Europe/Berlin"), broken=BROKEN_JOB, slow=SLOW_JOB)
    try:
        site.start_web()
        site.start_scheduler()
        yield site
    finally:
        site.stop()


@pytest.fixture(scope="module")
def session(browser: Browser, site: Site) -> Any:
    """Log in through the form; return the cookies."""
    with browser.new_context(base_url=f"http://{site.address}") as context:
        page = context.new_page()
        log_in(page)
        expect(page.get_by_role("link", name="Jobs", exact=True).first).to_be_visible()
        return context.storage_state()


Open = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, site: Site, session: Any) -> Iterator[Open]:
    """Return a function that opens a page, logged in; whatever the browser complains about fails."""
    with pages(browser, site) as new_page:

        def open_page(path: str, theme: str = "light") -> Page:
            page = new_page(session, width=1440, color_scheme=theme)
            page.goto(path)
            return page

        yield open_page


def shot(page: Page, name: str) -> None:
    """Keep what is seen, for a person to look at."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    try:
        page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)
    except Error:
        # On a busy machine Chromium now and then has no frame to show, and has one a moment later.
        page.wait_for_timeout(1000)
        page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def refresh_until(page: Page, text: str | re.Pattern[str], seconds: float = 30) -> None:
    """Load the page again until the text is on it."""
    deadline = time.monotonic() + seconds
    while page.locator("#result_list").get_by_text(text).count() == 0:
        assert time.monotonic() < deadline, f"{text!r} did not appear on {page.url}"
        page.wait_for_timeout(500)
        page.reload()


JOBS = "/admin/jobstore/djangojob/"
RUNS = "/admin/jobstore/djangojobexecution/"
SCHEDULERS = "/admin/jobstore/schedulerinstance/"
HEARTBEAT = f"{JOBS}heartbeat/change/"


def choose(page: Page, job_id: str, action: str) -> None:
    """Tick a job in the list and carry out an action."""
    page.get_by_role("row", name=re.compile(rf"\b{job_id}\b")).get_by_role("checkbox").check()
    page.locator("select[name=action]").select_option(label=action)
    page.locator("button[name=index]").click()


def test_runs_of_the_sample_job_appear_in_the_history(open_page: Open) -> None:
    page = open_page(f"{RUNS}?job=heartbeat")
    refresh_until(page, re.compile("^Executed$"))
    expect(page.locator("#result_list").get_by_role("link", name="heartbeat").first).to_be_visible()


def test_running_a_job_now_tells_how_it_went(open_page: Open) -> None:
    page = open_page(JOBS)
    choose(page, "heartbeat", "Run the selected jobs now")
    message = page.locator(".messagelist")
    expect(message).to_contain_text(re.compile(r"Job heartbeat ran in (< )?\d+\.\d{3} s\."))
    shot(page, "run-now")
    message.get_by_role("link", name="View the run").click()
    expect(page.locator(".field-asked_by")).to_contain_text(USER)


def test_running_a_broken_job_now_tells_why_it_failed(open_page: Open) -> None:
    page = open_page(JOBS)
    choose(page, "broken", "Run the selected jobs now")
    expect(page.locator(".messagelist .error")).to_contain_text("ValueError: the disk is full")
    shot(page, "run-now-failed")


def test_a_job_is_paused_and_resumed_by_its_buttons(open_page: Open) -> None:
    page = open_page(HEARTBEAT)
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".field-next_run")).to_contain_text("paused")
    shot(page, "paused")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".field-next_run")).not_to_contain_text("paused")


def test_a_schedule_is_changed_after_a_preview_and_reset_to_code(open_page: Open) -> None:
    page = open_page(f"{JOBS}prune-history/schedule/")
    page.get_by_label("Interval", exact=True).check()
    page.get_by_label("Every").fill("45")
    page.keyboard.press("Enter")
    expect(page.locator("#preview")).to_contain_text("every 45 minutes")
    shot(page, "schedule-preview")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".messagelist")).to_contain_text("runs every 45 minutes")
    page.get_by_role("link", name="Reset to code").click()
    page.get_by_role("button", name="Yes, reset to code").click()
    expect(page.locator(".messagelist")).to_contain_text("again as the code declares it")


def test_a_run_is_followed_to_its_end_without_reloading(open_page: Open, site: Site) -> None:
    page = open_page(f"{JOBS}slow/change/")
    page.evaluate("window.isStillThere = true")
    page.get_by_label("Reason of a pause").fill("half a reas")
    site.manage("jobs", "run", "slow")
    running = page.locator("#jobstore-runs tbody tr").first
    expect(running).to_contain_text(re.compile(r"\d+ % \(\d+ of 20\): order \d+"), timeout=10_000)
    expect(page.get_by_label("Reason of a pause")).to_be_focused()
    expect(page.get_by_label("Reason of a pause")).to_have_value("half a reas")
    assert page.evaluate("window.isStillThere")
    running.get_by_role("link").click()
    page.evaluate("window.isStillThere = true")
    far = page.locator(".field-progress")
    expect(far).to_contain_text(" left")
    shot(page, "run-running")
    told = far.inner_text()
    expect(far).not_to_have_text(told)
    expect(page.locator(".field-result_text")).to_contain_text("20 orders", timeout=20_000)
    expect(page.locator(".field-outcome")).to_contain_text("Executed")
    expect(far).to_contain_text("100 % (20 of 20): order 20")
    expect(page.locator("[data-refresh-controls]")).to_be_hidden()
    assert page.evaluate("window.isStillThere")
    shot(page, "run-ended")


def test_retiring_asks_before_it_acts(open_page: Open) -> None:
    page = open_page(JOBS)
    choose(page, "prune-history", "Retire the selected jobs")
    expect(page.get_by_text("Its history stays")).to_be_visible()
    shot(page, "retire")
    page.get_by_role("link", name="No, take me back").click()
    expect(page.locator("#result_list")).to_contain_text("prune-history")


def test_a_stopped_scheduler_is_seen_and_so_is_the_next(open_page: Open, site: Site) -> None:
    page = open_page(SCHEDULERS)
    expect(page.get_by_text("One scheduler is active")).to_be_visible()
    site.stop_scheduler()
    page.reload()
    expect(page.get_by_text("No scheduler is active")).to_be_visible()
    shot(page, "nobody-is-active")
    site.start_scheduler()
    page.reload()
    expect(page.get_by_text("One scheduler is active")).to_be_visible()


PAGES = {"index": "/admin/", "jobs": JOBS, "job": HEARTBEAT, "history": RUNS, "schedulers": SCHEDULERS}


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_every_page_is_readable_in_both_themes(open_page: Open, name: str, theme: str) -> None:
    page = open_page(PAGES[name], theme)
    shot(page, f"{name}-{theme}")
    pale = {text: ratio for text, ratio in page.evaluate(CONTRASTS) if ratio < 4.5}
    assert pale == {}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_failed_run_shows_its_traceback(open_page: Open, theme: str) -> None:
    page = open_page(f"{RUNS}?job=broken&status__exact=Error!", theme)
    refresh_until(page, re.compile("ValueError"))
    page.locator("#result_list tbody th a").first.click()
    expect(page.locator(".field-traceback_text")).to_contain_text("in broken")
    shot(page, f"run-{theme}")


# What reaches beyond its list or the window, and cells whose column nothing names.
CUT = r"""() => {
    const right = document.documentElement.clientWidth + 1;
    const shown = [...document.querySelectorAll('#content *')].filter(element =>
        element.checkVisibility() && element.getClientRects().length
        && !element.closest('thead, .visually-hidden'));
    const beyond = shown.filter(element => element.getBoundingClientRect().right > right
        || (element.matches('.results, table, td, th') && element.scrollWidth > element.clientWidth + 1));
    const nameless = shown.filter(element => element.matches('#result_list tbody td[class^=field]')
        && !/\w/.test(getComputedStyle(element, '::before').content));
    return [...beyond, ...nameless].map(element => element.outerHTML.slice(0, 120));
}"""


@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_cut_on_a_small_screen(open_page: Open, name: str) -> None:
    page = open_page(PAGES[name])
    page.set_viewport_size({"width": 360, "height": 800})
    shot(page, f"{name}-small")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate(CUT) == []


def test_no_list_is_cut_on_a_laptop(open_page: Open) -> None:
    for address in (JOBS, RUNS, SCHEDULERS):
        page = open_page(address)
        page.set_viewport_size({"width": 1280, "height": 800})
        widths = "[...document.querySelectorAll('.results')].map(e => e.scrollWidth - e.clientWidth)"
        assert max(page.evaluate(widths)) <= 0, address


def test_filters_are_set_sent_on_and_removed_without_scripts(
    browser: Browser, open_page: Open, site: Site, session: Any
) -> None:
    refresh_until(open_page(f"{RUNS}?job=broken&status=Error!"), re.compile("ValueError"))
    address = f"http://{site.address}"
    with browser.new_context(base_url=address, storage_state=session, java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(RUNS)
        page.get_by_label("Error!", exact=True).check()
        page.get_by_label("Job", exact=True).fill("broken")
        page.get_by_role("button", name="Filter").click()
        assert page.url == f"{address}{RUNS}?job=broken&status=Error%21"
        page.get_by_role("link", name="Job: broken").click()
        assert page.url == f"{address}{RUNS}?status=Error%21"
        page.get_by_role("link", name="Run again…").click()
        expect(page.get_by_text("Status: Error!")).to_be_visible()
        shot(page, "run-again")
