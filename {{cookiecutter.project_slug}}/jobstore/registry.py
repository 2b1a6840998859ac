"""Jobs declared in code: the decorators, and what is done with declarations.

A deploy keeps the decisions of operators: a job whose declaration did not change stays exactly as
it is, paused or edited. A changed declaration is stored, but a paused job stays paused.
"""

import dataclasses
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from jobstore.declarations import discovery
from jobstore.declarations.declaration import (
    Collected,
    Declaration,
    DeclarationError,
    NeverRuns,
    Place,
    Problem,
    name_of,
    place_of_call,
)
from jobstore.declarations.functions import fault_of
from jobstore.declarations.offers import Offer, offer_of
from jobstore.declarations.sync import Change, bring_in_line
from jobstore.declarations.validation import (
    build,
    prepare,
    questions_of,
    set_first_run,
)
from jobstore.jobstores import DjangoJobStore
from jobstore.leadership.lease import Term
from jobstore.schedules.crontab import crontab
from jobstore.texts import flattened

__all__ = [
    "Change",
    "Declaration",
    "DeclarationError",
    "Offer",
    "Problem",
    "crontab",
    "offers",
    "prepare",
    "schedulable",
    "scheduled",
    "sync",
]

logger = logging.getLogger("jobstore.registry")

UNNAMED = "since only the trigger is given without one; write id=, seconds=, args= and so on"

F = TypeVar("F", bound=Callable[..., Any])

# Every declaration, by its id and its line. An id that one line declares twice is a mistake, too.
_declared: dict[Any, list[Declaration]] = {}
# Every function that is offered, by its key.
_offered: dict[str, Offer] = {}


def scheduled(
    trigger: Any = None,
    *unnamed: Any,
    id: str | None = None,
    on_lost: str = "record",
    run_at_start: bool = False,
    **options: Any,
) -> Callable[[F], F]:
    """Declare a function as a job.

    Takes what APScheduler's `add_job` takes: a trigger ("cron", "interval", "date" or a trigger
    object), its arguments, and `args`, `kwargs`, `name`, `executor`, `max_instances`, `coalesce`,
    `misfire_grace_time`, `next_run_time`. By default runs coalesce, one runs at a time, and a
    run may be late by SCHEDULER_MISFIRE_GRACE_SECONDS. A wrong declaration raises nothing here: it
    is skipped, and reported by `runapscheduler --check`, at the start, and in the admin.

    :param id: identifies the job, so never change it; default "module.function". A function that
        is declared several times needs a different one for each.
    :param on_lost: what becomes of a run whose process died: "record" shows it as lost, "rerun"
        starts it again as well, for jobs that may safely run twice (three attempts at the most).
    :param run_at_start: also run once whenever a scheduler process first becomes active, as if
        somebody had asked for it. The schedule does not change, and a paused job stays paused.
    """
    place = place_of_call()
    if callable(trigger) and not hasattr(trigger, "get_next_fire_time"):
        fault = 'write @scheduled("cron", hour=3), say: without when to run there is no job'
        _record(Declaration(_id_of(id, trigger), trigger, None, {}, place=place, fault=fault))
        return trigger  # type: ignore[no-any-return]

    def decorate(func: F) -> F:
        fault = "" if id is None else _fault_of_id(id)
        if unnamed:
            fault = f"{flattened(repr(unnamed[0]))} needs a name, {UNNAMED}"
        if not callable(func):
            fault = f"{flattened(func)} cannot be called; declare a function"
        _record(
            Declaration(
                _id_of(id, func), func, trigger, options, on_lost, run_at_start, place, fault
            )
        )
        return func

    return decorate


def schedulable(function: Any = None, *, name: str | None = None, **hints: Any) -> Callable[[F], F]:
    """Offer a function, so that people may schedule it in the admin and by `manage.py jobs add`.

    There people can schedule only functions that the code declares or offers. Each argument must
    have a type that a form can ask for: str, int, float, bool, date, datetime, Decimal, an Enum,
    Literal, or one of them `| None`.

    :param name: what people call it; default the function's name.
    :param hints: for an argument, a text that helps to fill it in, or a dict of `label`, `help`,
        `least` and `most`.
    """
    place = place_of_call()

    def offer(func: F) -> F:
        found = offer_of(func, name, hints, place)
        _offered[found.key] = found
        return func

    return offer(function) if callable(function) else offer


def offers() -> dict[str, Offer]:
    """Import the jobs of every installed app; return the functions that people may schedule.

    These are the offered functions and those of declared jobs, by their keys.
    """
    problems = discovery.import_jobs()
    failed = discovery.failed(problems)
    found = {
        key: one
        for key, one in _offered.items()
        if not discovery.is_of(one.place.module, failed) and not _fault_of_offer(one)
    }
    for declaration, problem in _gathered(problems):
        if problem is None and not declaration.fault:
            one = offer_of(declaration.func, place=declaration.place, is_typed=False)
            found.setdefault(one.key, one)
    return dict(sorted(found.items()))


def _id_of(given: Any, func: Any) -> str:
    return (
        flattened(name_of(func))
        if given is None
        # A member of an Enum is text that formats as something else than it is stored as.
        else str.__str__(given)
        if isinstance(given, str)
        else str(given)
    )


def _fault_of_id(given: Any) -> str:
    if not isinstance(given, str):
        return f"its id {flattened(repr(given))} is not text; write it in quotes"
    if not given.strip():
        return "its id is empty; leave id= out, or name the job"
    return ""


def _record(declaration: Declaration) -> None:
    same_line = _declared.setdefault((declaration.id, declaration.place), [])
    # A module that is imported again declares its jobs again, with new function objects.
    known = same_line[0].func if same_line else declaration.func
    if known is not declaration.func and name_of(known) == name_of(declaration.func):
        same_line.clear()
    same_line.append(declaration)


def declarations() -> list[Declaration]:
    """Import the jobs of every installed app and return what they declare, by id.

    Declarations are left out if a problem is known without a look at their options.
    """
    return [one for one, problem in _gathered(discovery.import_jobs()) if problem is None]


def _gathered(problems: list[Problem]) -> list[tuple[Declaration, Problem | None]]:
    """Return all declarations by id, except those of modules that cannot be imported."""
    failed = discovery.failed(problems)
    by_id: dict[str, list[Declaration]] = {}
    for same_line in _declared.values():
        for one in same_line:
            if not discovery.is_of(one.place.module, failed):
                by_id.setdefault(one.id, []).append(one)
    found: list[tuple[Declaration, Problem | None]] = []
    for job_id in sorted(by_id):
        same = by_id[job_id]
        problem = _clash(same) if len(same) > 1 else None
        found += [(one, problem) for one in same]
    return found


def _clash(same: list[Declaration]) -> Problem:
    lines = " and ".join(dict.fromkeys(_shown(other.place) for other in same))
    names = " and ".join(dict.fromkeys(flattened(name_of(other.func)) for other in same))
    return same[0].problem(
        f"Job {same[0].id!r} is declared {len(same)} times ({names}; {lines}), so none of them "
        "is used: give each an id of its own, and each function a name of its own."
    )


def _shown(place: Place) -> str:
    return str(place) or "an unknown line"


def collect(scheduler: Any) -> Collected:
    """Import and validate every declaration. Needs the database's settings, not the database."""
    problems = discovery.import_jobs()
    found = Collected({}, problems, [], discovery.failed(problems), {})
    for declaration, problem in _gathered(problems):
        if problem is None:
            problem = _take(declaration, scheduler, found)
        if problem is not None:
            found.left_out.append(declaration)
            if problem not in problems:
                problems.append(problem)
    problems.extend(filter(None, map(_fault_of_offer, _offered.values())))
    return found


def _fault_of_offer(offer: Offer) -> Problem | None:
    fault = offer.fault or fault_of(offer.func)
    return dataclasses.replace(offer, fault=fault).problem if fault else None


def _take(declaration: Declaration, scheduler: Any, found: Collected) -> Problem | None:
    try:
        job = build(declaration, scheduler)
        questions = questions_of(declaration, job)
    except DeclarationError as error:
        return declaration.problem(str(error))
    try:
        set_first_run(job, declaration)
    except NeverRuns as error:
        found.ended[declaration.id] = declaration.problem(str(error), is_fatal=False)
    except DeclarationError as error:
        return declaration.problem(str(error))
    found.jobs[declaration.id] = (declaration, job)
    found.problems.extend(questions)
    return None


def sync(
    store: DjangoJobStore,
    scheduler: Any,
    *,
    dry_run: bool = False,
    term: Term | None = None,
    collected: Collected | None = None,
    start_of: str = "",
    report: Callable[[list[Problem]], None] | None = None,
) -> list[Change]:
    """Add, update and retire stored jobs so that they match the declarations.

    A declaration that cannot be carried out is reported; its stored job stays as it is.

    :param dry_run: only return what would be done.
    :param term: the right to write; without it, the caller ensures that no other process does.
    :param collected: the result of `collect`, if that was called before.
    :param start_of: the process that starts, for jobs that run at a start.
    :param report: called with all problems; without it they are logged.
    :raises NotHolder: if the lease is not held with this term.
    """
    if collected is None:
        collected = collect(scheduler)
    outcome = bring_in_line(store, collected, dry_run=dry_run, term=term, start_of=start_of)
    (report or log_problems)(outcome.problems)
    return outcome.changes


def log_problems(problems: list[Problem]) -> None:
    """Write a line for each problem."""
    for problem in problems:
        logger.log(logging.ERROR if problem.is_fatal else logging.WARNING, "%s", problem)
