"""The application that holds how the project is wired; it registers the checks of its variables."""

from django.apps import AppConfig


class ProjectConfig(AppConfig):
    """Named "config"; it has no models."""

    name = "config"

    def ready(self) -> None:
        """Import the checks, which registers them."""
        from . import checks  # noqa: F401
