"""Tasks of Django, or of the package django-tasks, that are declared as jobs."""

import importlib
import sys
from typing import Any

import django
import pytest
from django.contrib.admin.utils import quote
from django.test import Client
from pytest_django.fixtures import Settings

from jobstore import api, registry
from jobstore.declarations.declaration import Collected
from jobstore.jobstores import DjangoJobStore
from jobstore.management.jobs.files import described
from jobstore.models import DjangoJob
from jobstore.process.scheduler import DjangoScheduler
from jobstore.testing import JobRunner
from jobstore.tests.jobfiles import JobFiles

PACKAGE = "django.tasks" if django.VERSION >= (6, 0) else "django_tasks"
HEAD = f"""
from {PACKAGE} import task
from jobstore.registry import schedulable, scheduled
"""
IMMEDIATE = f"{PACKAGE}.backends.immediate.ImmediateBackend"


@pytest.fixture(autouse=True)
def _backends(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.SCHEDULER_EXECUTORS = ("tasks",)
    settings.TASKS = {
        "default": {"BACKEND": IMMEDIATE, "QUEUES": ["default", "heavy"]},
        "other": {"BACKEND": IMMEDIATE},
    }
    monkeypatch.setattr(registry, "_offered", {})


class Declared:
    """What a new process finds in a file, with the executors of the settings."""

    def __init__(self, files: JobFiles, content: str, name: str = "tasks.py") -> None:
        files.write(name, content, HEAD)
        self.files = files
        files.forget()
        self.found: Collected = registry.collect(scheduler())

    @property
    def problems(self) -> list[str]:
        return [self.files._plain(one.text) for one in self.found.problems]

    @property
    def module(self) -> Any:
        return sys.modules[f"{self.files.package}.tasks"]

    def sync(self) -> list[str]:
        changes = registry.sync(DjangoJobStore(), scheduler(), collected=self.found)
        return [one.action for one in changes]

    def job(self) -> Any:
        [(_, job)] = self.found.jobs.values()
        return job


def call(job: Any, *args: Any) -> Any:
    """Call the function of a stored job."""
    function = api.definition(job).func
    assert function is not None
    return function(*args)


def scheduler() -> DjangoScheduler:
    return DjangoScheduler(DjangoJobStore(), lambda: None)


ABOVE = """
@scheduled("cron", hour=3)
@task()
def report(name: str = "all") -> str:
    return f"reported {name}"
"""


@pytest.mark.parametrize(
    "content",
    [
        ABOVE,
        ABOVE.replace("@task()", "@task"),
        ABOVE.replace('@scheduled("cron", hour=3)', "") + 'scheduled("cron", hour=3)(report)',
    ],
)
def test_a_task_that_is_scheduled_is_a_job_of_its_function(files: JobFiles, content: str) -> None:
    declared = Declared(files, content)
    assert declared.problems == []
    job = declared.job()
    assert (job.id, job.name, job.executor) == (f"{files.package}.tasks.report", "report", "tasks")
    assert job.func_ref == f"{files.package}.tasks:report.func"
    assert job.func() == "reported all"


def test_the_decorator_leaves_the_task_as_it_is(files: JobFiles) -> None:
    result = Declared(files, ABOVE).module.report.enqueue(name="one")
    assert result.return_value == "reported one"


def test_a_task_beside_its_function_leaves_the_name_to_the_function(files: JobFiles) -> None:
    content = 'def work(): pass\na_task = task()(work)\nscheduled("cron", hour=3)(a_task)'
    job = Declared(files, content).job()
    assert job.func_ref == f"{files.package}.tasks:work"
    assert job.executor == "tasks"


@pytest.mark.parametrize(
    ("head", "above", "executor", "queue"),
    [
        ("", "@task(queue_name='heavy')", "tasks", "heavy"),
        ("", "@task()", "tasks", ""),
        (", queue='default'", "@task(queue_name='heavy')", "tasks", "default"),
        (", executor='default'", "@task()", "default", ""),
    ],
)
def test_a_task_has_its_own_queue_unless_another_is_given(
    files: JobFiles, head: str, above: str, executor: str, queue: str
) -> None:
    content = f'@scheduled("cron", hour=3{head})\n{above}\ndef work(): pass'
    declared = Declared(files, content)
    assert declared.problems == []
    [(declaration, job)] = declared.found.jobs.values()
    assert (job.executor, declaration.own_values["queue"]) == (executor, queue)


USING = "@task(%s)\ndef work(): pass\nscheduled('cron', id='work', hour=3)(work%s)"
CONTEXT = "@task(takes_context=True)\ndef work(context): pass\nscheduled('cron', hour=3)(work)"
DATE = "import datetime as dt\n" + USING % ("", ".using(run_after=dt.datetime.now(dt.UTC))")
MISTAKES = {
    "takes_context": (CONTEXT, "leave it out, and ask jobstore.runs.current_run()"),
    "priority": (USING % ("priority=5", ""), "schedule the_task.using(priority=0)"),
    "backend": (USING % ("backend='other'", ""), "schedule the_task.using(backend='default')"),
    "method": (USING % ("", ".enqueue"), "schedule the Task itself"),
    "without a schedule": ("@scheduled\n@task()\ndef work(): pass", 'write @scheduled("cron"'),
    "offered": ("@schedulable\n@task()\ndef work(): pass", "write @schedulable below @task()"),
    "offered, with a name": (
        "@schedulable(name='Work')\n@task()\ndef work(): pass",
        "write @schedulable below @task()",
    ),
    "declared twice": (
        "@scheduled('cron', hour=4)\n@scheduled('cron', hour=3)\n@task()\ndef work(): pass",
        "is declared 2 times",
    ),
    "wrong id": ("@scheduled('cron', id=7, hour=3)\n@task()\ndef work(): pass", "is not text"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_task_that_cannot_be_a_job_is_refused_in_one_sentence(files: JobFiles, name: str) -> None:
    content, told = MISTAKES[name]
    declared = Declared(files, content)
    assert declared.found.jobs == {}
    [problem] = declared.problems
    assert told in problem and problem.endswith(".")
    assert declared.found.problems[0].is_fatal


def test_a_task_that_is_to_run_later_is_refused(files: JobFiles, settings: Settings) -> None:
    backend = importlib.import_module(IMMEDIATE.rpartition(".")[0]).ImmediateBackend
    settings.TASKS = {"default": {"BACKEND": IMMEDIATE}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "supports_defer", True)
        [problem] = Declared(files, DATE).problems
    assert "the schedule says when a job runs" in problem


def test_a_task_in_the_init_file_of_a_package_is_refused(files: JobFiles) -> None:
    declared = Declared(files, ABOVE, "__init__.py")
    [problem] = declared.problems
    assert "move it to a module of that package" in problem


def test_without_the_executor_for_tasks_it_is_said_what_to_set(
    files: JobFiles, settings: Settings
) -> None:
    settings.SCHEDULER_EXECUTORS = ()
    [problem] = Declared(files, ABOVE).problems
    assert "there is no executor 'tasks': set SCHEDULER_EXECUTORS=tasks" in problem


IN_THREADS = "@scheduled('cron', hour=3, executor='default')\n@task(%s)\ndef work(): pass"
QUESTIONS = {
    "below": ("@task()\n@scheduled('cron', hour=3)\ndef work(): pass", "@scheduled above @task()"),
    "unknown queue": (
        "@scheduled('cron', hour=3, queue='light')\n@task()\ndef work(): pass",
        "'light' is not among the QUEUES of the backend 'default' in TASKS (default, heavy)",
    ),
    "queue of threads": (
        IN_THREADS % "queue_name='heavy'",
        "queue has no effect",
    ),
    "backend of threads": (
        IN_THREADS % "backend='other'",
        "the backend 'other' of its Task has no effect",
    ),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_what_has_no_effect_on_a_task_is_told_and_it_runs_all_the_same(
    files: JobFiles, name: str
) -> None:
    content, told = QUESTIONS[name]
    declared = Declared(files, content)
    assert declared.job() is not None
    [problem] = declared.problems
    assert told in problem
    assert not declared.found.problems[0].is_fatal


def test_a_function_below_a_task_may_say_where_it_runs(files: JobFiles) -> None:
    content = "@task()\n@scheduled('cron', hour=3, executor='default')\ndef work(): pass"
    declared = Declared(files, content)
    assert declared.problems == []
    assert declared.job().func() is None


# --- In the database ------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_function_that_becomes_a_task_or_no_longer_is_one_is_found_all_the_same(
    files: JobFiles,
) -> None:
    """The declaration says the same of both, and the stored reference does not."""
    plain = "@scheduled('cron', id='job', hour=3, executor='tasks')\ndef work(): return 'done'"
    assert Declared(files, plain).sync() == ["add"]
    as_task = plain.replace("def", "@task()\ndef")
    assert Declared(files, as_task).sync() == ["update"]
    assert call("job") == "done"
    assert Declared(files, as_task).sync() == []
    assert Declared(files, plain).sync() == ["update"]
    assert call("job") == "done"


@pytest.mark.django_db
def test_a_wrong_declaration_does_not_retire_the_stored_job(files: JobFiles) -> None:
    Declared(files, ABOVE).sync()
    wrong = ABOVE.replace("hour=3", "id='renamed', hour=3").replace("()", "(priority=1)", 1)
    assert Declared(files, wrong).sync() == []
    assert DjangoJob.objects.count() == 1


@pytest.mark.django_db
def test_a_stored_task_is_offered_and_written_to_a_file(files: JobFiles) -> None:
    Declared(files, ABOVE).sync()
    row = DjangoJob.objects.get()
    offer = api.offer_for(row)
    assert offer is not None and offer.key == f"{files.package}.tasks.report"
    assert described(row, registry.offers())["function"] == offer.key
    assert api.differs_from_code(row) == []


@pytest.mark.django_db
def test_a_job_of_a_task_is_looked_at_and_reset_like_any_other(
    files: JobFiles, admin_client: Client
) -> None:
    Declared(files, ABOVE).sync()
    row = DjangoJob.objects.get()
    api.change(row.pk, executor="default", kwargs={"name": "one"})
    page = admin_client.get(f"/admin/jobstore/djangojob/{quote(row.pk)}/change/").content.decode()
    assert "report.func" in page.replace("<wbr>", "")
    assert {one.part for one in api.differs_from_code(row.pk)} == {"executor", "arguments"}
    api.reset(row.pk)
    assert DjangoJob.objects.get().executor == "tasks"


@pytest.mark.django_db
def test_an_operation_takes_the_function_of_a_task(files: JobFiles) -> None:
    module = Declared(files, ABOVE).module
    reference = f"{module.__name__}:report"
    for wrong in (module.report, reference):
        with pytest.raises(api.NotSchedulable, match="report is a Task; name its function"):
            api.add_job(wrong, "cron", hour=3)
    for right in (module.report.func, f"{reference}.func"):
        row = api.add_job(right, "cron", hour=3, executor="tasks")
        assert (row.func, row.executor) == (f"{reference}.func", "tasks")
        assert call(row, "it") == "reported it"


@pytest.mark.django_db
def test_a_function_that_is_offered_below_a_task_can_be_scheduled(files: JobFiles) -> None:
    content = "@task()\n@schedulable\ndef work(times: int = 1) -> str: return 'x' * times"
    declared = Declared(files, content)
    assert declared.problems == []
    key = f"{files.package}.tasks.work"
    row = api.add_offered(key, "cron", values={"times": "2"}, hour=3, executor="tasks")
    assert call(row, 2) == "xx"


@pytest.mark.django_db(transaction=True)
def test_users_test_their_tasks_like_any_job(files: JobFiles) -> None:
    content = ABOVE.replace("def report", "async def report")
    module = Declared(files, content).module
    registry._declared.clear()
    runner = JobRunner()
    files.forget()
    assert runner.run(f"{files.package}.tasks.report").result == "reported all"
    assert runner.run(sys.modules[module.__name__].report).result == "reported all"
