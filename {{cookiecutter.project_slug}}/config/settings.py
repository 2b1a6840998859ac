"""Django's settings, all in one file, in the order in which a request meets them.

Every value that differs between machines is read from the environment (or from `.env`, which
`.env.example` explains line by line). Secrets are read from files, which `docker inspect` does not
show: `DJANGO_SECRET_KEY_FILE` takes the place of `DJANGO_SECRET_KEY`, and so on for every variable.

Wrong values are refused: the last lines of this file report all of them. Variables of your
own are read with `env` above those lines.
"""

from pathlib import Path
from typing import Any

from config.database import EXAMPLES, keep_private, parse
from config.env import Environment
from jobstore import conf

BASE_DIR = Path(__file__).resolve().parent.parent

env = ENVIRONMENT = Environment(BASE_DIR / ".env")

# --- What this process may do -----------------------------------------------------------------

DEBUG = env.switch("DJANGO_DEBUG", default=False)
SECRET_KEY = env.secret(
    "DJANGO_SECRET_KEY",
    'Set it to the output of: python3 -c "import secrets; print(secrets.token_urlsafe(48))"',
)
SECRET_KEY_FALLBACKS = env.items("DJANGO_SECRET_KEY_FALLBACKS")

# --- Who may ask, and how ---------------------------------------------------------------------

ALLOWED_HOSTS = env.hosts("DJANGO_ALLOWED_HOSTS", ["localhost", "127.0.0.1"])
CSRF_TRUSTED_ORIGINS = env.origins("DJANGO_CSRF_TRUSTED_ORIGINS")

# One switch for everything that only makes sense behind TLS, so that plain http on localhost
# works and production cannot forget half of it. gunicorn, not Django, decides whether a proxy's
# X-Forwarded-Proto is believed (FORWARDED_ALLOW_IPS in config/gunicorn.py).
HTTPS = env.switch("DJANGO_HTTPS", default=not DEBUG)
SECURE_SSL_REDIRECT = HTTPS
SESSION_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SECURE = HTTPS
SECURE_HSTS_SECONDS = env.whole(
    "DJANGO_HSTS_SECONDS", default=31_536_000 if HTTPS else 0, unit="seconds"
)
# Both bind further host names, for a year or forever. So they are off unless you ask for them.
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.switch("DJANGO_HSTS_INCLUDE_SUBDOMAINS", default=False)
SECURE_HSTS_PRELOAD = env.switch("DJANGO_HSTS_PRELOAD", default=False)
if SECURE_HSTS_PRELOAD and not SECURE_HSTS_INCLUDE_SUBDOMAINS:
    env.refuse(
        "DJANGO_HSTS_PRELOAD needs DJANGO_HSTS_INCLUDE_SUBDOMAINS=true: the browsers' lists "
        "require it."
    )
# `check --deploy` would demand both of every project.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
X_FRAME_OPTIONS = "DENY"

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "config",
    "jobstore",
    "jobs",
]

MIDDLEWARE = [
    # First, so that probes are answered before hosts are checked and http is redirected.
    "jobstore.middleware.HealthMiddleware",
    "config.proxies.ProxyMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    # Pages speak the language that a browser asks for, if it is one of LANGUAGES.
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "config.middleware.LimitLogins",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

# Used by config/gunicorn.py; read here, so that every command reports a wrong value.
WEB_BIND = env.binds("WEB_BIND", ["127.0.0.1:8000"])
WEB_WORKERS = env.whole("WEB_WORKERS", default=2, least=1, most=1000, unit="processes")
WEB_THREADS = env.whole("WEB_THREADS", default=4, least=1, most=1000, unit="threads")
FORWARDED_ALLOW_IPS = env.networks("FORWARDED_ALLOW_IPS", ["127.0.0.1"])

# Of each process. The other half of its threads keeps serving pages.
LOGINS_AT_ONCE = max(1, WEB_THREADS // 2)

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

BEHIND_POOLER = env.switch("DATABASE_POOLER", default=False)

# So that a dead server, or a network that loses packets, is noticed before a lease ends. These do
# not limit statements: a server that is working on one still answers keepalives.
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


def default_database() -> dict[str, Any]:
    """Return the settings of the one database, from DATABASE_URL.

    It must be set unless debug is on. A container without it would keep its jobs in a file that is
    lost with the container.
    """
    settings: dict[str, Any] = {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": BASE_DIR / "var" / "db.sqlite3",
    }
    if url := env.text("DATABASE_URL", wanted="a URL"):
        try:
            settings = parse(url, BASE_DIR)
        except ValueError as error:
            env.refuse(f"DATABASE_URL {error}")
    elif not DEBUG and "DATABASE_URL" not in env.missed:
        env.refuse(f"DATABASE_URL is not set. Set it, for example to {EXAMPLES}.")
    password = env.password("DATABASE_PASSWORD")
    max_age = env.whole("DATABASE_CONN_MAX_AGE", default=60, unit="seconds")
    pool_size = env.whole("DATABASE_POOL_SIZE", default=0, most=10_000, unit="connections")
    if settings["ENGINE"].endswith("sqlite3"):
        keep_private(settings["NAME"])
        settings["OPTIONS"] = SQLITE_OPTIONS | settings.get("OPTIONS", {})
        return settings
    if password and settings.get("PASSWORD"):
        env.refuse("DATABASE_URL has a password in it, and DATABASE_PASSWORD is set: remove one.")
    settings["PASSWORD"] = password or settings.get("PASSWORD")
    options = SERVER_OPTIONS.get(settings["ENGINE"], {}) | settings.get("OPTIONS", {})
    # Behind a pooler in transaction mode a cursor on the server does not outlive its transaction.
    settings |= {
        "OPTIONS": options,
        "CONN_MAX_AGE": max_age,
        "CONN_HEALTH_CHECKS": True,
        "DISABLE_SERVER_SIDE_CURSORS": BEHIND_POOLER,
    }
    if pool_size and not settings["ENGINE"].endswith("postgresql"):
        env.refuse("DATABASE_POOL_SIZE is for PostgreSQL alone; with this DATABASE_URL remove it.")
    elif pool_size:
        # Seconds. By default the pool waits for minutes before it tries a lost server again.
        patience = {"timeout": 2, "reconnect_timeout": 1, "max_idle": 60}
        options["pool"] = {"min_size": 1, "max_size": pool_size} | patience
        settings["CONN_MAX_AGE"] = 0
    return settings


DATABASES = {"default": default_database()}
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

# What a browser gets that asks for none of LANGUAGES. To have one language for everybody, leave
# that one alone in LANGUAGES. README.md says how to add another.
LANGUAGE_CODE = "en-us"
LANGUAGES = [("en", "English"), ("de", "Deutsch")]
TIME_ZONE = env.zone("TIME_ZONE", default="UTC")
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

LOG_LEVEL = env.choice("LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"))
# Lines are for people, JSON is for what collects logs; compose.yaml chooses JSON.
LOG_FORMAT = env.choice("LOG_FORMAT", "line", ("line", "json"))
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"run": {"()": "jobstore.logs.RunFilter"}},
    "formatters": {
        "line": {
            # One record, one line: an id or an exception must not forge further lines.
            "class": "jobstore.logs.LineFormatter",
            "format": "{asctime} {log_color}{levelname:<7}{reset} {name}: {message}",
            "style": "{",
        },
        "json": {"class": "jobstore.logs.JsonFormatter"},
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": LOG_FORMAT,
            "filters": ["run"],
        }
    },
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    "loggers": {
        # One line a run says enough; APScheduler writes three.
        "apscheduler": {"level": "WARNING"},
        "django.server": {"level": "INFO", "handlers": ["console"], "propagate": False},
    },
}

# --- The scheduler (jobstore/conf.py holds what each value means) -----------------------------

# Behind a pooler, what a database session keeps does not last.
WITH_SESSIONS = dict.fromkeys(("SCHEDULER_SESSION_LOCK", "SCHEDULER_LISTEN"), not BEHIND_POOLER)
for name, setting in conf.SETTINGS.items():
    globals()[name] = env.get(name, setting, WITH_SESSIONS.get(name))

env.refuse_mistakes()
