"""Settings of a project that runs its jobs with django-apscheduler."""

import os
from urllib.parse import unquote, urlsplit

url = urlsplit(os.environ["SHOP_DATABASE"])
ENGINES = {"sqlite": "sqlite3", "postgres": "postgresql", "mysql": "mysql"}

if url.scheme == "mysql":
    import pymysql

    pymysql.install_as_MySQLdb()

SECRET_KEY = "the secret of the old project"
INSTALLED_APPS = ["django_apscheduler"]
DATABASES = {
    "default": {
        "ENGINE": f"django.db.backends.{ENGINES[url.scheme]}",
        "NAME": url.path if url.scheme == "sqlite" else url.path.lstrip("/"),
        "USER": url.username or "",
        "PASSWORD": unquote(url.password or ""),
        "HOST": url.hostname or "",
        "PORT": str(url.port or ""),
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = os.environ["SHOP_USE_TZ"] == "yes"
TIME_ZONE = os.environ["SHOP_TIME_ZONE"]
