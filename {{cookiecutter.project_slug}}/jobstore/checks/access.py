"""System check: the project's own function that decides who may do what with a job."""

from typing import Any

from django.core.checks import CheckMessage, Error, register
from django.utils.module_loading import import_string

from jobstore import conf
from jobstore.checks import configuration
from jobstore.texts import described


@register()
def job_access(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Whether JOB_ACCESS names a function: as long as it does not, nobody may do anything."""
    if configuration.values(app_configs) or not (name := conf.get("JOB_ACCESS")):
        return []
    try:
        problem = "" if callable(import_string(name)) else "it is no function"
    except Exception as error:  # code of the project's, which may raise anything
        problem = described(error)
    if not problem:
        return []
    return [
        Error(
            f"JOB_ACCESS is {name!a}, which cannot be used: {problem}",
            hint="Name a function (user, verb, job) -> bool, or leave JOB_ACCESS empty.",
            id="jobstore.E012",
        )
    ]
