"""The app: it sets the trap that a test asked for, and adds the executor that its jobs name."""

import os

from django.apps import AppConfig


class LoadConfig(AppConfig):
    name = "load"

    def ready(self) -> None:
        """Set the trap of this process, if a test wants one."""
        from load import traps  # type: ignore[import-not-found]

        if os.environ.get("LOAD_EXECUTOR") == "celery":
            from load import messages

            messages.prepare()
        traps.set_from_environment()
