"""Further ways to set up those that are measured: two processes, a part switched off."""

from typing import Any

from contenders import CONTENDERS, Contender, DjangoApscheduler, Ours


class OursWithStandby(Ours):
    """Two processes, of which one runs jobs and the other waits to take over."""

    name = "ours-standby"
    title = "this template with a standby"
    home = "ours"

    @property
    def environment(self) -> dict[str, str]:
        """Two processes cannot both answer probes at one address."""
        return super().environment | {"SCHEDULER_SURPLUS": "standby", "SCHEDULER_HEALTH_ADDRESS": ""}

    def commands(self, scenario: dict[str, Any]) -> list[tuple[str, ...]]:
        """Return the project's own command, twice."""
        return [*super().commands(scenario), *super().commands(scenario)]


class OursWithoutDetector(Ours):
    """As behind a pooler in transaction mode, where sessions do not last."""

    name = "ours-no-detector"
    title = "this template, detector off"
    home = "ours"

    @property
    def environment(self) -> dict[str, str]:
        """Switches it off."""
        return super().environment | {"SCHEDULER_SESSION_LOCK": "false"}


class OursWithoutListening(Ours):
    """As on a database that cannot tell of changes."""

    name = "ours-no-listen"
    title = "this template, LISTEN off"
    home = "ours"
    # Others have nothing to switch off.
    databases = ("postgresql",)

    @property
    def environment(self) -> dict[str, str]:
        """Switches it off."""
        return super().environment | {"SCHEDULER_LISTEN": "false"}


class OursRestarted(Ours):
    """One process, started again at once whenever it ends."""

    name = "ours-restarted"
    title = "this template, restarted at once"
    home = "ours"


class DjangoApschedulerTwice(DjangoApscheduler):
    """Two processes, as a web application of two replicas starts them."""

    name = "django-apscheduler-twice"
    title = "django-apscheduler, two processes"
    home = "django-apscheduler"

    def commands(self, scenario: dict[str, Any]) -> list[tuple[str, ...]]:
        """Return its command, twice."""
        return [*super().commands(scenario), *super().commands(scenario)]


class DjangoApschedulerRestarted(DjangoApscheduler):
    """One process, started again at once whenever it ends: its best."""

    name = "django-apscheduler-restarted"
    title = "django-apscheduler, restarted at once"
    home = "django-apscheduler"


SETUPS: tuple[type[Contender], ...] = (
    OursWithStandby,
    OursWithoutDetector,
    OursWithoutListening,
    OursRestarted,
    DjangoApschedulerTwice,
    DjangoApschedulerRestarted,
)
CONTENDERS.update({one.name: one for one in SETUPS})
