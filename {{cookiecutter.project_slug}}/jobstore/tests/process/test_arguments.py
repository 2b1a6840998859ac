"""An argument of a command that makes no sense is refused in one sentence, and nothing is done."""

import pytest
from django.core.management import CommandError, call_command

WRONG = [
    ("prune_job_history", "--days=-1", "-1.*a number of days from 0 to 36500"),
    ("prune_job_history", "--days=nan", "a number of days"),
    ("prune_job_history", "--days=1e9", "a number of days"),
    ("prune_job_history", "--keep-per-job=-5", "a whole number of rows from 0"),
    ("scheduler_status", "--wait-for-jobs", "--timeout=-5", "a number of seconds from 0"),
    ("scheduler_status", "--wait-for-jobs", "--timeout=nan", "a number of seconds from 0"),
    ("scheduler_status", "--wait-for-jobs", "--timeout=soon", "a number of seconds from 0"),
    ("scheduler_status", "--timeout=5", "add that as well"),
    ("import_django_apscheduler", "--allow=os.system", "not MODULE:NAME"),
    ("import_django_apscheduler", "--allow=:", "not MODULE:NAME"),
    ("runapscheduler", "--check", "--dry-run", "not allowed with"),
]


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_an_argument_that_makes_no_sense_is_refused(arguments: tuple[str, ...]) -> None:
    *words, reason = arguments
    with pytest.raises(CommandError, match=reason) as refused:
        call_command(*words)
    assert "\n" not in str(refused.value)
