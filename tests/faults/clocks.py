"""Wall clocks that are wrong, and jump, in real processes: of the scheduler, of the database."""

import struct
import subprocess
from pathlib import Path

from layers import needs
from servers import PostgreSQL

HERE = Path(__file__).resolve().parent
# Where a container finds them.
LIBRARY, ERROR = "/wall_clock.so", "/wall_clock"


class WallClock:
    """The wall clock of the processes that are started with its environment; right at first.

    Their monotonic clock stays true, as on a machine whose clock somebody sets. (The usual tool,
    libfaketime, is of no use here: it makes Python's `time.sleep` fail.)
    """

    def __init__(self, folder: Path) -> None:
        """Build what is loaded into processes.

        :param folder: of our own; it must stay as long as the processes run.
        """
        needs("cc")
        self.library = folder / "wall_clock.so"
        self.error = folder / "wall_clock"
        self.error.write_bytes(struct.pack("=q", 0))
        source = HERE / "wall_clock.c"
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", self.library, source], check=True)

    def set(self, seconds: int) -> None:
        """Put the clock so many seconds ahead of the true time, or behind it, at once."""
        with self.error.open("r+b") as file:  # in place: it is mapped into processes
            file.write(struct.pack("=q", seconds))

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a process that lives by this clock."""
        return {"LD_PRELOAD": str(self.library), "WALL_CLOCK": str(self.error)}

    @property
    def options(self) -> tuple[str, ...]:
        """The options of `docker run` for a container that lives by this clock."""
        mounts = (f"{self.library}:{LIBRARY}:ro", f"{self.error}:{ERROR}:ro")
        variables = (f"LD_PRELOAD={LIBRARY}", f"WALL_CLOCK={ERROR}")
        return (
            *(part for mount in mounts for part in ("--volume", mount)),
            *(part for variable in variables for part in ("--env", variable)),
        )


def postgresql_by(clock: WallClock) -> type[PostgreSQL]:
    """Return the kind of a PostgreSQL server that lives by a clock."""
    return type("ByClock", (PostgreSQL,), {"options": (*PostgreSQL.options, *clock.options)})
