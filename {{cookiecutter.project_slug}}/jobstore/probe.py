"""A health probe that needs neither Django nor any package: `python -I -S -E probe.py ready`.

Asks http://ADDRESS/health/QUESTION, prints the reason, and exits 0 for yes and 1 for no.
QUESTION is live, ready, active or scheduler; ADDRESS is host:port, by default
SCHEDULER_HEALTH_ADDRESS or 127.0.0.1:8001.
"""

import os
import socket
import sys

TIMEOUT = 3.0


def ask(question: str, address: str) -> tuple[bool, str]:
    """Return whether the answer is yes, and what was said. http.client would cost twice as much."""
    host, _, port = address.rpartition(":")
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "::1"}.get(host, host.strip("[]"))  # noqa: S104
    request = f"GET /health/{question} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    reply = b""
    try:
        with socket.create_connection((host, int(port)), TIMEOUT) as connection:
            connection.sendall(request.encode())
            while chunk := connection.recv(65536):
                reply += chunk
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
