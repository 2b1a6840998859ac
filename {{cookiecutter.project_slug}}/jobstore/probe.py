"""A health probe that needs neither Django nor any package: `python -I -S -E probe.py ready`.

Asks http://ADDRESS/health/QUESTION, prints the reason, and exits 0 for yes and 1 for no.
QUESTION is live, ready, active or scheduler; ADDRESS is host:port, by default
SCHEDULER_HEALTH_ADDRESS or 127.0.0.1:8001.
"""

import _socket
import os
import sys

TIMEOUT = 3.0


def _exchange(host: str, port: int, request: bytes) -> bytes:
    """Send and return what comes back, at the first of the host's addresses that answers.

    By the module that `socket` is built upon: loading that one, or http.client, would cost more
    than all the rest of a probe, every few seconds in every container.
    """
    error = OSError("the host has no address")
    # As bytes, since text would load the codec for international names.
    places = _socket.getaddrinfo(host.encode(), port, 0, _socket.SOCK_STREAM)
    for family, kind, protocol, _, place in places:
        connection = _socket.socket(family, kind, protocol)
        try:
            connection.settimeout(TIMEOUT)
            connection.connect(place)
            connection.sendall(request)
            reply = b""
            while chunk := connection.recv(65536):
                reply += chunk
            return reply
        except OSError as failure:
            error = failure
        finally:
            connection.close()
    raise error


def ask(question: str, address: str) -> tuple[bool, str]:
    """Return whether the answer is yes, and what was said."""
    host, _, port = address.rpartition(":")
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]"))  # noqa: S104
    request = f"GET /health/{question} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    try:
        reply = _exchange(host, int(port), request.encode())
    except (OSError, ValueError) as error:
        return False, f"No answer from {address}: {error}"
    head, _, body = reply.decode("utf-8", "replace").partition("\r\n\r\n")
    code = (head.split() + ["", ""])[1]
    return code == "200", body.strip() or head.partition("\r\n")[0]


def main(arguments: list[str]) -> int:
    """Ask, print, and return the exit code."""
    question = arguments[0] if arguments else "ready"
    default = os.environ.get("SCHEDULER_HEALTH_ADDRESS", "127.0.0.1:8001")
    healthy, text = ask(question, arguments[1] if len(arguments) > 1 else default)
    print(text)
    return 0 if healthy else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
