"""The app of the project's own parts; it registers the system checks of the environment."""

from django.apps import AppConfig


class ProjectConfig(AppConfig):
    """Named "config"; it has no models."""

    name = "config"

    def ready(self) -> None:
        """Import the checks, which registers them."""
        from . import checks  # noqa: F401
