"""The app: it sets the trap that a test asked for before the scheduler starts."""

from django.apps import AppConfig


class LoadConfig(AppConfig):
    name = "load"

    def ready(self) -> None:
        """Set the trap of this process, if a test wants one."""
        from load import traps  # type: ignore[import-not-found]

        traps.set_from_environment()
