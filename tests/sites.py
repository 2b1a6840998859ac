"""A baked project on this machine, with a web server and a scheduler, for a browser to look at."""

import contextlib
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, Route, sync_playwright

from baking import Baked, clean_environment
from stacks import free_port

USER, PASSWORD = "admin", "a password for this test"

# Without a sandbox, which root may not have, and without calls to its maker.
CHROMIUM = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser of this machine, and end it afterwards."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM)
        yield started
        started.close()


def log_in(page: Page, address: str = "/", user: str = USER) -> None:
    """Go to a page that asks who is there, and log in, as the administrator unless told otherwise."""
    page.goto(address)
    page.get_by_label("Username").fill(user)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()


class Site:
    """A baked project as it runs on one host, with verbs."""

    def __init__(self, project: Baked, *, database: str = "", **jobs: str) -> None:
        """Prepare the database and the static files, as the project's README says.

        :param database: the address of a database; empty for that of the project's .env.
        :param jobs: the text of further files in jobs/, by name.
        """
        self.project = project
        self.address = f"127.0.0.1:{free_port()}"
        self.variables = {
            "WEB_BIND": self.address,
            "SCHEDULER_HEALTH_ADDRESS": f"127.0.0.1:{free_port()}",
            "DJANGO_SUPERUSER_PASSWORD": PASSWORD,
        }
        if database:
            self.variables["DATABASE_URL"] = database
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.web: subprocess.Popen[bytes] | None = None
        for name, text in jobs.items():
            (project.path / "jobs" / f"{name}.py").write_text(text)
        self.manage("migrate")
        self.manage("collectstatic", "--no-input")
        self.manage("createsuperuser", "--no-input", f"--username={USER}", "--email=a@example.org")

    def manage(self, *arguments: str) -> None:
        self.project.run(sys.executable, "manage.py", *arguments, **self.variables)  # type: ignore[arg-type]

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a program of the project; what it says is in log.txt."""
        with (self.project.path / "log.txt").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *arguments],
                cwd=self.project.path,
                env=clean_environment(**self.variables),
                stdout=log,
                stderr=log,
            )

    def start_web(self) -> None:
        self.web = self.start("-m", "gunicorn", "config.wsgi", "-c", "config/gunicorn.py")
        self.wait_for("/health/ready")

    def start_scheduler(self) -> None:
        self.scheduler = self.start("manage.py", "runapscheduler")
        self.wait_for("/health/scheduler")

    def stop_scheduler(self) -> None:
        if self.scheduler:
            stop(self.scheduler)
            self.scheduler = None

    def stop(self) -> None:
        self.stop_scheduler()
        self.stop_web()

    def stop_web(self) -> None:
        if self.web:
            stop(self.web)
            self.web = None

    def wait_for(self, path: str, seconds: float = 30) -> None:
        """Wait until a health page answers 200."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"http://{self.address}{path}", timeout=5):
                    return
            except OSError:
                time.sleep(0.2)
        log = (self.project.path / "log.txt").read_text()
        raise AssertionError(f"{path} does not answer 200.\n{log[-3000:]}")


# A policy under which a page may load and run what comes from its own site as files, nothing else.
STRICT = "default-src 'self'; object-src 'none'; base-uri 'self'; frame-ancestors 'none'"


def strictly(route: Route) -> None:
    """Give documents a strict CSP; a handler for `page.route`."""
    if route.request.resource_type != "document":
        return route.continue_()
    answer = route.fetch(max_redirects=0)
    return route.fulfill(response=answer, headers={**answer.headers, "content-security-policy": STRICT})


@contextlib.contextmanager
def pages(browser: Browser, site: Site) -> Iterator[Callable[..., Page]]:
    """Give a function that makes pages of a session; whatever the browser complains about fails."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def new_page(session: Any, width: int = 1280, **options: Any) -> Page:
        context = browser.new_context(
            base_url=f"http://{site.address}",
            storage_state=session,
            viewport={"width": width, "height": 900},
            **options,
        )
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda line: complaints.append(line.text) if line.type == "error" else None)
        return page

    yield new_page
    for context in contexts:
        context.close()
    assert complaints == []


def stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(40)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise
