"""System checks of the environment: likely mistakes that do not keep the project from starting."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning, register

from .env import Environment

# Characters, as in Django's own check. A key that is made as documented is longer.
KEY_LENGTH = 50


@register()
def unknown_variables(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Warn about variables that nothing reads: a misspelt one would leave the default in force."""
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
    """Warn about a secret key that looks cut off: it would reject what the whole key has signed."""
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
    """Warn about files of secrets that other users of this machine can read."""
    env: Environment | None = getattr(settings, "ENVIRONMENT", None)
    files = [file for file in (env.files if env else {}).values() if exposed(file)]
    return [
        Warning(
            f"Other users of this machine can read {file}.",
            hint=f"chmod 700 {file.parent}",
            id="config.W003",
        )
        for file in files
        # Modes elsewhere, as in a container's /run/secrets, are not this project's.
        if file.is_relative_to(settings.BASE_DIR)
    ]


def exposed(file: Path) -> bool:
    """Whether users other than its owner can read a file and enter its folder."""
    mine, folder = file.stat(), file.parent.stat()
    # A file that is mounted by itself lies in another folder on the host.
    together = mine.st_dev == folder.st_dev
    return together and any(mine.st_mode & 4 * who and folder.st_mode & who for who in (0o10, 0o1))
