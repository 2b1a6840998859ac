"""A stored job is changed in parts; each change is audited and survives deploys."""

import datetime as dt
from typing import Any

import pytest
from django.utils import timezone

from jobstore import api, registry
from jobstore.api.building import stand_in
from jobstore.jobstores import DjangoJobStore
from jobstore.models import AuditEntry, DjangoJob, database_now
from jobstore.storage import edits, serializer
from jobstore.tests import callables
from jobstore.tests.api import offers
from jobstore.tests.api.test_adding import add

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _declare_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_declared", {})
    monkeypatch.setattr("jobstore.declarations.discovery.import_jobs", list)


def deploy(func: Any = callables.note, **options: Any) -> DjangoJob:
    """Store what new code declares."""
    registry._declared.clear()
    options = {"trigger": "interval", "hours": 1, **options}
    registry.scheduled(options.pop("trigger"), id="job", **options)(func)
    problems: list[Any] = []
    registry.sync(DjangoJobStore(), stand_in(), report=problems.extend)
    assert not problems
    return stored()


def stored() -> DjangoJob:
    job: DjangoJob = DjangoJob.objects.get(pk="job")
    return job


def test_another_schedule_counts_from_now_on() -> None:
    add()
    job = api.reschedule("job", "interval", minutes=5)
    assert job.next_run_time is not None
    assert job.next_run_time - timezone.now() < dt.timedelta(minutes=6)
    assert serializer.restore(stored()).trigger.interval == dt.timedelta(minutes=5)


def test_a_paused_job_stays_paused_with_another_schedule() -> None:
    add(paused=True)
    assert api.reschedule("job", "interval", minutes=5).next_run_time is None


def test_the_audit_tells_what_was_before_and_after() -> None:
    add()
    api.reschedule("job", "interval", minutes=5, by="Ann")
    entry = AuditEntry.objects.get(verb="reschedule")
    assert entry.before["trigger"] == "interval[1:00:00]"
    assert entry.after["trigger"] == "interval[0:05:00]"
    assert "max_instances" not in entry.after


def test_arguments_and_options_are_changed_apart() -> None:
    add(func=offers.greet, args=["Ann"], kwargs={"times": 2})
    api.change("job", args=["Bob"], max_instances=4)
    job = serializer.restore(stored())
    assert (job.args, job.kwargs, job.max_instances) == (("Bob",), {"times": 2}, 4)
    api.change("job", kwargs={})
    assert serializer.restore(stored()).kwargs == {}


def test_the_next_run_can_be_moved() -> None:
    add()
    job = api.change("job", next_run_time="2031-06-01 08:00")
    assert job.next_run_time is not None and job.next_run_time.year == 2031
    assert job.trigger == "interval[1:00:00]"


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({}, api.InvalidOption, "Nothing is given"),
        ({"args": ["a", "b", "c"]}, api.InvalidArguments, "too many positional"),
        ({"executor": "cluster"}, api.InvalidOption, "no executor 'cluster'"),
        ({"max_instances": 0}, api.InvalidOption, "max_instances"),
        ({"on_lost": "x"}, api.InvalidOption, "on_lost is"),
        ({"name": 3}, api.InvalidOption, "name must be"),
        ({"next_run_time": None}, api.InvalidSchedule, "is paused: use that, with a reason"),
        ({"next_run_time": "soon"}, api.InvalidSchedule, "."),
    ],
)
def test_a_wrong_change_changes_nothing(
    changes: dict[str, Any], error: type[Exception], text: str
) -> None:
    before = add()
    with pytest.raises(error, match=text):
        api.change("job", **changes)
    assert stored().version == before.version
    assert AuditEntry.objects.count() == 1


def test_nothing_is_changed_of_a_job_that_is_not_there_or_retired() -> None:
    add()
    api.retire("job")
    for job_id, text in {"none": "There is no job 'none'", "job": "is retired"}.items():
        with pytest.raises(api.NoSuchJob, match=text):
            api.reschedule(job_id, "interval", hours=2)
        with pytest.raises(api.NoSuchJob, match=text):
            api.change(job_id, max_instances=2)


def test_a_change_of_what_was_not_looked_at_is_a_conflict() -> None:
    add()
    looked_at = api.definition("job").fingerprint
    DjangoJob.objects.update(next_run_time=database_now("default"))  # a run is no change
    api.reschedule("job", "interval", hours=2, expected=looked_at)
    with pytest.raises(api.Conflict, match="was changed since you looked at it"):
        api.reschedule("job", "interval", hours=3, expected=looked_at)
    assert stored().trigger == "interval[2:00:00]"


# --- Operators win over deploys -------------------------------------------------------------------


def test_an_edited_schedule_stays_while_the_code_does() -> None:
    deploy()
    api.reschedule("job", "interval", minutes=5)
    job = deploy()
    assert (job.trigger, edits.parts(job)) == ("interval[0:05:00]", ["schedule"])


def test_an_edited_schedule_stays_when_another_part_changes_in_the_code() -> None:
    deploy()
    api.reschedule("job", "interval", minutes=5)
    next_run_time = stored().next_run_time
    job = deploy(max_instances=3)
    assert (job.trigger, job.max_instances) == ("interval[0:05:00]", 3)
    assert job.next_run_time == next_run_time
    assert edits.parts(job) == ["schedule"]


def test_an_edited_schedule_gives_way_to_another_one_in_the_code() -> None:
    deploy()
    api.reschedule("job", "interval", minutes=5)
    job = deploy(hours=2)
    assert (job.trigger, edits.parts(job)) == ("interval[2:00:00]", [])
    # Going back to what the code said before is another change, not the operator's.
    assert deploy(hours=1).trigger == "interval[1:00:00]"


def test_edited_arguments_stay_until_the_code_changes_them_or_the_function() -> None:
    deploy(offers.greet, args=["Ann"])
    api.change("job", args=["Bob"])
    assert deploy(offers.greet, args=["Ann"], hours=2).arguments == "'Bob'"
    assert deploy(offers.greet, args=["Cid"], hours=2).arguments == "'Cid'"
    api.change("job", args=["Bob"])
    assert deploy(callables.note, args=["Cid"], hours=2).arguments == "'Cid'"


def test_edited_options_stay_each_on_its_own() -> None:
    deploy(max_instances=2)
    api.change("job", max_instances=5, on_lost="rerun", coalesce=False)
    job = deploy(max_instances=3, hours=2)
    assert (job.max_instances, job.on_lost, job.coalesce) == (3, "rerun", False)
    assert edits.parts(job) == ["coalesce", "on_lost"]


def test_what_is_again_as_the_code_says_is_not_edited() -> None:
    deploy()
    api.reschedule("job", "interval", minutes=5)
    job = api.reschedule("job", "interval", hours=1)
    assert edits.parts(job) == []


def test_a_program_that_adds_its_job_again_leaves_what_was_edited() -> None:
    def start(**fields: Any) -> None:
        scheduler = stand_in()
        scheduler.add_job(
            callables.note, "interval", id="job", replace_existing=True, executor="default",
            max_instances=1, coalesce=True, **fields
        )  # fmt: skip
        job, *_ = scheduler._pending_jobs[0]
        job._modify(next_run_time=job.trigger.get_next_fire_time(None, timezone.now()))
        job.misfire_grace_time = 3600
        try:
            DjangoJobStore().add_job(job)
        except Exception:
            DjangoJobStore().update_job(job)

    start(hours=1)
    api.reschedule("job", "interval", minutes=5)
    start(hours=1)
    assert stored().trigger == "interval[0:05:00]"
    start(hours=2)
    assert stored().trigger == "interval[2:00:00]"


def test_what_differs_from_the_code_is_told_and_reset() -> None:
    deploy(offers.greet, args=["Ann"])
    assert api.differs_from_code("job") == []
    api.reschedule("job", "interval", minutes=5)
    api.change("job", args=["Bob"], max_instances=5)
    assert {one.part: (one.stored, one.declared) for one in api.differs_from_code("job")} == {
        "schedule": ("interval[0:05:00]", "interval[1:00:00]"),
        "max_instances": (5, 1),
        "arguments": ("'Bob'", "'Ann'"),
    }
    assert all(one.is_edited for one in api.differs_from_code("job"))
    job = api.reset("job", by="Ann")
    assert (job.trigger, job.max_instances, job.arguments, job.edited) == (
        "interval[1:00:00]", 1, "'Ann'", ""
    )  # fmt: skip
    assert api.differs_from_code("job") == []
    assert AuditEntry.objects.get(verb="reset").before["trigger"] == "interval[0:05:00]"


def test_a_reset_keeps_a_pause() -> None:
    deploy()
    api.pause("job", "holidays")
    job = api.reset("job")
    assert (job.next_run_time, job.pause_reason) == (None, "holidays")


def test_a_reset_brings_a_job_back_that_cannot_be_restored() -> None:
    deploy()
    now = database_now("default")
    DjangoJob.objects.update(job_state=b"nonsense", quarantined_at=now, quarantine_reason="broken")
    assert api.state_of(api.reset("job")) == "scheduled"


def test_a_job_that_is_not_declared_cannot_be_reset() -> None:
    add()
    with pytest.raises(api.NotDeclared, match="The code does not declare a job 'job'"):
        api.reset("job")


def test_a_job_that_cannot_be_restored_says_so() -> None:
    add()
    DjangoJob.objects.update(job_state=b"nonsense")
    with pytest.raises(api.Unreadable, match="Job 'job' cannot be restored"):
        api.reschedule("job", "interval", hours=2)
    with pytest.raises(serializer.UnreadableState):
        api.change("job", max_instances=2)
