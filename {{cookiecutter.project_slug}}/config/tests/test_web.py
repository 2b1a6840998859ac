"""The real web server answers, whatever other clients do to it."""

import contextlib
import http.client
import json
import os
import re
import socket
import threading
import time
from pathlib import Path

import pytest

from jobstore.tests.conftest import create_user, eventually
from jobstore.tests.processes import WebCommand, get

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]

LOGIN = "/admin/login/"
# Seconds. Who waits for slow clients waits until they are cut off (ARRIVAL in config/worker.py).
SOON = 8.0


def connect(web: WebCommand, text: bytes = b"") -> socket.socket:
    one = socket.create_connection(("127.0.0.1", web.port), timeout=20)
    one.sendall(text)
    return one


def read(one: socket.socket) -> bytes:
    reply = b""
    with contextlib.suppress(ConnectionError):
        while data := one.recv(65536):
            reply += data
    return reply


POST = b"POST /admin/login/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"
SLOW: dict[str, bytes] = {
    "say nothing": b"",
    "stop in the first line": b"GET /admin/lo",
    "stop in the headers": b"GET /admin/login/ HTTP/1.1\r\nHost: local",
    "stop before the body": POST + b"Content-Length: 1000\r\n\r\n",
    "stop in the body": POST + b"Content-Length: 1000\r\n\r\n" + b"x" * 500,
    "stop in a chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n100\r\nxxxx",
    "never hang up": b"GET /health/live HTTP/1.0\r\n\r\n",
    "never hang up, and send more": b"GET /health/live HTTP/1.0\r\n\r\n" + b"x" * 50_000,
    "make no sense": b"\x16\x03\x01" + b"\r\n" * 10 + b"x" * 70_000,
    "stop after a request": b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\nGET /admin/",
}


@pytest.mark.parametrize("number", [24, 64])
@pytest.mark.parametrize("how", SLOW)
def test_clients_that_are_slow_keep_nobody_waiting(web: WebCommand, how: str, number: int) -> None:
    slow = [connect(web, SLOW[how]) for _ in range(number)]
    try:
        time.sleep(0.3)
        for path in ("/health/live", "/health/ready", LOGIN):
            code, _, seconds = get(web.port, path)
            assert code == 200
            assert seconds < SOON
    finally:
        for one in slow:
            one.close()


def test_clients_that_trickle_keep_nobody_waiting(web: WebCommand) -> None:
    slow = [connect(web, POST + b"Content-Length: 100000\r\n\r\n") for _ in range(24)]
    stop = threading.Event()

    def trickle() -> None:
        while not stop.wait(0.2):
            for one in slow:
                with contextlib.suppress(OSError):
                    one.sendall(b"x")

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        for _ in range(5):
            assert get(web.port, LOGIN)[2] < SOON
            time.sleep(0.3)
    finally:
        stop.set()
        thread.join()
        for one in slow:
            one.close()


@pytest.mark.parametrize("text", [b"", b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"])
def test_more_connections_than_fit_keep_nobody_out(web: WebCommand, text: bytes) -> None:
    idle = [connect(web, text) for _ in range(900)]
    try:
        for _ in range(5):
            assert get(web.port, LOGIN)[0] == 200
        for one in idle[:50]:
            with contextlib.suppress(OSError):
                one.sendall(text)
        assert get(web.port, LOGIN)[2] < SOON
    finally:
        for one in idle:
            one.close()
    assert web.is_up()


def test_a_request_that_is_too_large_is_refused_unread(web: WebCommand) -> None:
    for text in (
        POST + b"Content-Length: 50000000000\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n" + b"fffff\r\n" + b"x" * 6_000_000,
    ):
        with socket.create_connection(("127.0.0.1", web.port), timeout=20) as one:
            with contextlib.suppress(ConnectionError):
                one.sendall(text)
            reply = read(one)
        # Whoever goes on sending may lose the answer with the connection.
        assert reply == b"" or b"413" in reply
    with connect(web, b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000) as one:
        reply = read(one)
        assert reply == b"" or b"431" in reply
    assert web.is_up()


def test_a_form_arrives_whole_however_it_is_cut(web: WebCommand) -> None:
    user = create_user(is_staff=True, is_superuser=True)
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=20)
    connection.request("GET", LOGIN)
    answer = connection.getresponse()
    page = answer.read().decode()
    connection.close()
    [token] = re.findall(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
    cookie = answer.headers["Set-Cookie"].partition(";")[0]
    form = f"csrfmiddlewaretoken={token}&username={user.get_username()}&password=password"
    form += "&next=/admin/&padding=" + "x" * 200_000
    head = (
        f"POST {LOGIN} HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\nReferer: http://localhost/\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\nConnection: close\r\n"
    )
    plain = (head + f"Content-Length: {len(form)}\r\n\r\n{form}").encode()
    chunks = "".join(
        f"{len(form[at : at + 7000]):x}\r\n{form[at : at + 7000]}\r\n"
        for at in range(0, len(form), 7000)
    )
    chunked = (head + f"Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n").encode()
    # Django reads no body without a length: it arrives, and is an empty form.
    for text, code in ((plain, b"302"), (chunked, b"403")):
        with connect(web) as one:
            for at in range(0, len(text), 50_000):
                one.sendall(text[at : at + 50_000])
                time.sleep(0.02)
            assert code in read(one).partition(b"\r\n")[0]


def test_a_connection_serves_one_request_after_the_other(web: WebCommand) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=20)
    for _ in range(3):
        connection.request("GET", LOGIN)
        assert connection.getresponse().read()
    assert connection.sock is not None  # still the first one
    connection.close()
    request = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with connect(
        web, request * 3 + request.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    ) as one:
        assert read(one).count(b"HTTP/1.1 200 OK") == 4


def test_head_has_no_body(web: WebCommand) -> None:
    with connect(web, b"HEAD /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") as one:
        head, _, body = read(one).partition(b"\r\n\r\n")
    assert b"200 OK" in head
    assert body == b""


def test_a_client_that_waits_for_leave_to_send_gets_it(web: WebCommand) -> None:
    with connect(web, POST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n") as one:
        assert one.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        one.sendall(b"abc")
        eventually(lambda: b"HTTP/1.1 403" in one.recv(65536))


def test_who_reads_nothing_of_what_it_asked_for_harms_nobody(web: WebCommand) -> None:
    request = b"GET /admin/login/ HTTP/1.1\r\nHost: localhost\r\n\r\n"
    deaf = []
    for _ in range(24):
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        one.connect(("127.0.0.1", web.port))
        one.sendall(request * 20)
        deaf.append(one)
    try:
        time.sleep(1)
        assert get(web.port, LOGIN)[2] < SOON
    finally:
        for one in deaf:
            one.close()


def test_a_crowd_at_the_login_leaves_pages_and_probes_alone(tmp_path: Path) -> None:
    web = WebCommand(tmp_path / "web.log", TEST_STRONG_HASHES="yes")
    stop = threading.Event()
    codes: list[int] = []

    def try_to_log_in() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError):
                codes.append(log_in(web, "nobody", "guess"))

    try:
        eventually(web.is_up, 30)
        crowd = [threading.Thread(target=try_to_log_in) for _ in range(32)]
        for one in crowd:
            one.start()
        time.sleep(2)
        times = [get(web.port, path)[2] for path in ("/health/live", "/health/ready", LOGIN) * 3]
        stop.set()
        for one in crowd:
            one.join()
    finally:
        stop.set()
        web.end()
    assert max(times) < 3, times
    assert 503 in codes  # some were told to come back
    assert 200 in codes  # and some were heard


def log_in(web: WebCommand, user: str, password: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=20)
    with contextlib.closing(connection):
        token = "x" * 32
        body = f"csrfmiddlewaretoken={token}&username={user}&password={password}"
        headers = {
            "Cookie": f"csrftoken={token}",
            "Content-Type": "application/x-www-form-urlencoded",
            "Referer": f"http://localhost:{web.port}/",
        }
        connection.request("POST", LOGIN, body, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status


def test_a_restart_answers_who_is_connected(web: WebCommand) -> None:
    with connect(web, b"GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n") as slow:
        time.sleep(0.3)
        ended = threading.Thread(target=web.end)
        ended.start()
        time.sleep(0.3)
        slow.sendall(b"\r\n")
        assert b"200 OK" in read(slow)
        ended.join()
    assert web.process.returncode == 0, os.linesep.join(web.log.read_text().splitlines()[-20:])


def test_a_stop_does_not_wait_for_clients_that_ask_nothing(web: WebCommand) -> None:
    hello = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    with connect(web), connect(web, hello), connect(web, hello.replace(b"1.1", b"1.0")):
        time.sleep(0.5)
        web.end()  # which kills it in the end
    assert web.process.returncode == 0


def test_answers_are_for_everybody(web: WebCommand) -> None:
    body = json.loads(get(web.port, "/health/ready")[1])
    assert body == {"status": "ok", "cause": "", "reason": ""}
