"""System checks: the project's own functions that decide who may do what with a job."""

from typing import Any

from django.core.checks import CheckMessage, Error, register
from django.utils.module_loading import import_string

from jobstore import conf
from jobstore.checks import configuration
from jobstore.texts import described

SIGNATURES = {
    "JOB_ACCESS": "(user, verb, job) -> bool",
    "JOB_ACCESS_QUERYSET": "(user, jobs) -> jobs, both querysets",
}


@register()
def job_access(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Refuse what names no function: nobody could do anything with jobs."""
    if configuration.values(app_configs):
        return []
    names = {setting: conf.get(setting) for setting in SIGNATURES}
    found: list[CheckMessage] = []
    for setting, name in names.items():
        if name and (problem := _problem(name)):
            hint = f"Name a function {SIGNATURES[setting]}, or leave {setting} empty."
            text = f"{setting} is {name!a}, which cannot be used: {problem}"
            found.append(Error(text, hint=hint, id="jobstore.E012"))
    if names["JOB_ACCESS_QUERYSET"] and not names["JOB_ACCESS"]:
        found.append(
            Error(
                "JOB_ACCESS_QUERYSET is set and JOB_ACCESS is not: jobs that lists hide could be "
                "changed by whoever knows their ids.",
                hint="Set both, or neither. JOB_ACCESS decides about a single job.",
                id="jobstore.E013",
            )
        )
    return found


def _problem(name: str) -> str:
    try:
        return "" if callable(import_string(name)) else "it is no function"
    except Exception as error:  # code of the project's, which may raise anything
        return described(error)
