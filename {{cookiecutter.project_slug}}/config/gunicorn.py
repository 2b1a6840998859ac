"""gunicorn's settings, a reason beside each."""

import importlib
import logging
import os
import sys
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent
# gunicorn adds the folder that it was started in, which may be another one.
sys.path.insert(0, str(BASE_DIR))

from jobstore.logs import JsonFormatter, LineFormatter  # noqa: E402

# Otherwise each worker would fail with a traceback. This reports it once, before they start.
try:
    # Not by `import`: gunicorn takes the name `config` for a setting of its own.
    settings = importlib.import_module("config.settings")
except ImproperlyConfigured as error:
    sys.exit(f"{error}")
# Workers import these again, so that workers that SIGHUP starts have the new code.
for module in [name for name in sys.modules if name.split(".")[0] in ("config", "jobstore")]:
    del sys.modules[module]

bind = settings.WEB_BIND

# Threads wait for the database without blocking each other; two processes survive one crash. No
# thread waits for a client: config/worker.py says how.
worker_class = "config.worker.BufferingWorker"
workers = settings.WEB_WORKERS
threads = settings.WEB_THREADS

# Open connections of each process, with or without a request. Beyond that, the oldest one without
# a complete request is closed. Far below the usual limit of 1024 files.
worker_connections = 400

# The heartbeat file of a worker belongs in memory: a slow disk would look like a hung worker,
# and a read-only container has no other place for it.
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None

# This socket would be created under $HOME, which the container's user does not have.
control_socket_disable = True

# A worker that leaks is replaced; jitter keeps two from being replaced at once.
max_requests = 2000
max_requests_jitter = 200

# Below the container's stop grace period, so that requests end before the process is killed.
graceful_timeout = 20
timeout = 60

# Whose X-Forwarded-Proto is believed: addresses or networks, comma-separated.
forwarded_allow_ips = ",".join(settings.FORWARDED_ALLOW_IPS)

# No header sets the path or the script's name, not even one from these proxies.
forwarder_headers = ""

accesslog = "-"
errorlog = "-"


def _is_no_probe(record: logging.LogRecord) -> bool:
    path = record.args.get("U", "") if isinstance(record.args, dict) else ""
    return not str(path).startswith("/health/")


def on_starting(server: object) -> None:
    """Keep probes, several a minute, out of the access log, and forged lines out of both."""
    logging.getLogger("gunicorn.access").addFilter(_is_no_probe)
    for name in ("gunicorn.access", "gunicorn.error"):
        for handler in logging.getLogger(name).handlers:
            usual = handler.formatter
            # Names of fields, not values: gunicorn's own format and date.
            kind = JsonFormatter if settings.LOG_FORMAT == "json" else LineFormatter
            handler.setFormatter(
                kind(getattr(usual, "_fmt", None), getattr(usual, "datefmt", None))
            )
