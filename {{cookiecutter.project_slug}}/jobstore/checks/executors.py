"""System check: executors that the settings name, and that cannot be used."""

from typing import Any

from django.core.checks import CheckMessage, Error, register

from jobstore.checks import configuration


@register()
def executors(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Refuse an executor whose package or broker is missing; no broker is asked."""
    from jobstore.executors import configured

    if configuration.values(app_configs):
        return []
    hint = "docs/where-jobs-run.md says what each executor needs; without it, change SCHEDULER_EXECUTORS."
    return [Error(text, hint=hint, id="jobstore.E014") for text in configured.problems()]
