"""Settings of a small Django project around a peer."""

import os
from urllib.parse import unquote, urlsplit

url = urlsplit(os.environ["DATABASE_URL"])
ENGINES = {"sqlite": "sqlite3", "postgres": "postgresql", "mysql": "mysql"}

if url.scheme == "mysql":
    import pymysql

    pymysql.install_as_MySQLdb()

SECRET_KEY = "only measured"  # noqa: S105
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    *os.environ["BENCH_APPS"].split(),
]
DATABASES = {
    "default": {
        "ENGINE": f"django.db.backends.{ENGINES[url.scheme]}",
        "NAME": url.path if url.scheme == "sqlite" else url.path.lstrip("/"),
        "USER": url.username or "",
        "PASSWORD": unquote(url.password or ""),
        "HOST": url.hostname or "",
        "PORT": str(url.port or ""),
        # As the baked project does; without it peers would connect anew again and again.
        "CONN_MAX_AGE": 60,
    }
}
if url.scheme == "sqlite":
    # As the baked project does, too. By Django's defaults "database is locked" ends
    # django-apscheduler's loop in the midst of a burst.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"

if "BENCH_ADMIN" in os.environ:
    # As `startproject` makes them.
    INSTALLED_APPS += [f"django.contrib.{app}" for app in ("admin", "sessions", "messages", "staticfiles")]
    MIDDLEWARE = [
        "django.middleware.security.SecurityMiddleware",
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ]
    processors = (
        *("template.context_processors.request", "contrib.auth.context_processors.auth"),
        "contrib.messages.context_processors.messages",
    )
    TEMPLATES = [
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {"context_processors": [f"django.{name}" for name in processors]},
        }
    ]
    ROOT_URLCONF = "peer_urls"
    STATIC_URL = "static/"
    ALLOWED_HOSTS = ["localhost"]
