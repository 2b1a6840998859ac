"""Which executors have no free worker while jobs wait for them, as the scheduling loop sees it.

Jobs that wait for a worker are no fault, and only the process that claims them knows why they
wait: it writes this into its row, where health checks read it.
"""

import json
import time
from collections.abc import Iterable

# Seconds for which a claim's report counts; while workers are busy, one follows each second.
SATURATION_SECONDS = 10.0


class Saturation:
    """The executors that the last claim found busy. The loop writes it; any thread may read it."""

    def __init__(self) -> None:
        self._executors: list[str] = []
        self._noted_at = 0.0

    def note(self, executors: Iterable[str]) -> None:
        """Note the aliases of executors whose workers are all busy while jobs wait for them."""
        self._executors, self._noted_at = sorted(executors), time.monotonic()

    @property
    def executors(self) -> list[str]:
        """Their aliases, if the loop has reported lately; a loop that hangs does not."""
        is_fresh = time.monotonic() - self._noted_at < SATURATION_SECONDS
        return self._executors if is_fresh else []

    @property
    def as_text(self) -> str:
        """The aliases as JSON, for the process's row; empty if there are none."""
        return json.dumps(self.executors) if self.executors else ""
