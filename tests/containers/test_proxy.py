"""Caddy in front: https for everybody, with a certificate that can be verified."""

import http.client
import ssl
from collections.abc import Iterator

import pytest

from stacks import Browser, NewStack, Stack

pytestmark = [pytest.mark.containers, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def shared_stack(new_stack: NewStack) -> Iterator[Stack]:
    """Take the place of the default answers' stack."""
    with new_stack("sqlite", "caddy") as stack:
        yield stack


@pytest.fixture
def browser(stack: Stack) -> Browser:
    """Return a browser that trusts the authority that this Caddy made for localhost, and no other."""
    authority = stack.inside("proxy", "cat", "/data/caddy/pki/authorities/local/root.crt")
    return Browser(ssl.create_default_context(cadata=authority))


@pytest.fixture
def https(stack: Stack) -> str:
    """Return where the proxy is reached over TLS."""
    return f"https://localhost:{stack.ports['HTTPS_PORT']}"


def test_admin_lets_in_who_logs_in_over_https(stack: Stack, browser: Browser, https: str) -> None:
    stack.create_admin("ada", "correct-horse-7")
    page = browser.login(f"{https}/admin/login/?next=/admin/", "ada", "correct-horse-7")
    assert "Log out" in page
    # gunicorn believed Caddy; a cookie without this mark would also travel over plain http.
    assert all(cookie.secure for cookie in browser.cookies)


def test_plain_http_is_sent_to_https(stack: Stack) -> None:
    connection = http.client.HTTPConnection("localhost", stack.ports["HTTP_PORT"], timeout=10)
    connection.request("GET", "/admin/")
    answer = connection.getresponse()
    assert answer.status == 308
    assert answer.headers["Location"] == "https://localhost/admin/"


def test_web_server_is_reached_through_the_proxy_alone(stack: Stack) -> None:
    assert not stack.the("web").inspect()["HostConfig"]["PortBindings"]
