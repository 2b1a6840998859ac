"""SCHEDULER_EXECUTORS: who has which executor, and what is said of one that cannot be used."""

import importlib.util
from collections.abc import Iterator

import celery
import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from pytest_django.fixtures import Settings

from jobstore import api, conf
from jobstore.claims.capacity import no_executor
from jobstore.executors import configured
from jobstore.executors.celery import CeleryExecutor
from jobstore.executors.tasks import TasksExecutor
from jobstore.jobstores import DjangoJobStore
from jobstore.process.scheduler import DjangoScheduler
from jobstore.tests import callables


@pytest.fixture
def application() -> Iterator[celery.Celery]:
    """An application of Celery with a broker that nobody asks."""
    before = celery.current_app._get_current_object()
    app = celery.Celery("test", broker="redis://127.0.0.1:1/0", set_as_current=False)
    app.set_default()
    app.set_current()
    yield app
    before.set_default()
    before.set_current()


def scheduler() -> DjangoScheduler:
    return DjangoScheduler(DjangoJobStore(), lambda: None)


def found() -> dict[str, str]:
    return {str(one.id): one.msg for one in run_checks() if str(one.id).startswith("jobstore")}


def test_a_scheduler_has_threads_alone_unless_it_is_told_otherwise() -> None:
    assert list(scheduler()._executors) == ["default"]


@pytest.mark.usefixtures("application")
def test_a_scheduler_has_the_executors_that_the_settings_name(settings: Settings) -> None:
    settings.SCHEDULER_EXECUTORS = ("celery",)
    assert isinstance(scheduler()._executors["celery"], CeleryExecutor)
    assert found() == {}


def test_celery_without_a_broker_is_refused(settings: Settings, application: celery.Celery) -> None:
    settings.SCHEDULER_EXECUTORS = ("celery",)
    application.conf.broker_url = None
    with pytest.raises(ImproperlyConfigured, match="set CELERY_BROKER_URL"):
        scheduler()
    assert "set CELERY_BROKER_URL" in found()["jobstore.E014"]


def test_celery_that_is_not_installed_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SCHEDULER_EXECUTORS = ("celery",)
    real = importlib.util.find_spec
    without = lambda name: None if name == "celery" else real(name)  # noqa: E731
    monkeypatch.setattr(configured, "find_spec", without)
    assert "install requirements/celery.txt" in found()["jobstore.E014"]


def test_tasks_without_django_s_or_its_back_port_are_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.SCHEDULER_EXECUTORS = ("tasks",)
    assert isinstance(scheduler()._executors["tasks"], TasksExecutor)
    monkeypatch.setattr(configured, "find_spec", lambda name: None)
    assert "install django-tasks and a backend" in found()["jobstore.E014"]


def test_a_system_check_that_fails_hides_no_other(
    settings: Settings, application: celery.Celery
) -> None:
    settings.SCHEDULER_EXECUTORS = ("celery",)
    application.conf.broker_url = None
    settings.SCHEDULER_STATEMENT_SECONDS = 11
    assert set(found()) == {"jobstore.E005", "jobstore.E014"}


@pytest.mark.parametrize(
    ("text", "value"),
    [("", ()), ("celery", ("celery",)), (" Celery ,", ("celery",)), ("celery,celery", ("celery",))],
)
def test_the_names_of_executors_are_a_list(text: str, value: tuple[str, ...]) -> None:
    assert conf.SETTINGS["SCHEDULER_EXECUTORS"].parse(text) == value


@pytest.mark.parametrize("text", ["rabbitmq", "celery;celery", "celery,threads", "default"])
def test_another_name_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=text):
        conf.SETTINGS["SCHEDULER_EXECUTORS"].parse(text)


@pytest.mark.django_db
def test_a_job_for_an_executor_that_could_be_there_is_told_what_to_set() -> None:
    said = "There is no executor 'celery': set SCHEDULER_EXECUTORS=celery"
    with pytest.raises(api.InvalidOption, match=said):
        api.add_job(callables.note, "interval", hours=1, executor="celery")


def test_what_is_quarantined_for_its_executor_is_told_what_to_set() -> None:
    assert no_executor("celery").endswith("configured here. Set SCHEDULER_EXECUTORS=celery.")
    assert no_executor("rack").endswith("is configured here.")
