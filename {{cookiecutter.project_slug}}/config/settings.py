"""Django's settings, all in one file, in the order in which a request meets them.

Every value that differs between machines is read from the environment (or from `.env`, which
`.env.example` explains line by line). A secret may also be read from a file: set
`DJANGO_SECRET_KEY_FILE` instead of `DJANGO_SECRET_KEY`, and so on for every variable.
"""

from pathlib import Path
from typing import Any

import environ
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.FileAwareEnv()
env.read_env(BASE_DIR / ".env")


def text(name: str, default: str | None = None) -> str:
    """Return a variable without the line break that ends most secret files.

    Raises ImproperlyConfigured with the variable's name when it is unset and has no default.
    """
    value: str = env.str(name, **({} if default is None else {"default": default}))
    return value.strip()


def items(name: str, default: list[str]) -> list[str]:
    """Return a comma-separated variable as a list, without white space and empty items."""
    return [item for part in env.list(name, default=default) if (item := part.strip())]


# --- What this process may do -----------------------------------------------------------------

DEBUG: bool = env.bool("DJANGO_DEBUG", default=False)
SECRET_KEY = text("DJANGO_SECRET_KEY")
SECRET_KEY_FALLBACKS = items("DJANGO_SECRET_KEY_FALLBACKS", [])

# --- Who may ask, and how ---------------------------------------------------------------------

ALLOWED_HOSTS = items("DJANGO_ALLOWED_HOSTS", ["localhost", "127.0.0.1"])
CSRF_TRUSTED_ORIGINS = items("DJANGO_CSRF_TRUSTED_ORIGINS", [])

# One switch for everything that only makes sense behind TLS, so that plain http on localhost
# works and production cannot forget half of it. gunicorn, not Django, decides whether a proxy's
# X-Forwarded-Proto is believed (FORWARDED_ALLOW_IPS in config/gunicorn.py).
HTTPS: bool = env.bool("DJANGO_HTTPS", default=not DEBUG)
SECURE_SSL_REDIRECT = HTTPS
SESSION_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SECURE = HTTPS
SECURE_HSTS_SECONDS: int = env.int("DJANGO_HSTS_SECONDS", default=31_536_000 if HTTPS else 0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = SECURE_HSTS_SECONDS > 0
X_FRAME_OPTIONS = "DENY"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "jobstore",
    "jobs",
]

MIDDLEWARE = [
    # First, so that probes are answered before hosts are checked and http is redirected.
    "jobstore.middleware.HealthMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# --- Where data is kept -----------------------------------------------------------------------

SQLITE_OPTIONS = {
    # A transaction that reads and then writes cannot be upgraded while another process writes,
    # so every transaction takes the write lock at its start and waits for it.
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
}

BEHIND_POOLER: bool = env.bool("DATABASE_POOLER", default=False)

# A server that is gone, and a network that loses packets, are noticed before a lease has ended.
# No statement is limited by these: a server that works on one answers to keep the connection.
SERVER_OPTIONS: dict[str, dict[str, Any]] = {
    "django.db.backends.postgresql": {
        "connect_timeout": 5,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 2,
        "tcp_user_timeout": 8000,
    },
    "django.db.backends.mysql": {"connect_timeout": 5},
}


def database() -> dict[str, Any]:
    """Return the settings of the one database, from DATABASE_URL.

    Raises ImproperlyConfigured when the variable is unset and debug is off: a container that
    forgot it would otherwise keep its jobs in a file that dies with it.
    """
    url = text("DATABASE_URL", default="")
    if not url:
        if not DEBUG:
            raise ImproperlyConfigured(
                "DATABASE_URL is not set. Set it, for example to "
                "postgres://user:password@host:5432/name, or to sqlite:////data/db.sqlite3 "
                "if SQLite on one host is what you want."
            )
        url = f"sqlite:///{BASE_DIR / 'var' / 'db.sqlite3'}"
    settings: dict[str, Any] = env.db_url_config(url)
    if settings["ENGINE"].endswith("sqlite3"):
        path = Path(settings["NAME"])
        settings["NAME"] = path if path.is_absolute() else BASE_DIR / path
        settings["NAME"].parent.mkdir(parents=True, exist_ok=True)
        settings["OPTIONS"] = SQLITE_OPTIONS | settings.get("OPTIONS", {})
    else:
        options = SERVER_OPTIONS.get(settings["ENGINE"], {}) | settings.get("OPTIONS", {})
        settings["OPTIONS"] = options
        settings["CONN_MAX_AGE"] = env.int("DATABASE_CONN_MAX_AGE", default=60)
        settings["CONN_HEALTH_CHECKS"] = True
        # A cursor on the server does not outlive the transaction where a pooler lends sessions.
        settings["DISABLE_SERVER_SIDE_CURSORS"] = BEHIND_POOLER
        if size := env.int("DATABASE_POOL_SIZE", default=0):
            # Seconds. By itself the pool waits for minutes before it looks for a lost server again.
            patience = {"timeout": 2, "reconnect_timeout": 1, "max_idle": 60}
            options["pool"] = {"min_size": 1, "max_size": size} | patience
            settings["CONN_MAX_AGE"] = 0
    return settings


DATABASES = {"default": database()}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- Who is asking ----------------------------------------------------------------------------

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

# --- What is answered -------------------------------------------------------------------------

LANGUAGE_CODE = "en-us"
TIME_ZONE = text("TIME_ZONE", default="UTC")
USE_TZ = True

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "var" / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": (
            "django.contrib.staticfiles.storage.StaticFilesStorage"
            if DEBUG
            else "whitenoise.storage.CompressedManifestStaticFilesStorage"
        )
    },
}

# --- What is written down ---------------------------------------------------------------------

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "format": "{asctime} {levelname:<7} {name}: {message}",
            "style": "{",
        }
    },
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": text("LOG_LEVEL", default="INFO").upper()},
    "loggers": {
        # One line a run says enough; APScheduler writes three.
        "apscheduler": {"level": "WARNING"},
        "django.server": {"level": "INFO", "handlers": ["console"], "propagate": False},
    },
}

# --- The scheduler (jobstore/conf.py holds what each value means) -----------------------------

SCHEDULER_THREADS: int = env.int("SCHEDULER_THREADS", default=10)
SCHEDULER_EXTRA = text("SCHEDULER_EXTRA", default="refuse")
SCHEDULER_DETECTOR: bool = env.bool("SCHEDULER_DETECTOR", default=not BEHIND_POOLER)
SCHEDULER_LISTEN: bool = env.bool("SCHEDULER_LISTEN", default=not BEHIND_POOLER)
SCHEDULER_VERSION = text("SCHEDULER_VERSION", default="")
SCHEDULER_HEALTH_ADDRESS = text("SCHEDULER_HEALTH_ADDRESS", default="127.0.0.1:8001")
SCHEDULER_DRAIN_SECONDS: int = env.int("SCHEDULER_DRAIN_SECONDS", default=30)
SCHEDULER_STOP_GRACE_SECONDS: int = env.int("SCHEDULER_STOP_GRACE_SECONDS", default=40)
JOB_HISTORY_DAYS: int = env.int("JOB_HISTORY_DAYS", default=30)
JOB_HISTORY_PER_JOB: int = env.int("JOB_HISTORY_PER_JOB", default=1000)
JOB_HISTORY_RESULT_LENGTH: int = env.int("JOB_HISTORY_RESULT_LENGTH", default=1000)
