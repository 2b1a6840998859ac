"""A proxy on the host in front of the containers: https works once its address is believed."""

import contextlib
import socket
import ssl
import subprocess
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest

from stacks import Browser, NewStack, Stack, docker, free_port

pytestmark = [pytest.mark.containers, pytest.mark.timeout(400)]

CADDYFILE = """
{{
	auto_https disable_redirects
	admin off
}}
https://localhost:{https} {{
	tls internal
	reverse_proxy 127.0.0.1:{web}
}}
"""


@contextlib.contextmanager
def caddy(web: int, folder: Path) -> Iterator[tuple[str, str]]:
    """Start Caddy on the host's own network; return its address and the certificate to trust."""
    https = free_port()
    (folder / "Caddyfile").write_text(CADDYFILE.format(https=https, web=web))
    options = ("--detach", "--rm", "--network=host", f"--volume={folder}:/etc/caddy:ro")
    container = docker("run", *options, "caddy:2").stdout.strip()
    try:
        root = "/data/caddy/pki/authorities/local/root.crt"
        deadline = time.monotonic() + 30
        # It listens before it has a certificate of its own.
        while (found := docker("exec", container, "cat", root, check=False)).returncode or not greets(
            https, found.stdout
        ):
            assert time.monotonic() < deadline, docker("logs", container).stderr
            time.sleep(0.5)
        yield f"https://localhost:{https}", found.stdout
    finally:
        subprocess.run(["docker", "rm", "--force", container], capture_output=True)


def greets(port: int, certificate: str) -> bool:
    trusting = ssl.create_default_context(cadata=certificate)
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as plain:
            trusting.wrap_socket(plain, server_hostname="localhost").close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def shared_stack(new_stack: NewStack) -> Iterator[Stack]:
    """Take the place of the default answers' stack."""
    with new_stack("sqlite", "none") as stack:
        env = stack.path / ".env"
        before = env.read_text()
        env.write_text(before.replace("DJANGO_HTTPS=false", "DJANGO_HTTPS=true"))
        yield stack
        env.write_text(before)


def test_a_proxy_that_is_not_believed_is_told_with_what_to_set_and_then_works(
    stack: Stack, tmp_path: Path
) -> None:
    with caddy(stack.ports["WEB_PORT"], tmp_path) as (https, certificate):
        browser = Browser(ssl.create_default_context(cadata=certificate))
        with pytest.raises(urllib.error.HTTPError, match="redirect"):
            browser.get(f"{https}/admin/login/")
        said = [line for line in stack.the("web").logs.splitlines() if "FORWARDED_ALLOW_IPS=" in line]
        assert 1 <= len(said) <= 2, "once in each process"
        address = said[0].partition("FORWARDED_ALLOW_IPS=")[2].partition(",")[0]

        with (stack.path / ".env").open("a") as env:
            env.write(f"FORWARDED_ALLOW_IPS={address}\n")
        stack.up()
        reached, page = browser.get(f"{https}/admin/login/")
        assert reached.startswith(https)
        assert "csrfmiddlewaretoken" in page
