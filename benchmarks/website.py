"""A contender's admin as a real web server answers it, and somebody who is logged in there."""

import http.client
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlencode

import machine
import measure
from contenders import PROGRAMS, REQUIREMENTS, Contender, Failed

# Seconds in which the server has to answer for the first time, and each request.
PATIENCE = 60.0
# Seconds without a request after which the server may close a connection.
IDLE = 1.0
# Django compares the two; it takes any of this length.
TOKEN_LENGTH = 32


@dataclass(frozen=True)
class Answer:
    """What one request was answered with, and the seconds until the last byte of it was there."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()


class Website:
    """gunicorn, and one connection to it that stays open; both gone at the end of the block."""

    def __init__(self, contender: Contender, **environment: str) -> None:
        self._contender = contender
        self.address = f"127.0.0.1:{machine.free_port(8600)}"
        own = {"BENCH_ADMIN": "1", "WEB_BIND": self.address, "DJANGO_HTTPS": "false"}
        self._environment = environment | own
        self._connection = http.client.HTTPConnection(self.address, timeout=PATIENCE)
        self._last = 0.0
        self._token = secrets.token_hex(TOKEN_LENGTH // 2)
        self._session = ""
        self._server: Any = None

    def __enter__(self) -> Self:
        contender = self._contender
        made = contender.run(str(PROGRAMS / "session.py"), **self._environment)
        self._session = made.splitlines()[-1]
        gunicorn: tuple[str, ...] = ("-m", "gunicorn", "config.wsgi", "-c", "config/gunicorn.py")
        if not contender.name.startswith("ours"):
            lock = str(REQUIREMENTS / "web.txt")
            contender.run("-m", "pip", "install", "--quiet", "--require-hashes", "--requirement", lock)
            # As many processes and threads as the baked project has.
            options = ("--workers=2", "--threads=4", f"--bind={self.address}", "--no-control-socket")
            gunicorn = ("-m", "gunicorn", "peer_wsgi", *options)
        self._server = contender.launch(gunicorn, **self._environment)
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                if self.get("/admin/").status == 200:
                    return self
            except OSError:
                self._connection.close()
            if self._server.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                raise Failed(f"{contender.title}: no page is answered:\n{machine.tail(contender.log)}")
            time.sleep(0.2)

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        if self._server is not None:
            measure.end(self._server)

    def get(self, path: str, **headers: str) -> Answer:
        """Ask for a page, as a browser that is logged in."""
        return self._ask("GET", path, None, headers)

    def post(self, path: str, form: Mapping[str, Any], **headers: str) -> Answer:
        """Send a form."""
        content = urlencode({"csrfmiddlewaretoken": self._token} | dict(form), doseq=True)
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._ask("POST", path, content, kind | headers)

    def cpu_seconds(self) -> float:
        """Return the CPU that the server's processes have used."""
        return measure.cpu_seconds([self._server.pid, *measure.children(self._server.pid)])

    def _ask(self, method: str, path: str, content: str | None, headers: Mapping[str, str]) -> Answer:
        cookie = f"sessionid={self._session}; csrftoken={self._token}"
        if time.monotonic() > self._last + IDLE:
            self._connection.close()
        began = time.perf_counter()
        host = f"localhost:{self.address.partition(':')[2]}"
        self._connection.request(method, path, content, {"Host": host, "Cookie": cookie, **headers})
        answer = self._connection.getresponse()
        body = answer.read()
        taken, self._last = time.perf_counter() - began, time.monotonic()
        if answer.status >= 400 or (answer.status == 302 and "/login/" in answer.headers.get("Location", "")):
            raise Failed(
                f"{method} {path} was answered with {answer.status}: {json.dumps(body[:300].decode())}"
            )
        return Answer(answer.status, dict(answer.headers), body, taken)
