"""System check: the project's own function that decides who may do what with a job."""

from typing import Any

from django.core.checks import CheckMessage, Error, register
from django.utils.module_loading import import_string

from jobstore import conf
from jobstore.checks import configuration
from jobstore.texts import described


@register()
def job_access(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Refuse a JOB_ACCESS that names no function: nobody could do anything with jobs."""
    if configuration.values(app_configs) or not (name := conf.get("JOB_ACCESS")):
        return []
    try:
        problem = "" if callable(import_string(name)) else "it is no function"
    except Exception as error:  # code of the project, which may raise anything
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
