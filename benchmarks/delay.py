"""A proxy that makes the network between a program and its database longer.

`through(database, milliseconds)` for the bench; `delay.py PORT TARGET MILLISECONDS` is the process
itself, one of its own so that it shares no interpreter with what is measured.
"""

import asyncio
import collections
import contextlib
import selectors
import subprocess
import sys
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def through(database: Any, milliseconds: float) -> Iterator[None]:
    """Delay all connections to the database's address meanwhile, by this many milliseconds each way.

    The database's own `ask` does not use the proxy.
    """
    from contenders import Failed
    from stacks import free_port

    url, target = database.url, database.host_port
    port = free_port()
    proxy = subprocess.Popen(
        [sys.executable, __file__, str(port), str(target), str(milliseconds)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    try:
        if proxy.stdout is None or not proxy.stdout.readline():
            raise Failed("The delaying proxy did not start.")
        database.url = url.replace(f":{target}/", f":{port}/")
        yield
    finally:
        database.url = url
        proxy.kill()
        proxy.communicate()


class Side(asyncio.Protocol):
    """One end of a connection: its data reaches the other end after the delay, in order."""

    transport: asyncio.Transport

    def __init__(self, delay: float) -> None:
        self.other: Side | None = None
        self._delay = delay
        self._waiting: collections.deque[tuple[float, bytes]] = collections.deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where to write."""
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Pass it on, later."""
        loop = asyncio.get_running_loop()
        self._waiting.append((loop.time() + self._delay, data))
        if self._delay == 0:
            self._pass_on()
        elif len(self._waiting) == 1:
            loop.call_at(self._waiting[0][0], self._pass_on)

    def connection_lost(self, error: Exception | None) -> None:
        """Close the other end, later."""
        self.data_received(b"")

    def _pass_on(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting and self._waiting[0][0] <= loop.time():
            data = self._waiting.popleft()[1]
            if self.other is not None and data:
                self.other.transport.write(data)
            elif self.other is not None:
                self.other.transport.close()
        if self._waiting:
            loop.call_at(self._waiting[0][0], self._pass_on)


class Client(Side):
    """The end that a program has opened, which needs another end."""

    def __init__(self, delay: float, target: int) -> None:
        super().__init__(delay)
        self._target = target
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Open the other end before anything is read."""
        super().connection_made(transport)
        self.transport.pause_reading()
        self._task = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        server = Side(self._delay)
        server.other = self
        try:
            await loop.create_connection(lambda: server, "127.0.0.1", self._target)
        except OSError:
            self.transport.close()
            return
        self.other = server
        self.transport.resume_reading()


async def main(port: int, target: int, milliseconds: float) -> None:
    """Serve until killed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Client(milliseconds / 1000, target), "127.0.0.1", port)
    print("ready", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    # The usual selector rounds a wait up to whole milliseconds.
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        runner.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
