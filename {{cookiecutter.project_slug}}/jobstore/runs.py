"""The run that is being carried out: which one it is, and how far it has come.

from jobstore.runs import current_run, progress
"""

from jobstore.context import CurrentRun, Number, current

__all__ = ["CurrentRun", "current_run", "progress"]


def current_run() -> CurrentRun | None:
    """Return the run whose function is being called; None outside one, and in a process pool.

    A thread that your job starts is outside: hand the run to it.
    """
    return current.get()


def progress(done: Number, total: Number | None = None, text: str = "") -> None:
    """Tell how far the current run has come, as its method `progress` does.

    Does nothing outside a run, so that the same function can be called by hand, in a view or a
    test.
    """
    if (run := current.get()) is not None:
        run.progress(done, total, text)
