"""Where a test puts the jobs of a project with two databases."""

from typing import Any

ALIAS = "jobs"


class JobsElsewhere:
    """Keeps the job store's tables, and nothing else, in a database of their own."""

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        """Return the database for a model, if it is one of the job store's."""
        return ALIAS if model._meta.app_label == "jobstore" else None

    db_for_write = db_for_read

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        """Return whether an app has tables in a database."""
        return (db == ALIAS) == (app_label == "jobstore")
