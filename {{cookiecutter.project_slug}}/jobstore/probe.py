"""A health probe that needs neither Django nor any package: `python -I -S -E probe.py ready`.

Asks http://ADDRESS/health/QUESTION, prints the reason, and exits 0 for yes and 1 for no.
QUESTION is live, ready, active or scheduler; ADDRESS is host:port or [IPv6 address]:port, by
default SCHEDULER_HEALTH_ADDRESS of the environment or of .env, else 127.0.0.1:8001. The answer of
another project counts as no.
"""

import _socket
import binascii
import os
import sys

TIMEOUT = 3.0
DEFAULT = "127.0.0.1:8001"
# The header of an answer that identifies its project.
HEADER = "X-Jobstore-Project"
FOLDER = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))


def identity() -> str:
    """Return a digest that tells this project from others on this host, made of its folder.

    The device is part of it, since in containers every project may have the same folder.
    """
    try:
        device = os.stat(FOLDER).st_dev
    except OSError:
        device = 0
    return f"{binascii.crc32(f'{device}:{FOLDER}'.encode(errors='surrogateescape')):08x}"


def split_address(address: str) -> tuple[str, int]:
    """Return host and port of `host:port` or `[IPv6 address]:port`; "" stands for every host.

    :raises ValueError: with what would be accepted.
    """
    host, colon, port = address.strip().rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(f"{address!r} has no port (0 to 65535) at its end: write host:port")
    if host.startswith("[") and host.endswith("]") and ":" in host:
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"{address!r} is ambiguous: write an IPv6 address as in [::1]:8001")
    if "[" in host or "]" in host:
        raise ValueError(f"{address!r} is neither host:port nor [IPv6 address]:port")
    return host, int(port)


def default_address() -> str:
    """Return the address of this project's scheduler, from the environment or else from .env."""
    name = "SCHEDULER_HEALTH_ADDRESS"
    if name in os.environ:
        return os.environ[name].strip()
    address = DEFAULT
    try:
        with open(os.path.join(FOLDER, ".env"), "rb") as file:
            for line in file:
                key, _, value = line.decode("utf-8", "replace").strip().partition("=")
                if key.removeprefix("export ").strip() == name:
                    address = value.strip().strip("'\"")
    except OSError:
        pass
    return address


def _exchange(family: int, place: tuple[object, ...], request: bytes) -> bytes:
    """Send a request and return the answer."""
    connection = _socket.socket(family, _socket.SOCK_STREAM)
    try:
        connection.settimeout(TIMEOUT)
        connection.connect(place)
        connection.sendall(request)
        reply = b""
        while chunk := connection.recv(65536):
            reply += chunk
        return reply
    finally:
        connection.close()


def _places(host: str, port: int) -> list[tuple[int, tuple[object, ...]]]:
    """Return the addresses of a host, by the module that `socket` is built upon.

    Loading `socket` or `http.client` would take longer than the rest of a probe, every few seconds
    in every container.
    """
    # As bytes, since text would load the codec for international names.
    found = _socket.getaddrinfo(host.encode(), port, 0, _socket.SOCK_STREAM)
    return [(family, place) for family, _, _, _, place in found]


def ask(question: str, address: str) -> tuple[bool, str]:
    """Return whether the answer is yes, and its text."""
    if not address:
        return False, "Health checks are switched off: SCHEDULER_HEALTH_ADDRESS is empty."
    try:
        host, port = split_address(address)
        if ":" in host and not host.strip("0:"):
            host = "::1"
        elif not host.strip("0."):
            host = "127.0.0.1"
        name = f"[{host.partition('%')[0]}]" if ":" in host else host
        request = f"GET /health/{question} HTTP/1.0\r\nHost: {name}\r\nConnection: close\r\n\r\n"
        places = _places(host, port)
    except (OSError, ValueError) as error:
        return False, f"No answer from {address}: {error}"
    said = f"No answer from {address}: the host has no address"
    for family, place in places:
        try:
            reply = _exchange(family, place, request.encode())
        except OSError as error:
            said = f"No answer from {address}: {error}"
            continue
        head, _, body = reply.decode("utf-8", "replace").partition("\r\n\r\n")
        lines = [line.lower().replace(" ", "") for line in head.split("\r\n")]
        if f"{HEADER.lower()}:{identity()}" not in lines:
            said = (
                f"What answers at {address} is not this project ({FOLDER}): another one has that "
                "port. Give each its own: SCHEDULER_HEALTH_ADDRESS and WEB_BIND in .env."
            )
            continue
        return (head.split() + ["", ""])[1] == "200", body.strip() or head.partition("\r\n")[0]
    return False, said


def main(arguments: list[str]) -> int:
    """Ask, print, and return the exit code."""
    question = arguments[0] if arguments else "ready"
    healthy, text = ask(question, arguments[1] if len(arguments) > 1 else default_address())
    print(text)
    return 0 if healthy else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
