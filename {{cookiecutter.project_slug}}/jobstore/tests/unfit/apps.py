"""Breaks what runs before the first claim: storing the declared jobs raises."""

from django.apps import AppConfig


class UnfitConfig(AppConfig):
    """Breaks what runs before the first claim, as a bad release might."""

    name = "jobstore.tests.unfit"

    def ready(self) -> None:
        """Let each preparation fail."""
        from jobstore import registry

        def sync(*args: object, **options: object) -> None:
            raise RuntimeError("a bad release")

        registry.sync = sync  # type: ignore[assignment]
