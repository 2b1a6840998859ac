"""Schedulers with a network of their own, so that the kernel can drop what one of them sends and gets.

Unlike a proxy that stalls, this is what a broken switch looks like: nothing is refused, nothing is
acknowledged, connections that are open stay open, and new ones get no answer.
"""

import subprocess
from pathlib import Path

from baking import Baked, clean_environment
from faults.cluster import Cluster, Scheduler
from layers import needs
from servers import Server, docker
from stacks import free_port

ADDRESS = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"


class Island(Scheduler):
    """A scheduler on this machine that has the network of an otherwise idle container."""

    def __init__(self, cluster: "Archipelago", name: str) -> None:
        """Make the network; no process runs before `start`."""
        # Without the proxy through which other schedulers reach the database.
        self.place = cluster.place
        self.cluster, self.name, self.environment = cluster, name, {}
        self.log = cluster.folder / f"{name}.log"
        self.process = self.proxy = None
        self.is_frozen = self.is_cut_off = False
        assert isinstance(cluster.database, Server)
        self.server = cluster.database
        self.url = cluster.url
        self.port = free_port()
        self.container = docker("run", "--detach", "--init", self.server.image[0], "sleep", "infinity")
        process = docker("inspect", "--format", "{{.State.Pid}}", self.container)
        self.address = docker("inspect", "--format", ADDRESS, self.container)
        self.enter = ("nsenter", f"--net=/proc/{process}/ns/net")
        self.environment["SCHEDULER_HEALTH_ADDRESS"] = f"0.0.0.0:{self.port}"

    def start(self, **environment: str) -> None:
        """Start a process in this network; the log goes on where that of the last one ended."""
        variables = self.cluster.environment | self.environment | {"DATABASE_URL": self.url} | environment
        python = self.cluster.project.path / ".venv" / "bin" / "python"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.enter, python, "manage.py", "runapscheduler"],
                cwd=self.cluster.project.path,
                env=clean_environment(**variables),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._note("started")

    def drop(self) -> None:
        """Drop every packet to and from the database, without a word to anybody."""
        self._note("stalled")
        self.is_cut_off = True
        self._filter("--append")

    def heal(self) -> None:
        """Let packets pass again."""
        self._filter("--delete")
        self.is_cut_off = False
        self._note("healed")

    def close(self) -> None:
        """End the process and take the network away."""
        super().close()
        docker("rm", "--force", "--volumes", self.container)

    def _filter(self, change: str) -> None:
        for chain, side in (("OUTPUT", "--destination"), ("INPUT", "--source")):
            rule = (change, chain, side, self.place, "--jump", "DROP")
            subprocess.run([*self.enter, "iptables", "--wait", *rule], check=True)


class Archipelago(Cluster):
    """A database and two schedulers, each with a network of its own. Timings are production's."""

    def __init__(self, project: Baked, folder: Path, kind: type[Server]) -> None:
        """Start the database and prepare the schedulers."""
        needs("docker")
        needs("netfilter")
        super().__init__(project, folder, kind, schedulers=0, jobs=5)
        try:
            assert isinstance(self.database, Server)
            self.place = docker("inspect", "--format", ADDRESS, self.database.container)
            at = f"127.0.0.1:{self.database.host_port}"
            self.url = self.database.url.replace(at, f"{self.place}:{self.database.port}")
            for number in (1, 2):
                self.schedulers.append(Island(self, f"s{number}"))
        except BaseException:
            self.close()
            raise

    @property
    def islands(self) -> list[Island]:
        """The schedulers, as what they are."""
        return [one for one in self.schedulers if isinstance(one, Island)]
