"""System checks of the environment: likely mistakes with which the project starts all the same."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning, register

from .env import Environment

# As many as Django's own check wants, in which a key that was made as documented never fails.
KEY_LENGTH = 50


@register()
def unknown_variables(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """A misspelt variable would be ignored, and the default used in its place."""
    env: Environment | None = getattr(settings, "ENVIRONMENT", None)
    return [
        Warning(
            f"Nothing reads the variable {name}.",
            hint=f"Did you mean {meant}?" if meant else "See .env.example, or remove it.",
            id="config.W001",
        )
        for name, meant in (env.unknown() if env else {}).items()
    ]


@register()
def cut_keys(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """A key that lost a part on its way is another key: what the whole one signed is refused."""
    keys = {"DJANGO_SECRET_KEY": [settings.SECRET_KEY]}
    keys["DJANGO_SECRET_KEY_FALLBACKS"] = list(settings.SECRET_KEY_FALLBACKS)
    return [
        Warning(
            f"{name} holds a key of {len(key)} characters, which is less than {KEY_LENGTH}.",
            hint="If you wrote a longer one: Docker Compose and shells replace $ and what follows "
            "it, drop what follows a # after a space, and a comma ends a fallback. Use letters, "
            "digits, - and _ only.",
            id="config.W002",
        )
        for name, values in keys.items()
        for key in values
        if len(key) < KEY_LENGTH
    ]
