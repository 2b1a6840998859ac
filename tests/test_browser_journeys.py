"""What people do from the first click to the last, on PostgreSQL: by keyboard, without scripts, by rights."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from baking import Baked
from sites import PASSWORD, Site, log_in, pages, strictly
from test_browser import JOBS, RUNS, SCHEDULERS, refresh_until, shot
from test_browser_overview import APP, OVERVIEW, axe

__all__ = ["axe"]
pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

AUDIT = "/admin/jobstore/auditentry/"
# As long as an id may be almost, with nowhere to break.
LONG = "w" * 200
ERRANDS = f'''
from jobstore.registry import schedulable, scheduled


@schedulable
def greet(person: str, times: int = 1) -> str:
    """Greet somebody."""
    return f"Hello {{person}}! " * times


@scheduled("interval", id="tidy", hours=4)
def tidy() -> str:
    return "tidy"


@scheduled("interval", id="broken", seconds=5)
def broken() -> None:
    raise ValueError("the disk is full")


@scheduled("interval", id="{LONG}", days=1)
def long() -> None:
    pass
'''
# Users with passwords, each with the rights of a role.
ROLES = f"""
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
looking = ["view_djangojob", "view_djangojobexecution", "view_auditentry"]
for name, rights in {{
    "viewer": [],
    "operator": ["run_djangojob", "pause_djangojob", "cancel_djangojob"],
    "editor": ["add_djangojob", "change_djangojob", "retire_djangojob"],
}}.items():
    user = get_user_model().objects.create_user(name, password={PASSWORD!r}, is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=looking + rights))
"""


@pytest.fixture(scope="module")
def site(browser: Browser, bake: Callable[..., Baked], postgresql: tuple[str, str]) -> Iterator[Site]:
    site = Site(bake(database="postgresql"), database=postgresql[1], errands=ERRANDS)
    try:
        site.manage("shell", "-v0", "-c", ROLES)
        site.start_web()
        site.start_scheduler()
        yield site
    finally:
        site.stop()


Open = Callable[..., Page]


@pytest.fixture(scope="module")
def sessions(browser: Browser, site: Site) -> dict[str, Any]:
    """Log in each user through the form; return their cookies."""
    found = {}
    for user in ("admin", "viewer", "operator", "editor"):
        with browser.new_context(base_url=f"http://{site.address}") as context:
            page = context.new_page()
            log_in(page, "/admin/", user)
            expect(page.get_by_text("Log out")).to_be_visible()
            found[user] = context.storage_state()
    return found


@pytest.fixture
def open_page(browser: Browser, site: Site, sessions: dict[str, Any]) -> Iterator[Open]:
    """Return a function that opens pages under a strict CSP; whatever the browser says fails."""
    with pages(browser, site) as new_page:

        def open_page(path: str, user: str = "admin", width: int = 1280, **options: Any) -> Page:
            page = new_page(sessions[user], width, **options)
            page.route("**/admin/**", strictly)
            page.goto(path)
            return page

        yield open_page


def tab_to(page: Page, target: Locator) -> None:
    """Press Tab until an element has the focus."""
    expect(target).to_have_count(1)
    for _ in range(150):
        if target.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError(f"{target} is not reached by Tab on {page.url}")


def press(page: Page, target: Locator) -> None:
    """Activate a link or a button as the keyboard does."""
    tab_to(page, target)
    page.keyboard.press("Enter")


def type_into(page: Page, label: str, text: str) -> None:
    tab_to(page, page.get_by_label(f"{label}:", exact=True))
    page.keyboard.press("Control+a")
    page.keyboard.type(text)


def test_a_job_is_added_and_run_with_the_keyboard_alone(open_page: Open) -> None:
    page = open_page(JOBS)
    press(page, page.get_by_role("link", name="Add job"))
    press(page, page.get_by_role("link", name="greet", exact=True))
    type_into(page, "Id", "hello")
    tab_to(page, page.get_by_role("radio", checked=True).first)
    while not page.get_by_role("radio", name="Interval").is_checked():
        page.keyboard.press("ArrowDown")
    type_into(page, "Every", "6")
    type_into(page, "Person", "Ada")
    press(page, page.get_by_role("button", name="Preview", exact=True))
    expect(page.locator("#preview")).to_contain_text("Ada")
    press(page, page.get_by_role("button", name="Save"))
    expect(page.locator(".messagelist")).to_contain_text("hello")
    press(page, page.get_by_role("button", name="Run now"))
    expect(page.locator(".messagelist")).to_contain_text("hello ran in")
    press(page, page.get_by_role("link", name="View the run"))
    expect(page.locator(".field-result_text")).to_contain_text("Hello Ada!")


def test_all_that_is_essential_works_without_scripts(open_page: Open) -> None:
    page = open_page(f"{JOBS}add/", java_script_enabled=False)
    page.get_by_role("link", name="greet", exact=True).click()
    page.get_by_label("Id:", exact=True).fill("plain")
    page.get_by_label("Crontab text", exact=True).check()
    page.get_by_label("Crontab line:", exact=True).fill("30 7 * * mon")
    page.get_by_label("Person:", exact=True).fill("Bob")
    page.get_by_role("button", name="Preview").click()
    expect(page.locator("#preview")).to_contain_text("mon at 07:30")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("button", name="Run now").click()
    expect(page.locator(".messagelist")).to_contain_text("plain ran in")
    # All runs that match are run again at once.
    page.goto(RUNS)
    page.get_by_label("Job", exact=True).fill("plain")
    page.get_by_role("button", name="Filter").click()
    page.get_by_role("link", name="Run again…").click()
    page.get_by_role("button", name=re.compile("Yes, run again: 1 run")).click()
    expect(page.locator(".messagelist")).to_contain_text("Asked for again: 1.")
    refresh_until(page, re.compile("^Executed$"))
    expect(page.locator("#result_list tbody tr")).to_have_count(2)
    page.goto(f"{AUDIT}?job=plain")
    expect(page.locator("#result_list")).to_contain_text("asked for a run")


def mark(page: Page) -> None:
    """Remember the page, so that `is_same` tells whether it was loaded again."""
    page.evaluate("window.isSame = true")


def is_same(page: Page) -> bool:
    return bool(page.evaluate("window.isSame === true"))


PREVIEWED = {
    "schedule": (f"{JOBS}tidy/schedule/", "Every", "9", "every 9 hours"),
    "options": (f"{JOBS}tidy/options/", "At the same time", "4", "At the same time"),
    "create": (f"{JOBS}add/?function=jobs.errands.greet", "Person", "Ada", "Ada"),
    "clone": (f"{JOBS}tidy/clone/", "Id", "neat", "It is paused"),
}


@pytest.mark.parametrize("name", PREVIEWED)
def test_a_preview_comes_without_reloading_and_disturbs_nobody(open_page: Open, name: str) -> None:
    address, label, text, shown = PREVIEWED[name]
    page = open_page(address)
    if name == "create":
        page.get_by_label("Id:", exact=True).fill("new")
        page.get_by_role("radio", name="Interval").check()
        page.get_by_label("Every:", exact=True).fill("6")
    field = page.get_by_label(f"{label}:", exact=True)
    field.fill(text)
    mark(page)
    # By the keyboard, from the field.
    field.press("Enter")
    preview, told = page.locator("#preview"), page.locator("form [role=status]")
    expect(preview).to_contain_text(shown)
    expect(preview).to_be_in_viewport()
    expect(preview.locator(".jobstore-upcoming tbody tr")).to_have_count(10)
    expect(told).to_contain_text(re.compile("nothing is saved yet.*It runs every"))
    expect(field).to_be_focused()
    expect(field).to_have_value(text)
    # Twice, by the mouse.
    button = page.get_by_role("button", name="Preview", exact=True)
    told.evaluate("element => { element.textContent = 'of the last preview' }")
    button.dblclick()
    expect(told).to_contain_text("nothing is saved yet")
    expect(preview).to_have_count(1)
    expect(button).to_be_focused()
    assert is_same(page)


def test_mistakes_are_shown_as_without_scripts(open_page: Open) -> None:
    page = open_page(f"{JOBS}tidy/schedule/")
    every, button = page.get_by_label("Every:", exact=True), page.get_by_role("button", name="Preview")
    every.fill("8")
    button.click()
    expect(page.locator("#preview")).to_contain_text("every 8 hours")
    mark(page)
    every.fill("-3")
    button.click()
    expect(page.get_by_role("alert")).to_contain_text("Nothing is saved.")
    expect(page.locator(".field-every .errorlist")).to_be_visible()
    expect(page.locator("#preview")).to_have_count(0)
    expect(every).to_have_value("-3")
    assert not is_same(page)
    # They are gone with the next preview.
    every.fill("7")
    button.click()
    expect(page.locator("#preview")).to_contain_text("every 7 hours")
    expect(page.get_by_role("alert")).to_have_count(0)


def of_scripts(act: Callable[[Route], Any]) -> Callable[[Route], None]:
    """Do something with requests of the script; those of the browser itself go on."""

    def handler(route: Route) -> None:
        if "jobstore-refresh" in route.request.headers:
            act(route)
        else:
            route.fallback()

    return handler


SPOILT: dict[str, Callable[[Route], None]] = {
    "no network": lambda route: route.abort(),
    "logged out": lambda route: route.fulfill(status=302, headers={"location": "/admin/login/"}),
    "forbidden": lambda route: route.fulfill(status=403, body="no"),
    "broken": lambda route: route.fulfill(status=500, body="no"),
    "another page": lambda route: route.fulfill(body="<p>Down for maintenance</p>"),
}


def test_whatever_is_answered_to_the_script_nothing_is_lost(
    browser: Browser, site: Site, sessions: dict[str, Any]
) -> None:
    # A context of its own: its browser complains about what is spoilt.
    options = {"base_url": f"http://{site.address}", "storage_state": sessions["admin"]}
    with browser.new_context(**options) as context:
        page = context.new_page()
        for name, spoil in SPOILT.items():
            page.goto(f"{JOBS}tidy/schedule/")
            mark(page)
            page.route("**/admin/**", of_scripts(spoil))
            page.get_by_label("Every:", exact=True).fill("7")
            page.get_by_role("button", name="Preview").click()
            expect(page.locator("#preview"), name).to_contain_text("every 7 hours")
            expect(page.get_by_label("Every:", exact=True), name).to_have_value("7")
            assert not is_same(page), name
            page.unroute("**/admin/**")


def test_only_the_last_of_several_previews_is_shown(open_page: Open) -> None:
    page = open_page(f"{JOBS}tidy/schedule/")
    held: list[Route] = []
    page.route("**/schedule/", of_scripts(held.append))
    mark(page)
    told = page.locator("form [role=status]")
    told.evaluate("element => { element.textContent = 'of an earlier preview' }")
    for hours in ("7", "8", "9"):
        page.get_by_label("Every:", exact=True).fill(hours)
        page.get_by_role("button", name="Preview").click()
    # Emptied, so that a screen reader says the same words again.
    expect(told).to_have_text("")
    while len(held) < 3:
        page.wait_for_timeout(50)
    first, second, third = held
    third.continue_()
    expect(page.locator("#preview")).to_contain_text("every 9 hours")
    second.continue_()
    first.fulfill(body="<p>Down for maintenance</p>")
    page.wait_for_timeout(1000)
    expect(page.locator("#preview")).to_contain_text("every 9 hours")
    assert is_same(page)


def test_a_declared_job_is_edited_deployed_and_reset(open_page: Open, site: Site) -> None:
    page = open_page(f"{JOBS}tidy/schedule/")
    page.get_by_label("Every").fill("5")
    page.get_by_role("button", name="Preview").click()
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".field-declared_in_code")).to_contain_text("it was changed here")
    # Deployed: the code's other parts are taken over, and what was edited stays.
    file = site.project.path / "jobs" / "errands.py"
    file.write_text(file.read_text().replace('id="tidy", hours=4', 'id="tidy", hours=4, max_instances=3'))
    site.stop()
    site.start_web()
    site.start_scheduler()
    page.reload()
    expect(page.locator(".field-max_instances")).to_contain_text("3")
    expect(page.locator(".jobstore-differences")).to_contain_text("every 5 hours")
    expect(page.locator(".jobstore-differences")).to_contain_text("every 4 hours")
    shot(page, "edited")
    page.get_by_role("link", name="Reset to code").click()
    page.get_by_role("button", name="Yes, reset to code").click()
    expect(page.locator(".jobstore-differences")).to_have_count(0)
    expect(page.locator(".field-trigger_in_words")).to_contain_text("every 4 hours")


def test_each_role_sees_and_does_its_own(open_page: Open) -> None:
    buttons = {
        "viewer": [],
        "operator": ["Run now", "Pause"],
        "editor": ["Change schedule", "Change arguments and options", "Clone", "Retire"],
    }
    for user, offered in buttons.items():
        page = open_page(f"{JOBS}broken/change/", user)
        expect(page.locator(".jobstore-buttons :is(button, a)")).to_have_text(offered)
        expect(page.get_by_role("heading", name="Latest changes")).to_be_visible()
    page = open_page(f"{JOBS}broken/change/", "operator")
    page.get_by_label("Reason of a pause").fill("the disk")
    page.get_by_role("button", name="Pause", exact=True).click()
    expect(page.locator(".field-next_run")).to_contain_text("the disk")
    expect(page.locator(".jobstore-diff").first).to_contain_text("the disk")
    page.get_by_role("button", name="Resume").click()
    expect(page.locator(".field-next_run")).not_to_contain_text("the disk")


PAGES = {
    "start": "/admin/",
    "app": APP,
    "overview": OVERVIEW,
    "jobs": JOBS,
    "job": f"{JOBS}broken/change/",
    "long": f"{JOBS}{LONG}/change/",
    "editor": f"{JOBS}broken/schedule/",
    "options": f"{JOBS}broken/options/",
    "functions": f"{JOBS}add/",
    "create": f"{JOBS}add/?function=jobs.errands.greet",
    "preview": f"{JOBS}broken/schedule/",
    "runs": RUNS,
    "run": f"{RUNS}?job=broken&status=Error!",
    "confirmation": f"{RUNS}all/run-again/?job=broken&status=Error!",
    "audit": AUDIT,
    "schedulers": SCHEDULERS,
}


def look_at(page: Page, name: str) -> None:
    """Open a page by its name, and go on where the page itself is one click further."""
    page.goto(PAGES[name])
    if name == "preview":
        page.get_by_label("Every").fill("7")
        page.get_by_role("button", name="Preview").click()
        expect(page.locator("#preview")).to_be_visible()
    if name == "run":
        page.locator("#result_list tbody th a").first.click()
        expect(page.locator(".field-traceback_text")).to_contain_text("in broken")


def test_every_page_fits_a_small_screen_under_a_strict_policy(open_page: Open) -> None:
    page = open_page("/admin/", width=360)
    for name in PAGES:
        look_at(page, name)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, name
        # What the policy forbids is reported a moment later; the fixture fails on it.
        page.wait_for_timeout(200)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_is_accessible(open_page: Open, axe: str, theme: str) -> None:
    page = open_page("/admin/", color_scheme=theme, bypass_csp=True)
    found = {}
    for name in PAGES:
        look_at(page, name)
        shot(page, f"journey-{name}-{theme}")
        page.evaluate(axe)
        violations = page.evaluate("axe.run().then(result => result.violations)")
        if violations:
            found[name] = [(one["id"], [node["html"] for node in one["nodes"]]) for one in violations]
    assert found == {}, json.dumps(found, indent=1)
