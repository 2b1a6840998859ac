"""What people do to running schedulers, and take back a while later.

A bad file of jobs is deployed, the secret key is rotated, one machine gets another key, a column is
renamed. Each is a release: processes are told to stop, one after the other, and start again with it.
"""

import itertools
import secrets
from collections.abc import Callable

from faults.cluster import Cluster, Scheduler
from faults.deployed import BAD, GOOD, jobs_file

MISTAKES = {"file": 3, "rotate": 2, "key": 2, "table": 3}

# Seconds between two processes of a release, and between two tries at one that cannot be told now.
APART, AGAIN = 3.0, 2.0


class Mistakes:
    """Makes mistakes on a cluster; each ends by itself."""

    def __init__(
        self,
        cluster: Cluster,
        later: Callable[[float, Callable[[], None]], None],
        stop: Callable[[Scheduler], None],
    ) -> None:
        """Prepare.

        :param later: calls a function after so many seconds.
        :param stop: tells a process to stop; it is started again when it has ended.
        """
        self._cluster = cluster
        self._later = later
        self._stop = stop
        self._under_way: set[str] = set()

    def make(self, kind: str, number: int, seconds: float) -> str:
        """Make a mistake of this kind and take it back after so many seconds; return what it is.

        Returns nothing where one of its kind has not ended, or the database did not let it happen.
        """
        if kind in self._under_way or (kind in ("key", "rotate") and self._under_way & {"key", "rotate"}):
            return ""
        self._under_way.add(kind)
        how: Callable[[int, float], str] = getattr(self, f"_{kind}")
        return how(number, seconds)

    # --- A bad file ----------------------------------------------------------------------------------

    def _file(self, number: int, seconds: float) -> str:
        what, text = list(BAD.items())[number % len(BAD)]
        self._deploy(text, self._cluster.schedulers[number % len(self._cluster.schedulers)])

        def take_back() -> None:
            self._deploy(GOOD, *self._cluster.schedulers)
            self._end("file")

        self._later(seconds, take_back)
        return what

    def _deploy(self, text: str, *schedulers: Scheduler) -> None:
        jobs_file(self._cluster.folder).write_text(text)
        self._release(schedulers)

    # --- Keys ----------------------------------------------------------------------------------------

    def _rotate(self, number: int, seconds: float) -> str:
        """Rotate as .env.example says: the old key accepted at first, and then no more."""
        environment = self._cluster.environment
        environment["DJANGO_SECRET_KEY_FALLBACKS"] = environment["DJANGO_SECRET_KEY"]
        environment["DJANGO_SECRET_KEY"] = secrets.token_urlsafe(48)
        self._cluster.forget_operator()
        self._release(self._cluster.schedulers)
        self._later(seconds, self._finish_rotation)
        return "the former key still accepted"

    def _finish_rotation(self) -> None:
        """Take the former key out once every job is signed with the new one, as the status says."""
        if not self._cluster.is_signed_anew():
            self._later(AGAIN, self._finish_rotation)
            return
        del self._cluster.environment["DJANGO_SECRET_KEY_FALLBACKS"]
        self._release(self._cluster.schedulers)
        self._end("rotate")

    def _key(self, number: int, seconds: float) -> str:
        """Give one machine a key that signed nothing here."""
        one = self._cluster.schedulers[number % len(self._cluster.schedulers)]
        one.environment["DJANGO_SECRET_KEY"] = secrets.token_urlsafe(48)
        self._release([one])

        def take_back() -> None:
            one.environment.pop("DJANGO_SECRET_KEY")
            self._release([one])
            self._end("key")

        self._later(seconds, take_back)
        return f"{one.name} with another key"

    # --- A table -------------------------------------------------------------------------------------

    def _table(self, number: int, seconds: float) -> str:
        column = ("func", "version", "executor")[number % 3]
        try:
            self._rename(column, f"{column}_2")
        except RuntimeError:
            self._end("table")
            return ""

        def take_back() -> None:
            try:
                self._rename(f"{column}_2", column)
            except RuntimeError:
                self._later(AGAIN, take_back)
            else:
                self._end("table")

        self._later(seconds / 3, take_back)
        return f"column {column} renamed"

    def _rename(self, old: str, new: str) -> None:
        self._cluster.query(f"ALTER TABLE jobstore_djangojob RENAME COLUMN {old} TO {new}")

    # --- Releases ------------------------------------------------------------------------------------

    def _release(self, schedulers: "tuple[Scheduler, ...] | list[Scheduler]") -> None:
        """Have processes stop one after the other; whoever starts later has what is deployed then."""
        for delay, one in zip(itertools.count(0.0, APART), schedulers, strict=False):
            self._later(delay, lambda one=one, pid=one.pid: self._replace(one, pid))  # type: ignore[misc]

    def _replace(self, one: Scheduler, pid: int | None) -> None:
        """Stop a process, as soon as it can be told, unless another has taken its place by then."""
        if one.pid != pid or not one.is_alive:
            return
        if one.is_frozen:
            self._later(AGAIN, lambda: self._replace(one, pid))
            return
        self._stop(one)

    def _end(self, kind: str) -> None:
        self._under_way.discard(kind)
