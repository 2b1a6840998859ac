"""Takes the pictures of both READMEs: `make picture`.

Bakes a project, gives it the jobs of a small shop and a day of history, lets them run for some
minutes, and photographs the overview in Chromium. Run it again when the page has changed, and look
at the result.
"""

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from baking import TEMPLATE, Baker  # noqa: E402
from png import shrink  # noqa: E402
from sites import Site, chromium, log_in  # noqa: E402

SHOWN = "/admin/jobstore/overview/"
# Each picture with its width, and with the most of its height and of its bytes: a README should
# open at once.
PICTURES = {
    ROOT / "docs" / "overview.png": (1280, 1500, 200_000),
    TEMPLATE / "docs" / "overview.png": (1080, 760, 150_000),
}

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

# A day of runs before now, as the shop's jobs would have left them.
HISTORY = """
import datetime as dt, random
from django.utils import timezone
from jobstore import api
from jobstore.models import DjangoJob, DjangoJobExecution as Run

random.seed(7)
now = timezone.now().replace(microsecond=0)
MIDNIGHT = now.replace(hour=0, minute=0, second=0)
at = lambda hour, minute=0: [
    MIDNIGHT + dt.timedelta(days=day, hours=hour, minutes=minute) for day in (-1, 0)
]
every = lambda seconds: [now - dt.timedelta(seconds=s) for s in range(86_000, 0, -seconds)]
# Of each job: its times, how long it takes, and how often it fails.
SHOP = {
    "sync-orders": (every(60), 0.8, 0.0),
    "retry-webhooks": (every(15), 0.2, 0.0015),
    "expire-carts": (every(30), 0.05, 0.0),
    "exchange-rates": (every(3600), 0.6, 0.09),
    "send-reminders": (at(7, 30), 2.3, 0.0),
    "rebuild-search-index": (at(2), 640.0, 0.0),
}
rows = []
for job, (times, length, failing) in SHOP.items():
    for when in times:
        if not now - dt.timedelta(hours=24) < when < now - dt.timedelta(seconds=15):
            continue
        began = when + dt.timedelta(seconds=abs(random.gauss(0.008, 0.012)))
        took = max(0.01, random.gauss(length, length / 5))
        failed = random.random() < failing
        rows.append(
            Run(
                job_id=job, run_time=when, claimed_at=began, started_at=began, duration=round(took, 6),
                finished=began + dt.timedelta(seconds=took), status=Run.ERROR if failed else Run.SUCCESS,
                exception_type="ConnectionError" if failed else "",
                exception="the other side does not answer" if failed else None,
            )
        )
# That all jobs begin at the same moment, late, is no part of a usual day.
Run.objects.exclude(requested_by="").exclude(status=Run.RUNNING).delete()
# One deployment took too long, and one machine died.
for job, hours, status in (("exchange-rates", 9, Run.MISSED), ("sync-orders", 17, Run.LOST)):
    early = [one for one in rows if one.job_id == job and one.run_time < now - dt.timedelta(hours=hours)]
    early[-1].status, early[-1].duration = status, None
Run.objects.bulk_create(rows, batch_size=500, ignore_conflicts=True)
api.pause("newsletter", "Waiting for the new layout", by="ada")
api.reschedule("exchange-rates", "interval", minutes=30, by="ada")
"""


def main() -> int:
    """Take the pictures; return the exit code."""
    parser = argparse.ArgumentParser(description="Take the pictures of both READMEs.")
    parser.add_argument("--minutes", type=float, default=4.0, help="how long the jobs run before (4)")
    parser.add_argument("--path", default=SHOWN, help=f"the page that is shown ({SHOWN})")
    given = parser.parse_args()
    with shop(given.minutes) as site:
        photograph(site, given.path)
    code = 0
    for picture, (_width, _height, most) in PICTURES.items():
        size = picture.stat().st_size
        print(f"{picture.relative_to(ROOT)}: {size / 1000:.0f} kB. Look at it before you commit it.")
        if size > most:
            print(f"It is larger than {most / 1000:g} kB.", file=sys.stderr)
            code = 1
    return code


@contextlib.contextmanager
def shop(minutes: float) -> Iterator[Site]:
    """Give a site of the shop, whose jobs have run for a day and some minutes; stop and remove it."""
    folder = Path(tempfile.mkdtemp(prefix="picture-"))
    try:
        baker = Baker(folder)
        site = Site(baker.bake(baker.output(), project_name="Corner Shop", database="sqlite"), shop=JOBS)
        (site.project.path / "jobs" / "heartbeat.py").unlink()
        try:
            site.start_web()
            site.start_scheduler()
            time.sleep(5)
            site.manage("shell", "-v0", "-c", HISTORY)
            print(f"The jobs run for {minutes:g} minutes ...", flush=True)
            time.sleep(minutes * 60)
            yield site
        finally:
            if site.scheduler:
                site.scheduler.kill()  # a job of ten minutes is running
            site.stop()
    finally:
        shutil.rmtree(folder)


def photograph(site: Site, path: str) -> None:
    """Log in, and write what the window shows, once for each picture."""
    with chromium() as browser:
        page = browser.new_page(base_url=f"http://{site.address}", color_scheme="light")
        # The menu at the side would take the width that the columns need.
        page.add_init_script("localStorage.setItem('django.admin.navSidebarIsOpen', 'false')")
        log_in(page, f"/admin/login/?next={path}")
        for picture, (width, most_height, _size) in PICTURES.items():
            page.set_viewport_size({"width": width, "height": most_height})
            page.goto(path)
            page.wait_for_load_state("networkidle")
            # As high as the content, without the empty rest of the window.
            bottom = page.evaluate(
                "Math.ceil(document.querySelector('#content').getBoundingClientRect().bottom)"
            )
            clip = {"x": 0, "y": 0, "width": width, "height": min(most_height, bottom + 8)}
            page.screenshot(path=picture, clip=clip)  # type: ignore[arg-type]
            shrink(picture)


if __name__ == "__main__":
    os.chdir(ROOT)
    sys.exit(main())
