"""Caddy in front: https for everybody, with a certificate that can be verified."""

import contextlib
import http.client
import socket
import ssl
import threading
import time
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


SLOW = {
    "a head": b"GET /admin/login/ HTTP/1.1\r\nHost: local",
    "a body": b"POST /admin/login/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nxxx",
}


@pytest.mark.parametrize("text", SLOW.values(), ids=list(SLOW))
def test_clients_that_never_end_a_request_keep_nobody_waiting(
    stack: Stack, browser: Browser, https: str, text: bytes
) -> None:
    trusting = ssl.create_default_context()
    trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
    with contextlib.ExitStack() as slow:
        for _ in range(64):
            plain = socket.create_connection(("127.0.0.1", stack.ports["HTTPS_PORT"]), timeout=20)
            one = slow.enter_context(trusting.wrap_socket(plain, server_hostname="localhost"))
            one.sendall(text)
        time.sleep(1)
        for path in ("/health/ready", "/admin/login/"):
            assert seconds_for(browser, f"{https}{path}") < 3
        probe = stack.inside(
            "web", "python", "-I", "-S", "-E", "jobstore/probe.py", "ready", "127.0.0.1:8000"
        )
        assert '"ok"' in probe


def test_a_crowd_that_asks_for_the_schedulers_state_keeps_nobody_waiting(
    stack: Stack, browser: Browser, https: str
) -> None:
    authority = stack.inside("proxy", "cat", "/data/caddy/pki/authorities/local/root.crt")
    stop = threading.Event()

    def ask() -> None:
        one = Browser(ssl.create_default_context(cadata=authority))
        while not stop.is_set():
            with contextlib.suppress(OSError):
                one.get(f"{https}/health/scheduler")

    crowd = [threading.Thread(target=ask) for _ in range(12)]
    for one in crowd:
        one.start()
    try:
        time.sleep(1)
        assert seconds_for(browser, f"{https}/admin/login/") < 5
    finally:
        stop.set()
        for one in crowd:
            one.join()


def seconds_for(browser: Browser, url: str) -> float:
    began = time.monotonic()
    browser.get(url)
    return time.monotonic() - began
