"""System checks of the environment: likely mistakes with which the project starts all the same."""

from pathlib import Path
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


@register()
def exposed_secrets(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """A copy of the project without the modes of its files shows its secrets to this machine."""
    env: Environment | None = getattr(settings, "ENVIRONMENT", None)
    files = [file for file in (env.files if env else {}).values() if exposed(file)]
    return [
        Warning(
            f"Other users of this machine can read {file}.",
            hint=f"chmod 700 {file.parent}",
            id="config.W003",
        )
        for file in files
        # Elsewhere, as in /run/secrets of a container, modes are not ours to judge.
        if file.is_relative_to(settings.BASE_DIR)
    ]


def exposed(file: Path) -> bool:
    """Whether users other than its owner can read a file and enter its folder."""
    mine, folder = file.stat(), file.parent.stat()
    # What is mounted by itself lies in another folder on the host.
    together = mine.st_dev == folder.st_dev
    return together and any(mine.st_mode & 4 * who and folder.st_mode & who for who in (0o10, 0o1))
