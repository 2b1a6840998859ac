"""The database that contenders are measured on, and what it counts."""

import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import measure  # noqa: E402
import servers  # noqa: E402


@dataclass(frozen=True)
class Counters:
    """What a server has done so far; None where it does not say."""

    statements: int | None = None
    commits: int | None = None
    wal_bytes: int | None = None
    cpu_seconds: float | None = None

    def since(self, before: "Counters") -> "Counters":
        """Return what was done in between."""

        def difference(name: str) -> float | None:
            now, then = getattr(self, name), getattr(before, name)
            return None if now is None or then is None else now - then

        return Counters(**{name: difference(name) for name in self.__dataclass_fields__})  # type: ignore[arg-type]


class PostgreSQL(servers.PostgreSQL):
    """PostgreSQL that counts statements and remembers when each transaction was committed.

    Its settings are the image's defaults otherwise: each commit is flushed to the disk.
    """

    kind = "postgresql"
    image = (
        *servers.PostgreSQL.image,
        *("postgres", "-c", "max_connections=300", "-c", "track_commit_timestamp=on"),
        *("-c", "shared_preload_libraries=pg_stat_statements", "-c", "pg_stat_statements.max=10000"),
    )

    def prepare(self) -> None:
        """Wait until it serves, and begin to count."""
        servers.wait_until(self.answers)
        self.ask("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")

    def counters(self) -> Counters:
        """Return what it has done; its own questions are not among the statements."""
        # Without what opens and closes transactions: those are the commits.
        row = self.ask(
            "SELECT coalesce(sum(calls), 0), (SELECT xact_commit FROM pg_stat_database WHERE"
            " datname = 'app'), pg_current_wal_lsn() - '0/0' FROM pg_stat_statements"
            " WHERE query !~* '^(BEGIN|COMMIT|ROLLBACK|SAVEPOINT|RELEASE)' AND query !~ 'pg_stat'"
        )[0].split("|")
        return Counters(int(row[0]), int(row[1]), int(row[2]), cpu_of_container(self.container))


class MariaDB(servers.MariaDB):
    """MariaDB as its image comes."""

    kind = "mariadb"

    def prepare(self) -> None:
        """Wait until it serves."""
        servers.wait_until(self.answers)

    def counters(self) -> Counters:
        """Return what it has done."""
        rows = dict(
            line.split("\t")
            for line in self.ask(
                "SHOW GLOBAL STATUS WHERE Variable_name IN ('Com_select', 'Com_insert', 'Com_update',"
                " 'Com_delete', 'Com_set_option', 'Com_commit', 'Handler_commit')"
            )
        )
        statements = sum(int(rows[f"Com_{verb}"]) for verb in ("select", "insert", "update", "delete"))
        return Counters(statements, int(rows["Com_commit"]), None, cpu_of_container(self.container))


class Sqlite:
    """A file; it counts nothing."""

    kind = "sqlite"

    def __init__(self, folder: Path) -> None:
        self.path = folder / "bench.sqlite3"
        self.url = f"sqlite:///{self.path}"

    def prepare(self) -> None:
        """Begin with no file."""
        self.remove()

    def remove(self) -> None:
        """Delete the file and what lies beside it."""
        for file in self.path.parent.glob(f"{self.path.name}*"):
            file.unlink()

    def counters(self) -> Counters:
        """Return nothing known."""
        return Counters()


Database = PostgreSQL | MariaDB | Sqlite


def cpu_of_container(container: str) -> float | None:
    """Return the seconds of CPU that a server has used, None where it runs on another kernel.

    Counted are the container's first process and its descendants, with those that have ended. The
    whole container's count would hold the clients that `ask` starts in it, too.
    """
    first = int(servers.docker("inspect", "--format", "{{.State.Pid}}", container))
    own = {first}
    for line in servers.docker("top", container, "-eo", "pid,ppid").splitlines()[1:]:
        pid, parent = map(int, line.split())
        if parent in own:
            own.add(pid)
    if not Path(f"/proc/{first}/stat").exists():
        return None
    return measure.cpu_seconds(own, with_ended=True)
