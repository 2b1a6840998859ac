"""The project's settings as its tests see them, whatever this machine's .env says."""

import atexit
import os
import tempfile
from pathlib import Path

# Gone when the process ends. A file, since SQLite in memory locks otherwise than in production.
SCRATCH = tempfile.TemporaryDirectory(prefix="tests-", ignore_cleanup_errors=True)
atexit.register(SCRATCH.cleanup)

IN_THE_SHELL = set(os.environ)

os.environ.update(
    DJANGO_SECRET_KEY="a key that only tests use, long and varied enough: 0123456789 abcdefghij",
    DJANGO_DEBUG="false",
    DJANGO_HTTPS="false",
    DJANGO_ALLOWED_HOSTS="testserver,localhost,127.0.0.1",
)
# A real database is tested by setting DATABASE_URL in the shell; the one in .env is never touched.
os.environ.setdefault("DATABASE_URL", f"sqlite:///{SCRATCH.name}/db.sqlite3")
os.environ.setdefault("DATABASE_POOLER", "false")
os.environ.setdefault("DATABASE_POOL_SIZE", "0")
os.environ.setdefault("LOG_LEVEL", "INFO")

from config.settings import *  # noqa: E402, F403
from config.settings import BEHIND_POOLER, DATABASES, STORAGES  # noqa: E402
from jobstore.conf import SETTINGS  # noqa: E402

if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["TEST"] = {"NAME": Path(SCRATCH.name) / "test.sqlite3"}

# The store's tests count on its defaults; what .env says is meant for this machine's scheduler.
for _name, _setting in SETTINGS.items():
    if _name not in IN_THE_SHELL:
        _sessions = _name in ("SCHEDULER_SESSION_LOCK", "SCHEDULER_LISTEN")
        globals()[_name] = not BEHIND_POOLER if _sessions else _setting.default
        os.environ.pop(_name, None)

# Pages are rendered without collecting static files first.
STATIC_ROOT = Path(SCRATCH.name) / "static"
STATIC_ROOT.mkdir()
STORAGES["staticfiles"] = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}

# Strong hashes take most of the time of a test that logs in.
if "TEST_STRONG_HASHES" not in os.environ:
    PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
