"""System check: problems of declared jobs that can be found without a database."""

import contextlib
from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Error, Warning, register

from jobstore import conf
from jobstore.checks import configuration

_is_left_out = False


@register()
def declared_jobs(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Report every problem of a declaration or of a file of jobs.

    They are warnings, since an error would stop `migrate`, and so all jobs. They are errors with
    SCHEDULER_ON_BAD_JOBS=refuse.
    """
    if _is_left_out or configuration.values(app_configs):
        return []
    from jobstore import registry
    from jobstore.jobstores import DjangoJobStore
    from jobstore.process.scheduler import DjangoScheduler

    found = registry.collect(DjangoScheduler(DjangoJobStore(), lambda: None))
    refuses = conf.get("SCHEDULER_ON_BAD_JOBS") == "refuse"
    return [
        Error(str(problem), hint=HINT, id="jobstore.E010")
        if problem.is_fatal and refuses
        else Warning(
            str(problem), hint=HINT, id="jobstore.W010" if problem.is_fatal else "jobstore.W011"
        )
        for problem in found.problems
    ]


HINT = "`manage.py runapscheduler --check` shows all declared jobs."


@contextlib.contextmanager
def left_out() -> Iterator[None]:
    """Skip this check meanwhile: the caller runs all checks, and reports declared jobs itself."""
    global _is_left_out
    _is_left_out = True
    try:
        yield
    finally:
        _is_left_out = False
