"""What is asked of the URL of a message broker, and how long one may keep a sender waiting."""

from typing import Any
from urllib.parse import urlsplit

EXAMPLES = "redis://127.0.0.1:6379/0 (Valkey, Redis) or amqp://user:password@host:5672// (RabbitMQ)"

VALKEY = ("redis", "rediss")
RABBITMQ = ("amqp", "amqps")
# What Celery can use as well. Nothing of this project was tried with them.
OTHERS = ("filesystem", "memory", "sentinel", "sqs")

# Seconds that a connection, or an answer on it, may take.
PATIENCE = 5.0
# Who sends tries once more, since a URL may name several hosts, and waits for nothing in between.
ATTEMPTS = {"max_retries": 1, "interval_start": 0, "interval_step": 0, "interval_max": 0}
# Seconds after which Valkey gives a message that was not acknowledged to another worker. A message
# is acknowledged after its run, so a long run would see its message again and again. That does no
# harm, and is of no use either: the database knows whose run it is, and publishes what was lost.
VISIBILITY = 86_400


def refusal(url: str) -> str:
    """Return what is wrong with a URL, in words that follow its name; empty if nothing is.

    The URL may hold a password, so it is not repeated.
    """
    try:
        parts = urlsplit(url)
        scheme, host, _ = parts.scheme.lower(), parts.hostname, parts.port
    except ValueError:
        return (
            "is no URL with a host and a port. In a password, percent-encode all but letters, "
            f"digits, - and _. Examples: {EXAMPLES}."
        )
    if scheme in ("valkey", "valkeys"):
        return "begins with valkey://, which Celery does not know: write redis:// in its place."
    if scheme not in (*VALKEY, *RABBITMQ, *OTHERS):
        return f"must begin with redis://, rediss://, amqp:// or amqps://. Examples: {EXAMPLES}."
    if scheme in (*VALKEY, *RABBITMQ) and not host:
        return f"names no host. Examples: {EXAMPLES}."
    return ""


def options(url: str) -> dict[str, Any]:
    """Return the options with which Celery's transport connects."""
    scheme = urlsplit(url).scheme.lower()
    if scheme in RABBITMQ:
        # Sent means that the broker has confirmed it.
        limits = {"read_timeout": PATIENCE, "write_timeout": PATIENCE}
        return {**ATTEMPTS, **limits, "confirm_publish": True}
    if scheme in VALKEY:
        return {
            **ATTEMPTS,
            "socket_connect_timeout": PATIENCE,
            "socket_timeout": PATIENCE,
            "socket_keepalive": True,
            "visibility_timeout": VISIBILITY,
        }
    return {}
