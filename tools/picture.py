"""Takes the picture at the top of the README: `make picture`.

It generates a project with the jobs of a small shop, lets them run for some minutes, and takes a
screenshot of the admin's list of jobs in Chromium. Run it again when the page has changed, and look at
the result.
"""

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from baking import Baker  # noqa: E402
from sites import Site, chromium, log_in  # noqa: E402

PICTURE = ROOT / "docs" / "jobs.png"
SHOWN = "/admin/jobstore/djangojob/"
WIDTH, MOST_HEIGHT = 1600, 1000
# Bytes. A README should open at once.
MOST = 200_000

JOBS = '''"""What a shop does by itself. Nothing here leaves this machine."""

import random
import time

from jobstore.registry import scheduled


@scheduled("interval", id="sync-orders", minutes=1, run_at_start=True)
def sync_orders() -> str:
    """Fetch new orders."""
    time.sleep(random.uniform(0.2, 1.4))
    return f"{random.randrange(3, 40)} orders"


@scheduled("interval", id="retry-webhooks", seconds=15, run_at_start=True)
def retry_webhooks() -> str:
    """Call again who did not answer."""
    time.sleep(random.uniform(0.05, 0.4))
    if random.random() < 0.12:
        raise ConnectionError("hooks.example.com does not answer")
    return "delivered"


@scheduled("interval", id="expire-carts", seconds=30, run_at_start=True)
def expire_carts() -> str:
    """Forget carts that nobody came back to."""
    time.sleep(random.uniform(0.02, 0.1))
    return f"{random.randrange(0, 9)} expired"


@scheduled("cron", id="send-reminders", hour=7, minute=30, run_at_start=True)
def send_reminders() -> str:
    """Remind customers of open invoices."""
    time.sleep(2.3)
    return "42 sent"


@scheduled("interval", id="exchange-rates", hours=1, run_at_start=True)
def exchange_rates() -> str:
    """Fetch today's rates."""
    time.sleep(0.6)
    return "EUR/USD 1.16"


@scheduled("cron", id="rebuild-search-index", day_of_week="mon-fri", hour=2, run_at_start=True)
def rebuild_search_index() -> str:
    """Index all articles anew."""
    time.sleep(600)
    return "18,240 articles"


@scheduled("cron", id="write-invoices", day_of_week="mon", hour=6, run_at_start=True)
def write_invoices() -> str:
    """Write the invoices of the last week."""
    raise ValueError("Customer 1832 has no address")


@scheduled("cron", id="newsletter", day_of_week="thu", hour=9)
def newsletter() -> str:
    """Send the newsletter."""
    return "sent"
'''

PAUSE = 'from jobstore import api; api.pause("newsletter")'


def main() -> int:
    """Take the picture; return the exit code."""
    parser = argparse.ArgumentParser(description="Take the picture at the top of the README.")
    parser.add_argument("--minutes", type=float, default=4.0, help="how long the jobs run before (4)")
    parser.add_argument("--path", default=SHOWN, help=f"the page that is shown ({SHOWN})")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="picture-"))
    try:
        baker = Baker(folder)
        site = Site(baker.bake(baker.output(), project_name="Corner Shop", database="sqlite"), shop=JOBS)
        (site.project.path / "jobs" / "heartbeat.py").unlink()
        try:
            site.start_web()
            site.start_scheduler()
            time.sleep(5)
            site.manage("shell", "-v0", "-c", PAUSE)
            print(f"The jobs run for {given.minutes:g} minutes ...", flush=True)
            time.sleep(given.minutes * 60)
            photograph(site, given.path)
        finally:
            if site.scheduler:
                site.scheduler.kill()  # a job of ten minutes is running
            site.stop()
    finally:
        shutil.rmtree(folder)
    size = PICTURE.stat().st_size
    print(f"{PICTURE.relative_to(ROOT)}: {size / 1000:.0f} kB. Look at it before you commit it.")
    if size > MOST:
        print(f"It is larger than {MOST / 1000:g} kB.", file=sys.stderr)
        return 1
    return 0


def photograph(site: Site, path: str) -> None:
    """Log in, and write what the window shows."""
    with chromium() as browser:
        page = browser.new_page(
            base_url=f"http://{site.address}",
            viewport={"width": WIDTH, "height": MOST_HEIGHT},
            color_scheme="light",
        )
        # The menu at the side would take the width that the columns need.
        page.add_init_script("localStorage.setItem('django.admin.navSidebarIsOpen', 'false')")
        log_in(page, f"/admin/login/?next={path}")
        page.wait_for_load_state("networkidle")
        # As high as the content, without the empty rest of the window.
        bottom = page.evaluate("Math.ceil(document.querySelector('#content').getBoundingClientRect().bottom)")
        clip = {"x": 0, "y": 0, "width": WIDTH, "height": min(MOST_HEIGHT, bottom + 8)}
        page.screenshot(path=PICTURE, clip=clip)  # type: ignore[arg-type]


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
