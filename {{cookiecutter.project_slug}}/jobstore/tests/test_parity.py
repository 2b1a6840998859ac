"""Python, the command and the admin do the same: effect, audit, and what they refuse."""

import dataclasses
import io
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.core.management import CommandError, call_command
from django.test import Client

from jobstore import api, registry
from jobstore.declarations.offers import offer_of
from jobstore.models import AuditEntry, DjangoJob, DjangoJobExecution
from jobstore.storage import run_arguments, serializer
from jobstore.tests import callables
from jobstore.tests.admin import test_schedule_editor as editor
from jobstore.tests.api import offers
from jobstore.tests.conftest import create_user

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("english_and_utc")]

Run = DjangoJobExecution
GREET = "jobstore.tests.api.offers.greet"
JOBS = "/admin/jobstore/djangojob/"
RUNS = "/admin/jobstore/djangojobexecution/"
# What differs each time that something is done.
OF_THE_MOMENT = ("next_run_time",)


@dataclasses.dataclass
class Way:
    """One way to operations, for one user."""

    user: Any

    def python(self, operation: Callable[..., Any], *args: Any, **options: Any) -> None:
        operation(*args, by=self.user, **options)

    def command(self, *arguments: str) -> None:
        name = self.user.get_username()
        call_command("jobs", *arguments, "--as", name, stdout=io.StringIO())

    def admin(self, page: str, action: str, key: object, **fields: str) -> None:
        client = Client()
        client.force_login(self.user)
        form = {"action": action, "_selected_action": [str(key)], **fields}
        assert client.post(page, form).status_code in (200, 302, 403, 404)

    def editor(self, page: str, **fields: str) -> None:
        """Fill in a page of the editor, look at the preview, and save."""
        client = Client()
        client.force_login(self.user)
        if client.get(page).status_code != 200:
            return  # refused, or not there
        answer = editor.preview(client, page, **fields)
        if answer.status_code == 200 and answer.context_data.get("preview"):
            assert editor.save(client, page, **fields).status_code == 302


@dataclasses.dataclass(frozen=True)
class Verb:
    """An operation: the permission that it needs, and how it is done in each way.

    Each takes a way and the id of a job, or of a run if `is_of_run`.
    """

    permission: str
    audited: str
    ways: dict[str, Callable[[Way, Any], None]]
    before: Callable[[], Any] = lambda: None
    is_of_run: bool = False
    has_ended: bool = False


def a_pause() -> None:
    api.pause("job", "for the test")


def a_clone(way: Way, job: Any) -> None:
    found = api.definition(job)
    way.python(
        api.add_job,
        found.reference,
        found.trigger,
        id=f"{job}-2",
        args=found.args,
        kwargs=found.kwargs,
        paused=True,
        **found.options,
    )


def a_declaration() -> None:
    registry.scheduled("interval", hours=1, id="job", kwargs={"name": "Ann"})(offers.greet)
    api.reschedule("job", "interval", minutes=5)


VERBS = {
    "run": Verb(
        "run_djangojob",
        "run",
        {
            "python": lambda way, job: way.python(api.run_now, job),
            "command": lambda way, job: way.command("run", job),
            "admin": lambda way, job: way.admin(JOBS, "run_selected_jobs", job),
        },
    ),
    "run with arguments": Verb(
        "run_djangojob",
        "run",
        {
            "python": lambda way, job: way.python(
                api.run_now, job, args=[], kwargs={"name": "Bob"}
            ),
            "command": lambda way, job: way.command("run", job, "-a", "name=Bob"),
        },
    ),
    "pause": Verb(
        "pause_djangojob",
        "pause",
        {
            "python": lambda way, job: way.python(api.pause, job, "holidays"),
            "command": lambda way, job: way.command("pause", job, "--reason", "holidays"),
            "admin": lambda way, job: way.admin(
                JOBS, "pause_selected_jobs", job, reason="holidays"
            ),
        },
    ),
    "resume": Verb(
        "pause_djangojob",
        "resume",
        {
            "python": lambda way, job: way.python(api.resume, job),
            "command": lambda way, job: way.command("resume", job),
            "admin": lambda way, job: way.admin(JOBS, "resume_selected_jobs", job),
        },
        before=a_pause,
    ),
    "retire": Verb(
        "retire_djangojob",
        "retire",
        {
            "python": lambda way, job: way.python(api.retire, job),
            "command": lambda way, job: way.command("retire", job),
            "admin": lambda way, job: way.admin(JOBS, "retire_selected_jobs", job, post="yes"),
        },
    ),
    "cancel": Verb(
        "cancel_djangojob",
        "cancel",
        {
            "python": lambda way, run: way.python(api.cancel, run),
            "command": lambda way, run: way.command("cancel", str(run)),
            "admin": lambda way, run: way.admin(RUNS, "cancel_selected_requests", run),
        },
        is_of_run=True,
    ),
    "run again": Verb(
        "run_djangojob",
        "run",
        {
            "python": lambda way, run: way.python(api.run_again, run),
            "command": lambda way, run: way.command("rerun", str(run)),
            "admin": lambda way, run: way.admin(RUNS, "run_selected_again", run),
        },
        has_ended=True,
        is_of_run=True,
    ),
    "reschedule": Verb(
        "change_djangojob",
        "reschedule",
        {
            "python": lambda way, job: way.python(api.reschedule, job, "interval", minutes=5),
            "command": lambda way, job: way.command("reschedule", job, "--every", "5m"),
            "admin": lambda way, job: way.editor(
                f"{JOBS}{job}/schedule/", kind="interval", every="5", unit="minutes"
            ),
        },
    ),
    "change": Verb(
        "change_djangojob",
        "change",
        {
            "python": lambda way, job: way.python(
                api.change, job, kwargs={"name": "Bob"}, max_instances=2
            ),
            "command": lambda way, job: way.command(
                "change", job, "-a", "name=Bob", "--max-instances", "2"
            ),
            "admin": lambda way, job: way.editor(
                f"{JOBS}{job}/options/", arg_name="Bob", max_instances="2"
            ),
        },
    ),
    "reset": Verb(
        "change_djangojob",
        "reset",
        {
            "python": lambda way, job: way.python(api.reset, job),
            "command": lambda way, job: way.command("reset", job),
            "admin": lambda way, job: way.admin(f"{JOBS}{job}/reset/", "reset", job),
        },
        before=a_declaration,
    ),
    "add": Verb(
        "add_djangojob",
        "add",
        {
            "python": lambda way, job: way.python(
                api.add_offered, GREET, "interval", values={"name": "Eve"}, hours=2, id=f"{job}-2"
            ),
            "command": lambda way, job: way.command(
                "add", GREET, "--every", "2h", "-a", "name=Eve", "--id", f"{job}-2"
            ),
            "admin": lambda way, job: way.editor(
                f"{JOBS}add/?function={GREET}",
                id=f"{job}-2",
                arg_name="Eve",
                kind="interval",
                every="2",
                unit="hours",
            ),
        },
    ),
    "clone": Verb(
        "add_djangojob",
        "add",
        {
            "python": a_clone,
            "admin": lambda way, job: way.editor(f"{JOBS}{job}/clone/", id=f"{job}-2"),
        },
    ),
}
EACH_WAY = [(name, way) for name, verb in VERBS.items() for way in verb.ways]


@pytest.fixture(autouse=True)
def _offered(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    found = {one.key: one for one in map(offer_of, (offers.greet,))}
    monkeypatch.setattr(registry, "_offered", found)
    monkeypatch.setattr(registry, "_declared", {})
    monkeypatch.setattr("jobstore.declarations.discovery.import_jobs", list)
    settings.APSCHEDULER_RUN_NOW_TIMEOUT = 0.0


def user_with(*codenames: str) -> Any:
    user = create_user(is_staff=True)
    wanted = ("view_djangojob", "view_djangojobexecution", *codenames)
    user.user_permissions.set(Permission.objects.filter(codename__in=wanted))
    return user


def prepared(verb: Verb) -> Any:
    """Store a job, and return what the verb is done to."""
    api.add_job(offers.greet, "interval", id="job", hours=1, kwargs={"name": "Ann"})
    verb.before()
    target = api.run_now("job").pk if verb.is_of_run else "job"
    if verb.has_ended:
        Run.objects.update(status=Run.ERROR)
    AuditEntry.objects.all().delete()
    return target


def effect() -> Any:
    """Return what is stored, but for the moment and the person."""
    jobs = [
        (
            job.pk,
            job.trigger,
            serializer.restore(job).kwargs,
            job.max_instances,
            job.next_run_time is None,
            job.pause_reason,
            job.retired_at is None,
            job.edited,
        )
        for job in DjangoJob.all_objects.order_by("pk")
    ]
    runs = [
        (run.job_id, run.status, run_arguments.restore(run)) for run in Run.objects.order_by("pk")
    ]
    return jobs, runs


def audited(entry: AuditEntry) -> Any:
    """Return what an entry tells, but for the moment, and which way it came in."""

    def lasting(values: dict[str, Any]) -> dict[str, Any]:
        left_out = (*OF_THE_MOMENT, "again")
        return {name: one for name, one in values.items() if name not in left_out}

    return (
        entry.verb,
        entry.job_id,
        entry.run_id is None,
        lasting(entry.before),
        lasting(entry.after),
    )


def clear() -> None:
    for model in (AuditEntry, Run):
        model.objects.all().delete()
    DjangoJob.all_objects.all().delete()
    registry._declared.clear()


@pytest.mark.parametrize("name", VERBS)
def test_each_way_has_the_same_effect_and_the_same_audit_entry(name: str) -> None:
    verb = VERBS[name]
    outcomes = {}
    for way, carry_out in verb.ways.items():
        clear()
        user = user_with(verb.permission)
        carry_out(Way(user), prepared(verb))
        [entry] = AuditEntry.objects.all()
        assert (entry.who, entry.user_id) == (user.get_username(), str(user.pk))
        assert entry.through == {"python": "code"}.get(way, way)
        assert entry.verb == verb.audited
        outcomes[way] = effect(), audited(entry)
    first, *others = outcomes.values()
    assert others
    for other in others:
        assert other == first


@pytest.mark.parametrize(("name", "way"), EACH_WAY)
def test_each_way_refuses_who_may_not(name: str, way: str, settings: Any) -> None:
    verb = VERBS[name]
    every = {one.permission for one in VERBS.values()}
    target = prepared(verb)
    before = effect()
    for user in (user_with(*every - {verb.permission}), user_with(*every)):
        # The second one has all permissions, and the project's own function says no.
        refusal = refused(lambda user=user: verb.ways[way](Way(user), target))  # type: ignore[misc]
        if way != "admin":
            assert "may not" in refusal
        assert effect() == before
        assert not AuditEntry.objects.exists()
        settings.JOB_ACCESS = "jobstore.tests.api.offers.only_mine"


@pytest.mark.parametrize(("name", "way"), [pair for pair in EACH_WAY if pair[0] != "add"])
def test_each_way_refuses_what_is_not_there(name: str, way: str) -> None:
    verb = VERBS[name]
    prepared(verb)
    before = effect()
    target = 999_999 if verb.is_of_run else "none"
    user = user_with(verb.permission)
    refusal = refused(lambda: verb.ways[way](Way(user), target))
    if way != "admin":
        assert str(target) in refusal
    assert effect() == before
    assert not AuditEntry.objects.exists()


def refused(carry_out: Callable[[], None]) -> str:
    """Return what is said; nothing by the admin, whose pages say it."""
    try:
        carry_out()
    except api.OperationError as error:
        return str(error)
    except CommandError as error:
        return str(error) if error.returncode == 1 else ""
    return ""


def test_the_text_of_a_refusal_is_the_same_in_python_and_the_command() -> None:
    for name, verb in VERBS.items():
        if name == "add":
            continue
        clear()
        prepared(verb)
        target = 999_999 if verb.is_of_run else "none"
        user = user_with(verb.permission)
        texts = {
            refused(lambda way=way: verb.ways[way](Way(user), target))  # type: ignore[misc] # noqa: B023
            for way in ("python", "command")
            if way in verb.ways
        }
        # The command has to look at a job before it can read arguments for a run.
        assert len(texts) == 1 or name in ("run with arguments", "change")


def test_nothing_but_what_the_code_offers_can_be_added_by_people() -> None:
    user = user_with("add_djangojob")
    for key in ("os.system", "jobstore.tests.callables.note"):
        with pytest.raises(api.NotSchedulable):
            api.add_offered(key, "interval", hours=1, by=user)
        with pytest.raises(CommandError):
            Way(user).command("add", key, "--every", "1h")
    assert not DjangoJob.objects.exists()
    # Code may schedule what it likes: whoever wrote it could as well call it.
    assert api.add_job(callables.note, "interval", hours=1, by=user)
