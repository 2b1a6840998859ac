"""Says why the project's applications cannot be loaded, in place of a traceback through Django."""

import traceback
from pathlib import Path

from django.apps import apps
from django.conf import settings
from django.core.exceptions import AppRegistryNotReady, ImproperlyConfigured

from jobstore.texts import described

BASE_DIR = Path(__file__).resolve().parent.parent
# The mistake is in the code that calls these too early, not in these.
CALLED = ("manage.py", "jobstore/")
TOO_EARLY = (
    " Django imports this file before any model: declare jobs, and import models, in another one."
)


def explain(error: BaseException) -> str | None:
    """Return the sentence for an error that ended the loading of settings or of an application.

    None if all is loaded, or if the error says by itself which setting is wrong.
    """
    is_of_settings = isinstance(error, ImproperlyConfigured) and not settings.configured
    if apps.ready or is_of_settings or isinstance(error, KeyboardInterrupt):
        return None
    place = _place(error)
    if not place and isinstance(error, ImproperlyConfigured | SystemExit):
        return None  # Django's own, which says why
    text = described(error)
    hint = TOO_EARLY if isinstance(error, AppRegistryNotReady) else ""
    return f"{place or 'config/settings.py'}: The project cannot be loaded: {text}{hint}"


def _place(error: BaseException) -> str:
    """Return the innermost line of the project's own code; nothing if there is none."""
    frames = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((error.filename, error.lineno))
    paths = [(_path_in_project(file), line or 1) for file, line in frames]
    places = [f"{path}:{line}" for path, line in paths if path and not path.startswith(CALLED)]
    return places[-1] if places else ""


def _path_in_project(file: str) -> str:
    path = Path(file)
    if not path.is_relative_to(BASE_DIR) or "site-packages" in path.parts:
        return ""
    return path.relative_to(BASE_DIR).as_posix()
