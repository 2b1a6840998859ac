"""A proxy on the host in front of the containers: https works once its address is believed."""

import contextlib
import socket
import ssl
import subprocess
import time
import urllib.error
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from documents import Block
from layers import needs
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


@contextlib.contextmanager
def nginx(server: str, folder: Path) -> Iterator[None]:
    """Start nginx, as an ordinary program of this user, with this block of its settings."""
    temporary = " ".join(
        f"{kind}_temp_path {folder};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    settings = folder / "nginx.conf"
    settings.write_text(
        f"pid {folder}/pid; error_log stderr; daemon off; events {{}}\n"
        f"http {{ access_log off; {temporary}\n{server}}}\n"
    )
    process = subprocess.Popen(["nginx", "-p", str(folder), "-c", str(settings), "-e", "stderr"])
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def test_the_documented_settings_of_nginx_bring_people_to_the_site_by_https(
    stack: Stack, tmp_path: Path, documented: Callable[[str, str], Block]
) -> None:
    needs("nginx")
    port = free_port()
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
    files = ("-keyout", str(key), "-out", str(certificate))
    command = ["openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-days", "1", *subject, *files]
    subprocess.run(command, check=True, capture_output=True)
    server = documented("project/docs/deploying.md", "    ssl_certificate_key").text(stack.path)
    for old, new in {
        "443": f"127.0.0.1:{port}",
        "example.com;": "localhost;",
        "/etc/ssl/example.com.pem": str(certificate),
        "/etc/ssl/example.com.key": str(key),
        "127.0.0.1:8000": f"127.0.0.1:{stack.ports['WEB_PORT']}",
    }.items():
        assert old in server
        server = server.replace(old, new)
    # The page has this variable for .env below the block.
    trusted = "FORWARDED_ALLOW_IPS=172.16.0.0/12,192.168.0.0/16"
    assert trusted in (stack.path / "docs" / "deploying.md").read_text()
    with (stack.path / ".env").open("a") as env:
        env.write(f"{trusted}\n")
    stack.up()
    with nginx(server, tmp_path):
        browser = Browser(ssl.create_default_context(cafile=str(certificate)))
        stack.wait_for(lambda: greets(port, certificate.read_text()), 20)
        reached, page = browser.get(f"https://localhost:{port}/admin/login/")
    assert reached.startswith("https://")
    assert "csrfmiddlewaretoken" in page
