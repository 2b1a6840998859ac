"""A baked project in real containers, with verbs, so that tests read as sentences."""

import json
import socket
import ssl
import subprocess
import time
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any, TypeVar

import pytest

from baking import clean_environment

T = TypeVar("T")

Project = Callable[..., Path]

COUNT = "SELECT count(*) FROM jobstore_djangojobexecution WHERE job_id = 'heartbeat' AND status = 'Executed'"
# Where and how each database is asked that, by the image that it runs in.
COUNTED: dict[str, tuple[str, ...]] = {
    "postgres:": ("db", "psql", "-U", "app", "-Atc", COUNT),
    # Its last argument is the password, which changes while the server runs.
    "mariadb:": ("db", "sh", "-c", f'mariadb -uapp -p"$0" -Ne "{COUNT}" app'),
    "": (
        *("web", "python", "-IS", "-c"),
        f"import sqlite3; print(*sqlite3.connect('/data/db.sqlite3', 20).execute({COUNT!r}).fetchone())",
    ),
}


def docker(*arguments: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run docker; if it fails although it must not, show what it said."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, **options)
    if check and done.returncode:
        pytest.fail(
            f"docker {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}", pytrace=False
        )
    return done


class Container:
    """One container, by its id."""

    def __init__(self, identity: str) -> None:
        """Remember the id, whose beginning is what processes inside call their host."""
        self.id = identity
        self.host = identity[:12]

    def inspect(self) -> dict[str, Any]:
        """Return all that Docker knows."""
        return json.loads(docker("inspect", self.id).stdout)[0]  # type: ignore[no-any-return]

    @property
    def state(self) -> dict[str, Any]:
        """Return whether it runs, since when, how it ended and how it feels."""
        return self.inspect()["State"]  # type: ignore[no-any-return]

    @property
    def health(self) -> str:
        """Return healthy, unhealthy or starting."""
        return self.state["Health"]["Status"]  # type: ignore[no-any-return]

    @property
    def reason(self) -> str:
        """Return what the last probe printed."""
        return self.state["Health"]["Log"][-1]["Output"]  # type: ignore[no-any-return]

    @property
    def logs(self) -> str:
        """Return all that it ever wrote."""
        done = docker("logs", self.id)
        return done.stdout + done.stderr


class Stack:
    """A baked project as `docker compose` runs it."""

    def __init__(self, path: Path) -> None:
        """Prepare a stack of the project in `path`; nothing is started before `up`."""
        self.path = path
        self.name = f"test-{uuid.uuid4().hex[:8]}"
        self.ports = {name: free_port() for name in ("WEB_PORT", "HTTP_PORT", "HTTPS_PORT")}
        ports = {name: str(port) for name, port in self.ports.items()}
        # A variable of the shell would win over .env. Tests read lines, as people do.
        chosen = {"COMPOSE_PROJECT_NAME": self.name, "LOG_FORMAT": "line"}
        self.environment = clean_environment(**chosen, **ports)

    def compose(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run docker compose on this stack."""
        return docker("compose", *arguments, cwd=self.path, env=self.environment, **options)

    def up(self) -> None:
        """Start what is not running, and return once everything is healthy; fail otherwise."""
        done = self.compose("up", "--wait", check=False, timeout=300)
        if done.returncode:
            logs = self.compose("logs", "--no-color", "--tail=30").stdout
            said = (done.stdout + done.stderr)[-4000:]
            pytest.fail(f"up --wait: {done.returncode}\n{said}\n{logs}", pytrace=False)

    def down(self) -> None:
        """Remove everything that was made, the image included."""
        self.compose("down", "--volumes", "--remove-orphans", "--timeout=5", check=False)
        docker("image", "rm", "--force", f"{self.name}-app", check=False)

    def containers(self, service: str) -> list[Container]:
        """Return the service's containers, stopped ones included."""
        lines = self.compose("ps", "--all", "--quiet", "--no-trunc", service).stdout.split()
        return [Container(identity) for identity in lines]

    def the(self, service: str) -> Container:
        """Return the one container of a service."""
        (only,) = self.containers(service)
        return only

    def inside(self, service: str, *command: str, check: bool = True) -> str:
        """Return what a command prints inside a running service."""
        return self.compose("exec", "-T", service, *command, check=check).stdout.strip()

    def sql(self, statement: str) -> list[list[str]]:
        """Ask PostgreSQL itself, behind the project's back."""
        answer = self.inside("db", "psql", "-U", "app", "-AtF", "\t", "-c", statement)
        return [line.split("\t") for line in answer.splitlines()]

    def runs(self) -> int:
        """Return how often the sample job has run, as the database says.

        Tests ask this again and again, and a process of the project would take a second for it.
        """
        compose = (self.path / "compose.yaml").read_text()
        image = next(name for name in COUNTED if f"image: {name}" in compose or not name)
        password = self.path / ".secrets" / "database_password"
        last = (password.read_text().strip(),) if image == "mariadb:" else ()
        return int(self.inside(*COUNTED[image], *last))

    def wait_for(self, question: Callable[[], T | None], seconds: float) -> T:
        """Ask again until the answer is true, and return it."""
        deadline = time.monotonic() + seconds
        while not (answer := question()):
            if time.monotonic() > deadline:
                logs = self.compose("logs", "--no-color", "--tail=30").stdout
                pytest.fail(f"After {seconds:g} s it was still {answer!r}.\n{logs}")
            time.sleep(0.5)
        return answer

    def create_admin(self, user: str, password: str) -> None:
        """Create the first administrator the documented way, unless a test before did."""
        account = {"USERNAME": user, "PASSWORD": password, "EMAIL": f"{user}@example.org"}
        variables = [f"--env=DJANGO_SUPERUSER_{name}={value}" for name, value in account.items()]
        command = ("python", "manage.py", "createsuperuser", "--no-input")
        done = self.compose("run", "--rm", *variables, "web", *command, check=False)
        assert done.returncode == 0 or "already taken" in done.stderr, done.stderr

    def url(self, path: str) -> str:
        """Return where a page of the web service is reached."""
        return f"http://127.0.0.1:{self.ports['WEB_PORT']}{path}"


NewStack = Callable[..., AbstractContextManager[Stack]]


class Browser:
    """Visits pages as a person's browser does: keeps cookies, follows redirects, posts forms."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        """Trust what `tls` trusts, by default the public authorities."""
        self.cookies = CookieJar()
        self.opener = urllib.request.build_opener(
            urllib.request.HTTPCookieProcessor(self.cookies), urllib.request.HTTPSHandler(context=tls)
        )

    def get(self, url: str, form: dict[str, str] | None = None) -> tuple[str, str]:
        """Return the address that was reached in the end, and its text."""
        data = urllib.parse.urlencode(form).encode() if form else None
        # Django wants to know where a form over https comes from.
        request = urllib.request.Request(url, data, {"Referer": url})
        with self.opener.open(request, timeout=20) as answer:
            return answer.url, answer.read().decode()

    def login(self, url: str, user: str, password: str) -> str:
        """Fill in the admin's form at `url` and return the page behind it."""
        self.get(url)
        token = next(cookie.value for cookie in self.cookies if cookie.name == "csrftoken")
        form = {"username": user, "password": password, "csrfmiddlewaretoken": str(token)}
        return self.get(url, form)[1]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
