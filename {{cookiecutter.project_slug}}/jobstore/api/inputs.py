"""What callers name and say: ids of jobs and runs, reasons, switches, numbers.

Whoever calls from code may pass a row in place of its id. What can be no id is one that is not
there: no database is asked for it, since not every database takes each text.
"""

from collections.abc import Iterable
from typing import Any

from django.utils.translation import gettext_noop as _

from jobstore.api.errors import InvalidOption, NoSuchJob, NoSuchRun
from jobstore.models import DjangoJob, DjangoJobExecution
from jobstore.sentences import said
from jobstore.texts import flattened, storable

# The largest key of a row, and the longest id of a job.
LARGEST_KEY = 2**63 - 1
LONGEST_ID = 255
# Characters of a text that is looked for: SQLite takes no longer ones.
LONGEST_TEXT = 1000
# Characters of a reason.
LONGEST_REASON = 500


def job_key(job: Any) -> str:
    """Return the id of a job.

    :param job: a row, or its id.
    :raises NoSuchJob: for what can be no id.
    """
    key = job.pk if isinstance(job, DjangoJob) else job
    if not isinstance(key, str) or len(key) > LONGEST_ID or storable(key) != key:
        raise NoSuchJob(said(_("There is no job %(job)s."), job=flattened(repr(key), 80)))
    return key


def run_key(run: Any) -> int:
    """Return the number of a run.

    :param run: a row, or its number.
    :raises NoSuchRun: for what can be no number.
    """
    key = run.pk if isinstance(run, DjangoJobExecution) else run
    if isinstance(key, bool) or not isinstance(key, int) or not 0 < key <= LARGEST_KEY:
        raise NoSuchRun(
            said(_("There is no run %(run)s in the history."), run=flattened(repr(key), 80))
        )
    return key


def several(given: Iterable[Any]) -> list[Any]:
    """Return what several things were named by.

    :raises InvalidOption: for one text, whose letters would be taken for ids, and for no list.
    """
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise InvalidOption(said(_("Pass a list of ids, even of a single one.")))
    return list(given)


def reason_of(reason: Any) -> str:
    """Return why somebody pauses a job, as it is stored.

    :raises InvalidOption: if it is not text, or longer than the column.
    """
    if not isinstance(reason, str):
        text = _("A reason is text, not %(value)s.")
        raise InvalidOption(said(text, value=flattened(repr(reason), 80)))
    stored = storable(reason.strip())
    if len(stored) > LONGEST_REASON:
        text = _("A reason has at most %(longest)s characters, and this one has %(number)s.")
        raise InvalidOption(said(text, longest=LONGEST_REASON, number=len(stored)))
    return stored


def switch(name: str, value: Any) -> bool:
    """Return a yes or no.

    :raises InvalidOption: for anything else: most values would count as a yes.
    """
    if not isinstance(value, bool):
        text = _("%(name)s is True or False, not %(value)s.")
        raise InvalidOption(said(text, name=name, value=flattened(repr(value), 80)))
    return value


def number(value: Any, most: int) -> int:
    """Return how many times are asked for.

    :raises InvalidOption: for no whole number, or one that is not from 1 to `most`.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        shown = flattened(repr(value), 80)
        text = _("From 1 to %(most)s times can be asked for, not %(number)s.")
        raise InvalidOption(said(text, most=most, number=shown))
    return value


def check_texts(**filters: Any) -> None:
    """Refuse texts to look for that no job could have.

    :raises InvalidOption: with the name of the filter.
    """
    for name, value in filters.items():
        if not isinstance(value, str) or len(value) > LONGEST_TEXT or storable(value) != value:
            shown = flattened(repr(value), 80)
            text = _("%(name)s is a text of at most %(most)s letters, not %(value)s.")
            raise InvalidOption(said(text, name=name, most=LONGEST_TEXT, value=shown))


def check_switches(**filters: Any) -> None:
    """Refuse what is neither a yes, nor a no, nor None.

    :raises InvalidOption: with the name of the filter.
    """
    for name, value in filters.items():
        if value is not None:
            switch(name, value)
