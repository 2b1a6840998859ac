"""Who may do what: a permission for each verb, and a function of the project's for each job."""

import contextlib
import contextvars
import getpass
import logging
import os
from collections.abc import Iterator
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string
from django.utils.translation import gettext_noop as _

from jobstore import conf
from jobstore.api.errors import NotAllowed
from jobstore.context import current
from jobstore.models import AuditEntry, DjangoJob
from jobstore.sentences import said
from jobstore.texts import described, flattened

logger = logging.getLogger(__name__)

# A user, or a text that says who asks; None for the code itself.
By = Any

# The permission that each verb needs.
PERMISSIONS = {
    "view": "jobstore.view_djangojob",
    "add": "jobstore.add_djangojob",
    "edit": "jobstore.change_djangojob",
    "run": "jobstore.run_djangojob",
    "pause": "jobstore.pause_djangojob",
    "cancel": "jobstore.cancel_djangojob",
    "retire": "jobstore.retire_djangojob",
}

_through: contextvars.ContextVar[str] = contextvars.ContextVar(
    "jobstore_through", default=AuditEntry.Through.CODE
)


@contextlib.contextmanager
def through(way: str) -> Iterator[None]:
    """Let the audit record where operations are called meanwhile: "admin" or "command"."""
    token = _through.set(AuditEntry.Through(way))
    try:
        yield
    finally:
        _through.reset(token)


def present_way() -> str:
    """Return where the current operation was called."""
    return _through.get()


def is_user(by: By) -> bool:
    """Tell whether rights must be checked: for a user, but not for a text or None."""
    return hasattr(by, "has_perm")


def name_of(by: By) -> str:
    """Return who asks, as the history and the audit name them."""
    if is_user(by):
        return str(by.get_username())[:150]
    if by:
        return flattened(by, 150)
    run = current.get()
    return f"job {run.job_id}, run {run.execution_id}"[:150] if run is not None else "code"


def key_of(by: By) -> str | None:
    """Return the key of the user who asks; None if no user does."""
    return str(by.pk)[:64] if is_user(by) and by.pk is not None else None


def shell_user() -> str:
    """Return the operating system's name of the user who runs the current command."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return f"uid {os.getuid()}"


def may(by: By, verb: str, job: DjangoJob | None = None) -> bool:
    """Tell whether somebody may do something, with a certain job if one is given.

    Code (None) and a text may do everything: the author of the calling code decides. A JOB_ACCESS
    that raises allows nothing.

    :param by: a user, a text or None.
    :param verb: "view", "add", "edit", "run", "pause", "cancel" or "retire".
    :param job: asks the project's JOB_ACCESS as well.
    :raises ImproperlyConfigured: if JOB_ACCESS cannot be imported.
    """
    try:
        return _may(by, verb, job)
    except ImproperlyConfigured:
        raise
    except Exception:
        logger.exception("JOB_ACCESS raised, which allows nothing.")
        return False


def check(by: By, verb: str, job: DjangoJob | None = None) -> None:
    """Check a right as `may` does, and say what JOB_ACCESS raised if it did.

    :raises NotAllowed: if the user may not.
    """
    try:
        allowed = _may(by, verb, job)
    except ImproperlyConfigured:
        raise
    except Exception as error:
        raise NotAllowed(said(_("JOB_ACCESS raised %(error)s."), error=described(error))) from error
    if not allowed:
        if job is None or verb == "add":
            raise NotAllowed(said(_("%(who)s may not %(verb)s jobs."), who=name_of(by), verb=verb))
        text = _("%(who)s may not %(verb)s job %(job)r.")
        raise NotAllowed(said(text, who=name_of(by), verb=verb, job=job.pk))


def decider() -> Any:
    """Return the project's function of JOB_ACCESS, or None."""
    return _imported("JOB_ACCESS")


def narrower() -> Any:
    """Return the project's function of JOB_ACCESS_QUERYSET, or None."""
    return _imported("JOB_ACCESS_QUERYSET")


def _may(by: By, verb: str, job: DjangoJob | None) -> bool:
    if not is_user(by):
        return True
    if not by.has_perm(PERMISSIONS[verb]):
        return False
    decide = decider() if job is not None else None
    return decide is None or bool(decide(by, verb, job))


def _imported(setting: str) -> Any:
    name = conf.get(setting)
    if not name:
        return None
    try:
        return import_string(name)
    except ImportError as error:
        raise ImproperlyConfigured(f"{setting} is {name!a}: {error}") from error
