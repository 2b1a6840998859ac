"""The scheduler's port answers probes whoever else connects to it, on every kind of address."""

import http.client
import ipaddress
import json
import logging
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jobstore import probe
from jobstore.health import answers as health
from jobstore.health import server as probe_server
from jobstore.health.server import ProbeServer
from jobstore.tests.conftest import eventually
from jobstore.tests.proxy import reset

ROOT = Path(__file__).resolve().parents[3]

Start = Callable[..., ProbeServer]


@pytest.fixture
def start() -> Iterator[Start]:
    """Return a function that starts a server that says yes to everything."""
    servers: list[ProbeServer] = []

    def start(address: str, reason: str = "yes") -> ProbeServer:
        def respond(path: str, is_here: bool) -> tuple[int, str, bytes]:
            return 200, "application/json", json.dumps({"here": is_here, "is": reason}).encode()

        servers.append(ProbeServer(address, respond))
        servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def port_of(server: ProbeServer) -> int:
    return int(server.server_address[1])


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


def scoped_addresses() -> list[str]:
    """Return this machine's link-local addresses, as people write them.

    Those of containers, which come and go, are left out.
    """
    file = Path("/proc/net/if_inet6")
    lines = [line.split() for line in file.read_text().splitlines()] if file.exists() else []
    return [
        f"{ipaddress.IPv6Address(int(number, 16))}%{interface}"
        for number, *_, interface in lines
        if number.startswith("fe80") and not interface.startswith(("veth", "br-"))
    ]


# --- Addresses -----------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "", "localhost"])  # noqa: S104
def test_an_ipv4_address_is_served_and_probed(start: Start, address: str) -> None:
    server = start(f"{address}:0")
    healthy, text = probe.ask("live", f"{address}:{port_of(server)}")
    assert healthy, text


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
@pytest.mark.parametrize("address", ["[::1]", "[::]", "[0:0:0:0:0:0:0:0]", "[::ffff:127.0.0.1]"])
def test_an_ipv6_address_is_served_and_probed(start: Start, address: str) -> None:
    server = start(f"{address}:0")
    healthy, text = probe.ask("live", f"{address}:{port_of(server)}")
    assert healthy, text
    assert '"here": true' in text


def test_addresses_with_a_scope_are_served_and_probed(start: Start) -> None:
    for address in scoped_addresses():
        server = start(f"[{address}]:0")
        healthy, text = probe.ask("live", f"[{address}]:{port_of(server)}")
        assert healthy, text


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_every_ipv6_address_includes_those_of_ipv4(start: Start) -> None:
    server = start("[::]:0")
    healthy, text = probe.ask("live", f"127.0.0.1:{port_of(server)}")
    assert healthy, text
    assert '"here": true' in text


@pytest.mark.parametrize(
    ("address", "advice"),
    [
        ("::1", "[::1]:8001"),
        ("::1:8001", "[::1]:8001"),
        ("[::1]", "write host:port"),
        ("localhost", "write host:port"),
        ("8001", "write host:port"),
        ("127.0.0.1:99999", "0 to 65535"),
        ("127.0.0.1:-1", "0 to 65535"),
        ("127.0.0.1:http", "0 to 65535"),
        ("[127.0.0.1]:8001", "host:port"),
        ("[::1:8001", "[::1]:8001"),
        ("::1]:8001", "[::1]:8001"),
    ],
)
def test_what_is_no_address_is_refused_in_a_sentence(address: str, advice: str) -> None:
    with pytest.raises(ValueError, match=re.escape(advice)):
        probe.split_address(address)
    healthy, text = probe.ask("live", address)
    assert not healthy
    assert advice in text


def test_who_is_not_on_this_machine_is_not_taken_for_it() -> None:
    here = {"127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"}
    elsewhere = {"10.0.0.7", "::ffff:10.0.0.7", "fe80::1%eth0", "2001:db8::1", "nonsense"}
    assert {one for one in here | elsewhere if probe_server._is_loopback(one)} == here


# --- Who else connects ---------------------------------------------------------------------------


def test_connections_that_say_nothing_keep_no_probe_out(start: Start) -> None:
    server = start("127.0.0.1:0")
    place = ("127.0.0.1", port_of(server))
    idle = [socket.create_connection(place) for _ in range(150)]
    try:
        for one in idle[::2]:
            one.sendall(b"GET /health/live HTTP/1.1\r\nX: ")  # and no end of it
        for _ in range(5):
            began = time.monotonic()
            healthy, text = probe.ask("live", f"127.0.0.1:{port_of(server)}")
            assert healthy, text
            assert time.monotonic() - began < 2  # a probe gives up after 3
        assert len(server._open) <= probe_server.MAX_CONNECTIONS
    finally:
        for one in idle:
            one.close()


def test_a_connection_does_not_stay_open(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_server, "CONNECTION_SECONDS", 0.3)
    server = start("127.0.0.1:0")
    with socket.create_connection(("127.0.0.1", port_of(server)), timeout=5) as slow:
        slow.sendall(b"G")
        assert slow.recv(1) == b""


def test_the_number_of_threads_is_bounded(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    server = start("127.0.0.1:0")
    answers: list[float] = []

    def respond(path: str, is_here: bool) -> tuple[int, str, bytes]:
        answers.append(time.monotonic())
        time.sleep(2)
        return 200, "text/plain", b"slow"

    monkeypatch.setattr(server, "respond", respond)
    crowd = [socket.create_connection(("127.0.0.1", port_of(server))) for _ in range(120)]
    for one in crowd:
        one.sendall(b"GET / HTTP/1.0\r\n\r\n")
    time.sleep(1)
    for one in crowd:
        one.close()
    assert 0 < len(answers) <= probe_server.MAX_THREADS


def test_who_leaves_early_leaves_nothing_in_the_log(
    start: Start, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    server = start("127.0.0.1:0", reason="x" * 5_000_000)
    for ending in (b"", b"GET /health/live HTTP/1.0\r\n\r\n", b"GET /health"):
        one = socket.create_connection(("127.0.0.1", port_of(server)))
        one.sendall(ending)
        reset(one)
    eventually(lambda: not server._open)
    time.sleep(0.2)
    assert [record for record in caplog.records if record.levelno > logging.DEBUG] == []
    assert "Traceback" not in capfd.readouterr().err


def test_an_error_of_ours_is_in_the_log(
    start: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start("127.0.0.1:0")
    monkeypatch.setattr(server, "respond", lambda path, is_here: 1 / 0)
    probe.ask("live", f"127.0.0.1:{port_of(server)}")
    eventually(lambda: "A health check was not answered" in caplog.text)


# --- HTTP ----------------------------------------------------------------------------------------


def ask(server: ProbeServer, method: str, path: str = "/health/live") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=5)
    connection.request(method, path)
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_head_is_answered_as_get_is_without_a_body(start: Start) -> None:
    server = start("127.0.0.1:0")
    assert ask(server, "HEAD") == (200, b"")
    assert ask(server, "GET")[0] == 200


def test_other_methods_are_refused_without_an_echo(start: Start) -> None:
    code, body = ask(start("127.0.0.1:0"), "EVIL<script>")
    assert code == 501
    assert b"EVIL" not in body


# --- Whom a probe asks ---------------------------------------------------------------------------


def copy_of_the_probe(folder: Path) -> Path:
    (folder / "jobstore").mkdir(parents=True)
    return Path(shutil.copy(ROOT / "jobstore" / "probe.py", folder / "jobstore"))


def run(file: Path, *arguments: object, **environment: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-E", file, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": os.environ["PATH"]} | environment,
    )
    return done.returncode, done.stdout + done.stderr


def test_another_projects_answer_is_no_answer(start: Start, tmp_path: Path) -> None:
    address = f"127.0.0.1:{port_of(start('127.0.0.1:0'))}"
    assert run(ROOT / "jobstore" / "probe.py", "live", address)[0] == 0
    code, text = run(copy_of_the_probe(tmp_path / "other"), "live", address)
    assert code == 1
    assert "is not this project" in text
    assert "SCHEDULER_HEALTH_ADDRESS" in text


def test_the_same_folder_on_another_device_is_another_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, elsewhere = probe.identity(), os.stat("/proc")
    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", lambda *_, **__: elsewhere)
        there = probe.identity()
    assert there != here == probe.identity()


def test_what_is_no_project_at_all_is_no_answer(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as stranger, ThreadPoolExecutor(1) as threads:

        def answer() -> None:
            connection, _ = stranger.accept()
            connection.recv(1000)
            connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n{}")
            connection.close()

        threads.submit(answer)
        healthy, text = probe.ask("live", f"127.0.0.1:{stranger.getsockname()[1]}")
    assert not healthy
    assert "is not this project" in text


def test_the_probe_asks_where_the_file_env_says(start: Start, tmp_path: Path) -> None:
    file = copy_of_the_probe(tmp_path / "project")
    address = f"127.0.0.1:{port_of(start('127.0.0.1:0'))}"
    env = tmp_path / "project" / ".env"
    env.write_text(f"# SCHEDULER_HEALTH_ADDRESS=1.1.1.1:1\nSCHEDULER_HEALTH_ADDRESS={address}\n")
    assert address in run(file, "live")[1]
    assert "127.0.0.1:1:" in run(file, "live", SCHEDULER_HEALTH_ADDRESS="127.0.0.1:1")[1]


def test_without_any_setting_the_probe_asks_at_the_default(tmp_path: Path) -> None:
    assert "127.0.0.1:8001" in run(copy_of_the_probe(tmp_path / "project"), "live")[1]


def test_a_probe_costs_little(start: Start) -> None:
    address = f"127.0.0.1:{port_of(start('127.0.0.1:0'))}"
    before = os.times()
    for _ in range(10):
        assert run(ROOT / "jobstore" / "probe.py", "live", address)[0] == 0
    after = os.times()
    spent = after.children_user + after.children_system
    spent -= before.children_user + before.children_system
    assert spent / 10 < 0.06  # 0.02 on a machine that does nothing else


# --- What others are told ------------------------------------------------------------------------


def test_details_are_for_this_machine_alone() -> None:
    body = {
        "status": "unavailable",
        "cause": "surplus",
        "reason": "host-7:42 is the active scheduler; this process is surplus.",
        "holder": "host-7:42",
        "epoch": 17,
        "role": "surplus",
    }
    shown = json.dumps(health.public(body))
    assert "host-7" not in shown
    assert "17" not in shown
    assert "surplus" in shown


def test_an_unknown_cause_is_told_in_fixed_words() -> None:
    shown = health.public({"status": "unavailable", "cause": "new", "reason": "secret"})
    assert shown["reason"] == "Something is wrong; the log says what."
