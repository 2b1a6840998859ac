"""What config/settings.py promises to the person who writes .env, asked of fresh processes."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jobstore.tests.copies import copy_code

KEY = "a-key-of-production-that-is-long-and-varied-0123456789-ABCDEFGHIJKLM"
PRODUCTION = {"DJANGO_SECRET_KEY": KEY, "DATABASE_URL": "sqlite:////nowhere/db.sqlite3"}

SHOW = """
import json, sys
from config import settings
print(json.dumps({name: getattr(settings, name) for name in sys.argv[1:]}, default=str))
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A copy of the code without a .env, so that only the given variables count."""
    copy_code(tmp_path)
    return tmp_path


def python(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python there, in an environment that holds nothing but these variables."""
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ}
    variables = kept | {"PYTHONDONTWRITEBYTECODE": "1"} | variables
    return subprocess.run(
        [sys.executable, *arguments], cwd=home, env=variables, capture_output=True, text=True
    )


def settings(home: Path, *names: str, **variables: str) -> list[object]:
    """Return the values of settings under these variables."""
    done = python(home, "-c", SHOW, *names, **variables)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout).values())


def database(home: Path) -> dict[str, str]:
    """Return variables for a database that can be used."""
    return PRODUCTION | {"DATABASE_URL": f"sqlite:///{home}/db.sqlite3"}


def test_nothing_starts_without_a_secret_key(home: Path) -> None:
    done = python(home, "manage.py", "check", DATABASE_URL="sqlite:///x.sqlite3")
    assert done.returncode != 0
    assert "DJANGO_SECRET_KEY" in done.stderr


def test_nothing_starts_without_a_database_in_production(home: Path) -> None:
    done = python(home, "manage.py", "check", DJANGO_SECRET_KEY=KEY)
    assert done.returncode != 0
    assert "DATABASE_URL is not set" in done.stderr.splitlines()[-1]


def test_while_debugging_data_is_kept_in_a_file(home: Path) -> None:
    [databases] = settings(home, "DATABASES", DJANGO_SECRET_KEY=KEY, DJANGO_DEBUG="true")
    assert isinstance(databases, dict)
    assert databases["default"]["NAME"] == str(home / "var" / "db.sqlite3")


def test_a_secret_is_read_from_a_file_without_its_line_end(home: Path) -> None:
    (home / "key").write_text(KEY + "\n")
    variables = database(home) | {"DJANGO_SECRET_KEY_FILE": str(home / "key")}
    del variables["DJANGO_SECRET_KEY"]
    assert settings(home, "SECRET_KEY", **variables) == [KEY]


def test_a_list_of_secrets_is_read_from_a_file_without_its_line_end(home: Path) -> None:
    (home / "keys").write_text("former,older\n")
    variables = database(home) | {"DJANGO_SECRET_KEY_FALLBACKS_FILE": str(home / "keys")}
    assert settings(home, "SECRET_KEY_FALLBACKS", **variables) == [["former", "older"]]


def test_the_database_is_read_from_a_file(home: Path) -> None:
    (home / "url").write_text("postgres://app:pass@db:5432/app\n")
    variables = {"DJANGO_SECRET_KEY": KEY, "DATABASE_URL_FILE": str(home / "url")}
    [databases] = settings(home, "DATABASES", **variables)
    assert isinstance(databases, dict)
    assert (databases["default"]["NAME"], databases["default"]["PASSWORD"]) == ("app", "pass")


def test_the_environment_wins_over_the_file_env(home: Path) -> None:
    (home / ".env").write_text("TIME_ZONE=Europe/Paris\nLOG_LEVEL=ERROR\n")
    variables = database(home) | {"TIME_ZONE": "Asia/Tokyo"}
    zone, logging = settings(home, "TIME_ZONE", "LOGGING", **variables)
    assert isinstance(logging, dict)
    assert (zone, logging["root"]["level"]) == ("Asia/Tokyo", "ERROR")


SWITCHED = ("SECURE_SSL_REDIRECT", "SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE")


def test_production_is_https_unless_told_otherwise(home: Path) -> None:
    assert settings(home, *SWITCHED, **database(home)) == [True, True, True]
    assert settings(home, "SECURE_HSTS_SECONDS", **database(home)) == [31_536_000]


def test_one_switch_turns_everything_to_plain_http(home: Path) -> None:
    variables = database(home) | {"DJANGO_HTTPS": "false"}
    assert settings(home, *SWITCHED, **variables) == [False, False, False]
    assert settings(home, "SECURE_HSTS_SECONDS", **variables) == [0]


def test_a_year_of_https_goes_for_this_name_alone(home: Path) -> None:
    names = ("SECURE_HSTS_INCLUDE_SUBDOMAINS", "SECURE_HSTS_PRELOAD")
    assert settings(home, *names, **database(home)) == [False, False]


def test_all_names_below_and_browsers_lists_are_to_be_had(home: Path) -> None:
    names = ("SECURE_HSTS_INCLUDE_SUBDOMAINS", "SECURE_HSTS_PRELOAD")
    asked = {"DJANGO_HSTS_INCLUDE_SUBDOMAINS": "true", "DJANGO_HSTS_PRELOAD": "true"}
    assert settings(home, *names, **database(home), **asked) == [True, True]


def test_browsers_lists_are_refused_without_the_names_below(home: Path) -> None:
    done = python(home, "manage.py", "check", **database(home), DJANGO_HSTS_PRELOAD="true")
    assert done.returncode == 1
    assert "DJANGO_HSTS_PRELOAD needs" in done.stderr


def test_the_file_of_sqlite_and_what_lies_beside_it_are_for_their_owner_alone(home: Path) -> None:
    use = (
        "import django; django.setup();"
        "from django.db import connection as c; c.cursor().execute('create table t (x int)');"
        "import os; print([(n, oct(os.stat(n).st_mode)[-3:]) for n in sorted(os.listdir('.'))"
        " if n.startswith('db')])"
    )
    variables = database(home) | {"DJANGO_SETTINGS_MODULE": "config.settings"}
    done = python(home, "-c", use, **variables)
    assert ast.literal_eval(done.stdout) == [
        ("db.sqlite3", "600"),
        ("db.sqlite3-shm", "600"),
        ("db.sqlite3-wal", "600"),
    ], done.stderr


def test_a_path_may_hold_what_a_url_may_not(home: Path) -> None:
    odd = home / "50%41 #?+'\""
    odd.mkdir()
    copy_code(odd)
    [databases] = settings(odd, "DATABASES", DJANGO_SECRET_KEY=KEY, DJANGO_DEBUG="true")
    assert isinstance(databases, dict)
    assert databases["default"]["NAME"] == str(odd / "var" / "db.sqlite3")


def test_production_settings_pass_the_deployment_check(home: Path) -> None:
    done = python(
        home, "manage.py", "check", "--deploy", "--fail-level", "WARNING", **database(home)
    )
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout


def test_the_deployment_check_notices_plain_http(home: Path) -> None:
    variables = database(home) | {"DJANGO_HTTPS": "false"}
    done = python(home, "manage.py", "check", "--deploy", "--fail-level", "WARNING", **variables)
    assert done.returncode != 0
    assert "security.W008" in done.stderr
