"""gunicorn's settings, a reason beside each."""

import logging
import os
from pathlib import Path

import environ

environ.Env.read_env(Path(__file__).resolve().parent.parent / ".env")

bind = os.environ.get("WEB_BIND", "127.0.0.1:8000")

# Threads wait for the database without blocking each other; two processes survive one crash.
worker_class = "gthread"
workers = int(os.environ.get("WEB_WORKERS", "2"))
threads = int(os.environ.get("WEB_THREADS", "4"))

# The heartbeat file of a worker belongs in memory: a slow disk would look like a hung worker,
# and a read-only container has no other place for it.
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None

# It would be opened under $HOME, which the container's user does not have.
control_socket_disable = True

# A worker that leaks is replaced; jitter keeps two from being replaced at once.
max_requests = 2000
max_requests_jitter = 200

# Below the container's stop grace period, so that requests end before the process is killed.
graceful_timeout = 20
timeout = 60

# Whose X-Forwarded-Proto is believed: addresses or networks, comma-separated.
forwarded_allow_ips = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1")

accesslog = "-"
errorlog = "-"


def _is_no_probe(record: logging.LogRecord) -> bool:
    path = record.args.get("U", "") if isinstance(record.args, dict) else ""
    return not str(path).startswith("/health/")


def on_starting(server: object) -> None:
    """Keep probes, several a minute, out of the access log."""
    logging.getLogger("gunicorn.access").addFilter(_is_no_probe)
