"""What may be done with stored jobs, from any process: code, `manage.py jobs` and the admin.

All three call these functions, so checks, rights and the audit are the same. No scheduler is
needed. Everything happens inside the caller's transaction, if there is one: after a rollback
nothing was done. The active scheduler notices a change at once on PostgreSQL, and elsewhere within
the two seconds between renewals of the lease.

`by=` says who asks. If it is a user, the user's permissions and JOB_ACCESS are checked; a text is
only recorded. A refused operation raises a subclass of `OperationError` and changes nothing.

    from jobstore import api

    api.add_job(send_reminder, "date", run_date=appointment - day, args=[appointment_id])
"""

from jobstore.api.access import may, through
from jobstore.api.adding import add_job, add_offered, arguments_of
from jobstore.api.bulk import Outcome, cancel_all, run_all_again
from jobstore.api.changing import change, reschedule, reset
from jobstore.api.columns import UNSET
from jobstore.api.errors import (
    AlreadyExists,
    CannotCancel,
    Conflict,
    InvalidArguments,
    InvalidOption,
    InvalidSchedule,
    NoSuchJob,
    NoSuchRun,
    NotAllowed,
    NotDeclared,
    NotEnded,
    NotSchedulable,
    OperationError,
    Quarantined,
    Unreadable,
)
from jobstore.api.reading import (
    IN_SERVICE,
    OPTIONS,
    STATES,
    Definition,
    Difference,
    definition,
    differs_from_code,
    find,
    get,
    get_run,
    made_trigger,
    next_run_times,
    offer_for,
    offered,
    preview,
    shown_arguments,
    state_of,
)
from jobstore.api.running import cancel, pause, resume, retire, run_again, run_all_now, run_now
from jobstore.api.visibility import Visible, sees, visible_to
from jobstore.registry import offers

__all__ = [
    "IN_SERVICE",
    "OPTIONS",
    "STATES",
    "UNSET",
    "AlreadyExists",
    "CannotCancel",
    "Conflict",
    "Definition",
    "Difference",
    "InvalidArguments",
    "InvalidOption",
    "InvalidSchedule",
    "NoSuchJob",
    "NoSuchRun",
    "NotAllowed",
    "NotDeclared",
    "NotEnded",
    "NotSchedulable",
    "OperationError",
    "Outcome",
    "Quarantined",
    "Unreadable",
    "Visible",
    "add_job",
    "add_offered",
    "arguments_of",
    "cancel",
    "cancel_all",
    "change",
    "definition",
    "differs_from_code",
    "find",
    "get",
    "get_run",
    "made_trigger",
    "may",
    "next_run_times",
    "offer_for",
    "offered",
    "offers",
    "pause",
    "preview",
    "reschedule",
    "reset",
    "resume",
    "retire",
    "run_again",
    "run_all_again",
    "run_all_now",
    "run_now",
    "sees",
    "shown_arguments",
    "state_of",
    "through",
    "visible_to",
]
