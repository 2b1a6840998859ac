"""Runs that take longer than their timeout where nothing can end them: in threads and coroutines.

Their function can ask (`current_run().is_cancelled`), the log has a warning, and the run's note
says by how much it took longer.
"""

import logging
from typing import TYPE_CHECKING

from jobstore.execution import deadlines

if TYPE_CHECKING:
    from jobstore.execution.run import ActiveRun

logger = logging.getLogger("jobstore.runs")


def watch(run: "ActiveRun") -> deadlines.Deadline | None:
    """Begin to watch a run that starts now; None if it has no timeout."""
    if run.timeout is None:
        return None
    try:
        return deadlines.after(run.timeout, lambda: _overrun(run))
    except RuntimeError as error:
        logger.warning("The timeout of job %r is not watched: %s.", run.job_id, error)
        return None


def end(run: "ActiveRun", watched: deadlines.Deadline | None) -> None:
    """End the watch over a run that has just ended, and note by how much it took too long."""
    if watched is None or run.timeout is None:
        return
    watched.cancel()
    if run.duration is not None and run.duration > run.timeout:
        run.say(
            f"It ran for {run.duration:.3g} s, {run.duration - run.timeout:.3g} s beyond its "
            "timeout: a thread cannot be ended."
        )


def _overrun(run: "ActiveRun") -> None:
    if run.finished is not None:
        return
    run.stop_reason = run.stop_reason or f"Its timeout of {run.timeout:g} s is over."
    logger.warning(
        "Job %r has been running for longer than its timeout of %g s (run %d). A thread cannot be "
        "ended; its function can ask current_run().is_cancelled.",
        run.job_id,
        run.timeout,
        run.execution_id,
    )
