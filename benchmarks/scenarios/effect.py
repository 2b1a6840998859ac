"""From a click in the admin to its effect: a real browser's requests, a web server, a scheduler."""

import datetime as dt
import json
import re
import time
from typing import Any, NamedTuple

import measure
from contenders import PROGRAMS, Contender, Failed
from website import Answer, Website

NAME = "effect"
TITLE = "From a click in the admin to its effect in a running scheduler"
CONTENDERS = ("ours",)
PARAMETERS = ("click",)
# Clicks of each kind.
SIZES = {"smoke": 2, "small": 100, "full": 300}
JOBS = {"smoke": 20, "small": 1000, "full": 1000}

DAY = 24 * 3600.0
# Seconds that a new schedule's time is away when its preview is asked for, and when it is saved.
AWAY, LEAD = 0.7, 0.1
# Seconds after which an effect is taken never to come.
PATIENCE = 10.0
# Seconds in which the scheduler begins to run jobs.
START = 30.0
# The header by which the page's script asks for a preview alone, and of that answer.
SCRIPT = "Jobstore-Refresh"
HIDDEN = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)"')
JOB = "/admin/jobstore/djangojob/job-{}/"
NOTES = {
    "preview": "a preview's effect is its answer: the preview alone, as the page's script asks for it",
    "preview, no script": "without a script, the answer to a preview is the whole page of the editor",
    "editor": "that page, as it is first shown",
    "save": f"the new schedule's time is {LEAD * 1000:.0f} ms after the click, so no figure is less",
}


class Preview(NamedTuple):
    """The seconds until a preview was answered, and those of the web server's CPU."""

    seconds: float
    cpu: float


class Saved(NamedTuple):
    """The seconds from “Save” to its effect, and those of the answers before it."""

    effect: float | None
    alone: Preview
    whole: Preview
    editor: float


def run(bench: Any) -> list[dict[str, Any]]:
    """Let each click have its effect, one after the other."""
    rows = []
    for contender in bench.contenders(CONTENDERS):
        bench.empty(contender)
        contender.run("manage.py", "collectstatic", "--no-input", "-v0")
        tries = SIZES[bench.size]
        with bench.step(f"{contender.title}: {tries} clicks of each kind"), Website(contender) as site:
            begin(contender, JOBS[bench.size])
            try:
                rows.append(
                    row(contender, "run now", [run_now(contender, site, k) for k in range(1, tries + 1)])
                )
                saved = [save(contender, site, k) for k in range(1, tries + 1)]
                rows.append(row(contender, "save", [one.effect for one in saved]))
                for click, previews in (
                    ("preview", [one.alone for one in saved]),
                    ("preview, no script", [one.whole for one in saved]),
                ):
                    rows.append(row(contender, click, [one.seconds for one in previews]))
                    # The CPU of a single request is less than what the kernel counts in.
                    cpu = sum(one.cpu for one in previews) / tries
                    rows[-1]["web_cpu_ms"] = round(1000 * cpu, 1)
                rows.append(row(contender, "editor", [one.editor for one in saved]))
            finally:
                contender.stop()
    return rows


def begin(contender: Contender, jobs: int) -> None:
    """Store jobs that wait for tomorrow and one that runs each second; wait until that one runs."""
    at = round(time.time() + 5)
    groups = [
        {"count": 1, "spread": 0.0, "every": 1.0},
        {"count": jobs - 1, "spread": 3600.0, "every": DAY, "later": DAY},
    ]
    options = {"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
    scenario = {
        "at": at,
        "threads": 10,
        "groups": [{"seconds": 0.0} | group for group in groups],
        "options": options,
    }
    contender.run(str(PROGRAMS / "many.py"), json.dumps(scenario))
    contender.start(scenario)
    deadline = time.time() + START
    while not measure.count_starts(contender.trace):
        contender.assert_alive()
        if time.time() > deadline:
            raise Failed(f"{contender.title} does not run jobs.")
        time.sleep(0.2)


def run_now(contender: Contender, site: Website, number: int) -> float | None:
    """Return the seconds from a click on “Run now” to the start of the job."""
    began = time.time()
    # It is answered when the run has ended, or after a while; what counts is in the trace.
    site.post(f"{JOB.format(number)}act/", {"action": "run_selected_jobs"})
    return since(contender, number, began)


def save(contender: Contender, site: Website, number: int) -> Saved:
    """Return how long after a click on “Save” a job first starts by its new schedule."""
    address = f"{JOB.format(number)}schedule/"
    editor = site.get(address)
    form = dict(HIDDEN.findall(editor.text))
    form.pop("csrfmiddlewaretoken", None)
    when = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=AWAY)
    form |= {"kind": "date", "run_at": when.strftime("%Y-%m-%dT%H:%M:%S.%f"), "timezone": "UTC"}
    whole, _ = preview(site, address, form | {"preview": "Preview"})
    alone, answer = preview(site, address, form, **{SCRIPT: "1"})
    if SCRIPT not in answer.headers:
        raise Failed(f"The preview does not come alone: {answer.text[:3000]}")
    form |= {name: value for name, value in HIDDEN.findall(answer.text) if name != "csrfmiddlewaretoken"}
    measure.sleep_until(when.timestamp() - LEAD)
    began = time.time()
    answer = site.post(address, form | {"save": "Save"})
    if answer.status != 302:  # the time has passed before it was saved
        return Saved(None, alone, whole, editor.seconds)
    return Saved(since(contender, number, began), alone, whole, editor.seconds)


def preview(site: Website, address: str, form: dict[str, str], **headers: str) -> tuple[Preview, Answer]:
    """Ask for a preview; return what it took, and the answer."""
    before = site.cpu_seconds()
    answer = site.post(address, form, **headers)
    if "previewed" not in dict(HIDDEN.findall(answer.text)):
        raise Failed(f"The editor shows no preview: {answer.text[-3000:]}")
    return Preview(answer.seconds, site.cpu_seconds() - before), answer


def since(contender: Contender, number: int, began: float) -> float | None:
    """Return how long after a moment a job first started; None if it did not."""
    while True:
        for one, when in measure.starts(contender.trace):
            if one == number and when > began:
                return when - began
        if time.time() > began + PATIENCE:
            return None
        time.sleep(0.02)


def row(contender: Contender, click: str, delays: list[float | None]) -> dict[str, Any]:
    """Return what a table shows."""
    # One that never came takes as long as it was waited for.
    known = [PATIENCE if delay is None else delay for delay in delays]
    return {
        "contender": contender.name,
        "click": click,
        "tries": len(delays),
        "seen": sum(delay is not None for delay in delays),
        **measure.summary(known),
        "note": NOTES.get(click),
        "curve": measure.curve(known),
    }
