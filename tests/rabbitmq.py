"""A broker that keeps its messages: RabbitMQ, as processes of our own with everything in one folder."""

import os
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

from layers import needs
from servers import wait_until
from stacks import free_port

# How a client begins. A command of its own would take seconds to ask.
HELLO = b"AMQP\x00\x00\x09\x01"
PROGRAMS = Path("/usr/lib/rabbitmq/bin")


class RabbitMQ:
    """A node on the loopback interface, under a name, a port and a folder of its own."""

    def __init__(self) -> None:
        """Start it; it takes some seconds until it answers."""
        needs("rabbitmq")
        self.port = free_port()
        self.url = f"amqp://guest:guest@127.0.0.1:{self.port}//"
        self._folder = tempfile.TemporaryDirectory(prefix="rabbitmq-")
        folder = self._folder.name
        names = str(free_port())
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": folder,
            "RABBITMQ_NODENAME": f"test{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": folder,
            "RABBITMQ_LOG_BASE": folder,
            # Nothing of what is configured on this machine.
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/plugins",
            "RABBITMQ_CONFIG_FILE": f"{folder}/config",
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/environment",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
            "ERL_EPMD_PORT": names,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        # Nodes start it for themselves otherwise, and leave it behind.
        self._names = subprocess.Popen(["epmd", "-port", names, "-address", "127.0.0.1"])
        self._node = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        with (Path(self._folder.name) / "output").open("ab") as output:
            return subprocess.Popen(
                [PROGRAMS / "rabbitmq-server"],
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def answers(self) -> bool:
        """Return whether it serves."""
        assert self._node.poll() is None, (Path(self._folder.name) / "output").read_text()
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as client:
                client.sendall(HELLO)
                return bool(client.recv(1))
        except OSError:
            return False

    def waiting(self) -> dict[str, int]:
        """Return how many messages there are, by whether a worker has them and has not acknowledged them."""
        lines = self._asked("list_queues", "name", "messages_ready", "messages_unacknowledged").stdout
        rows = [line.split("\t") for line in lines.splitlines()]
        of_jobs = [row for row in rows if row[0] == "jobs"]
        return {
            "ready": sum(int(row[1]) for row in of_jobs),
            "unacknowledged": sum(int(row[2]) for row in of_jobs),
        }

    def _asked(self, *question: str) -> "subprocess.CompletedProcess[str]":
        options = ["--quiet", "--no-table-headers"]
        return subprocess.run(
            [PROGRAMS / "rabbitmqctl", *question[:1], *options, *question[1:]],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def go(self, how: signal.Signals) -> None:
        """End with this signal."""
        os.killpg(self._node.pid, how)
        self._node.wait()

    def come_back(self) -> str:
        """Start again, with its messages; return when it answers."""
        self._node = self._start()
        wait_until(self.answers)
        return ""

    def remove(self) -> None:
        """End it, and remove its messages."""
        if self._node.poll() is None:
            self.go(signal.SIGKILL)
        self._names.kill()
        self._names.wait()
        self._folder.cleanup()
