"""Problems of declarations, as the active scheduler stored them, for the pages of jobs."""

from collections.abc import Iterable
from typing import Any

from django.db import router
from django.utils.html import format_html
from django.utils.safestring import SafeString

from jobstore import api
from jobstore.admin.display import with_reason
from jobstore.models import DeclarationProblem

# Problems that a page reads, and that it shows above its list.
MAX_FOUND, MAX_SHOWN = 1000, 50
EVERYTHING = api.Visible()


def add_problems(
    jobs: Iterable[Any], visible: api.Visible = EVERYTHING
) -> list[DeclarationProblem]:
    """Set `problem` on jobs: the declaration's, or None. Return the problems to list above them.

    Problems because of which a job is skipped come first. One statement.

    :param visible: the jobs that may be named. To whom some are hidden, a file is not named either.
    """
    problems = DeclarationProblem.objects.using(router.db_for_read(DeclarationProblem))
    problems = problems.filter(visible.q("subject"))
    found = list(problems.order_by("-is_fatal", "subject")[:MAX_FOUND])
    by_job = {problem.subject: problem for problem in found}
    for job in jobs:
        job.problem = by_job.get(job.pk)
    return found[:MAX_SHOWN]


def mark(job: Any) -> SafeString | str:
    """Return a mark for a job whose declaration is wrong; empty for others."""
    problem = getattr(job, "problem", None)
    if problem is None:
        return ""
    word = "not as declared" if problem.is_fatal else "questionable"
    return format_html(" {}", with_reason(word, problem, is_problem=problem.is_fatal))
