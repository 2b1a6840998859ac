"""What is wrong with declarations, as the database keeps it for pages and probes."""

import dataclasses
from collections.abc import Iterable

from jobstore.declarations.declaration import Problem
from jobstore.models import DeclarationProblem, database_now


class StoredProblems:
    """The problems that are stored, and those that should be."""

    def __init__(self, problems: Iterable[Problem], using: str) -> None:
        """Read what is stored.

        :param problems: what is wrong now.
        """
        self._using = using
        self._wanted: dict[str, Problem] = {}
        for one in problems:
            same = self._wanted.get(one.subject)
            if same is not None and one.text not in same.text:
                is_fatal = same.is_fatal or one.is_fatal
                one = Problem(one.subject, f"{same.text} {one.text}", same.place, is_fatal)
            self._wanted[one.subject] = one
        stored = {
            row.subject: Problem(row.subject, row.text, row.place, row.is_fatal)
            for row in DeclarationProblem.objects.using(using)
        }
        self._gone = [subject for subject in stored if stored[subject] != self._shown(subject)]
        self._new = [
            subject for subject in self._wanted if stored.get(subject) != self._shown(subject)
        ]

    def _shown(self, subject: str) -> Problem | None:
        """Return the problem as it can be stored."""
        one = self._wanted.get(subject)
        return one and dataclasses.replace(one, place=one.place[-500:])

    @property
    def differ(self) -> bool:
        """Whether anything must be written."""
        return bool(self._gone or self._new)

    def write(self) -> None:
        """Write the differences."""
        if not self.differ:
            return
        rows = DeclarationProblem.objects.using(self._using)
        rows.filter(pk__in=self._gone).delete()
        now = database_now(self._using)
        rows.bulk_create(
            DeclarationProblem(noticed_at=now, **dataclasses.asdict(problem))
            for subject in self._new
            if (problem := self._shown(subject))
        )
