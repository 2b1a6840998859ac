"""Each verb has a permission, each job may have its decider, and secrets are shown nowhere."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, Permission
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from pytest_django.fixtures import Settings

from jobstore import api
from jobstore.models import AuditEntry, DjangoJob
from jobstore.storage import masking
from jobstore.tests import callables
from jobstore.tests.api import offers
from jobstore.tests.api.test_adding import add
from jobstore.tests.conftest import create_user

pytestmark = pytest.mark.django_db

OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "add_djangojob": lambda by: api.add_job(callables.note, "interval", hours=1, id="new", by=by),
    "change_djangojob": lambda by: api.reschedule("job", "interval", hours=2, by=by),
    "pause_djangojob": lambda by: api.pause("job", by=by),
    "run_djangojob": lambda by: api.run_now("job", by=by),
    "cancel_djangojob": lambda by: api.cancel(api.run_now("job"), by=by),
    "retire_djangojob": lambda by: api.retire("job", by=by),
}


def user(*codenames: str) -> Any:
    one = create_user()
    one.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    return one


@pytest.mark.parametrize("permission", OPERATIONS)
def test_each_operation_needs_its_permission_and_no_other(permission: str) -> None:
    add()
    others = user("view_djangojob", *(one for one in OPERATIONS if one != permission))
    with pytest.raises(api.NotAllowed) as refused:
        OPERATIONS[permission](others)
    assert isinstance(refused.value, PermissionDenied)
    assert not AuditEntry.objects.filter(who=others.get_username()).exists()
    one = user(permission)
    OPERATIONS[permission](one)
    entry = AuditEntry.objects.get(who=one.get_username())
    assert entry.user_id == str(one.pk)


def test_nobody_who_is_not_logged_in_may_do_anything() -> None:
    add()
    for operation in OPERATIONS.values():
        with pytest.raises(api.NotAllowed):
            operation(AnonymousUser())


def test_the_projects_function_decides_for_each_job(settings: Settings) -> None:
    settings.JOB_ACCESS = "jobstore.tests.api.offers.only_mine"
    add("mine")
    add("yours")
    one = user(*OPERATIONS)
    api.pause("mine", by=one)
    for operation in (api.pause, api.run_now, api.retire):
        with pytest.raises(api.NotAllowed, match=r"may not \w+ job 'yours'"):
            operation("yours", by=one)
    with pytest.raises(api.NotAllowed):
        api.run_all_now(["mine", "yours"], by=one)
    with pytest.raises(api.NotAllowed):
        api.add_job(callables.note, "interval", hours=1, id="not-mine", by=one)
    # Code's own operations are its author's affair, and so is what a text asks for.
    api.pause("yours", by="a migration")


def test_a_permission_is_needed_beside_the_projects_function(settings: Settings) -> None:
    settings.JOB_ACCESS = "jobstore.tests.api.offers.only_mine"
    add("mine")
    with pytest.raises(api.NotAllowed):
        api.pause("mine", by=user())


def test_a_function_that_fails_to_decide_allows_nothing(settings: Settings) -> None:
    settings.JOB_ACCESS = "jobstore.tests.api.offers.broken"
    add()
    with pytest.raises(api.NotAllowed, match="JOB_ACCESS raised RuntimeError"):
        api.pause("job", by=user("pause_djangojob"))
    settings.JOB_ACCESS = "jobstore.tests.api.offers.nothing"
    with pytest.raises(ImproperlyConfigured, match="JOB_ACCESS is"):
        api.pause("job", by=user("pause_djangojob"))
    assert DjangoJob.objects.get().next_run_time is not None


# --- Secrets --------------------------------------------------------------------------------------


def test_secret_arguments_are_masked_wherever_a_job_is_shown() -> None:
    add(func=offers.log_in, args=["ann", "hunter2"], kwargs={"options": {"api_key": "k", "a": 1}})
    job = DjangoJob.objects.get()
    assert job.arguments == "'ann', ********, options={'api_key': ********, 'a': 1}"
    entry = AuditEntry.objects.get()
    assert "hunter2" not in str(entry.after)
    assert api.definition("job").args == ("ann", "hunter2")


def test_secret_arguments_of_one_run_are_masked() -> None:
    add(func=offers.log_in, args=["ann", "hunter2"])
    run = api.run_now("job", args=["ann", "hunter3"])
    assert run.arguments == "'ann', ********"
    assert "hunter3" not in str(AuditEntry.objects.get(verb="run").after)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("'a', password='x, y'", "'a', password=********"),
        ("API_TOKEN='x', b=2", "API_TOKEN=********, b=2"),
        ("options={'secret': 'it\\'s', 'b': 1}", "options={'secret': ********, 'b': 1}"),
        ("key=5, monkey='x', keys=2", "key=********, monkey='x', keys=2"),
        ("secrets=['a', {'b': 'c, d'}], b=1", "secrets=********, b=1"),
        ("password='cut of", "password=********"),
        ("authorization=None", "authorization=None"),
        ("password=********", "password=********"),
        ("'password', 'x'", "'password', 'x'"),
    ],
)
def test_texts_that_were_stored_before_are_masked_where_they_are_shown(
    text: str, shown: str
) -> None:
    assert masking.masked_text(text) == shown


def test_the_list_of_secret_names_can_be_set(settings: Settings) -> None:
    settings.JOB_SECRET_ARGUMENTS = ["^pin$"]
    assert masking.shown(None, [], {"PIN": 1234, "password": "x"}) == "PIN=********, password='x'"
