"""Settings of worker processes that tests start by the dozen: no more than they need."""

SECRET_KEY = "a key that only tests use, long and varied enough: 0123456789 abcdefghij"
INSTALLED_APPS = ["django.contrib.contenttypes", "jobstore"]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
