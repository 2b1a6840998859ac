"""A variable that makes no sense is refused in one sentence, whichever program reads it."""

from pathlib import Path

import pytest

from jobstore.tests.copies import KEY, MIGRATE, Home

pytestmark = pytest.mark.slow

PROGRAMS = {
    "migrate": MIGRATE,
    "check": ("manage.py", "check"),
    "scheduler": ("manage.py", "runapscheduler"),
    "web": ("-m", "gunicorn", "config.wsgi", "-c", "config/gunicorn.py"),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("home"))


def assert_quotes(line: str, name: str, value: str) -> None:
    assert line.startswith(f"{name} is {value!a}; it must be "), line


NONSENSE = [
    ("JOB_HISTORY_DAYS", "-1"),
    ("JOB_HISTORY_DAYS", "0"),
    ("JOB_HISTORY_DAYS", "99999999"),
    ("JOB_HISTORY_PER_JOB", "-5"),
    ("JOB_HISTORY_PER_JOB", "1e3"),
    ("SCHEDULER_DRAIN_SECONDS", "-5"),
    ("SCHEDULER_DRAIN_SECONDS", "nan"),
    ("SCHEDULER_DRAIN_SECONDS", "inf"),
    ("SCHEDULER_LEASE_SECONDS", "ten"),
    ("SCHEDULER_HEALTH_ADDRESS", "8001"),
    ("SCHEDULER_HEALTH_ADDRESS", "127.0.0.1:99999"),
    ("SCHEDULER_HEALTH_ADDRESS", "localhost"),
    ("SCHEDULER_HEALTH_ADDRESS", "http://localhost:8001"),
    ("SCHEDULER_HEALTH_ADDRESS", "::1:8001"),
    ("SCHEDULER_THREADS", "abc"),
    ("SCHEDULER_THREADS", "0"),
    ("SCHEDULER_THREADS", ""),
    ("SCHEDULER_SURPLUS", "allow"),
    ("SCHEDULER_SESSION_LOCK", "maybe"),
    ("SCHEDULER_THREADS", "9" * 20),
    ("DATABASE_CONN_MAX_AGE", "9" * 20),
    ("DJANGO_HTTPS", "enabled"),
    ("DJANGO_DEBUG", "flase"),
    ("DJANGO_HSTS_SECONDS", "-1"),
    ("DATABASE_POOLER", "2"),
    ("DATABASE_CONN_MAX_AGE", "None"),
    ("LOG_LEVEL", "loud"),
    ("TIME_ZONE", ""),
    ("TIME_ZONE", "Berlin"),
    ("TIME_ZONE", "Europe"),
    ("TIME_ZONE", "../etc/passwd"),
]


def test_a_value_that_makes_no_sense_is_refused_by_name_with_what_would_be_right(
    home: Home,
) -> None:
    for name, value in NONSENSE:
        assert_quotes(home.refusal(**{name: value}), name, value)


def test_a_number_of_hundreds_of_digits_is_refused_in_one_line(home: Home) -> None:
    line = home.refusal(SCHEDULER_THREADS="1" * 400)
    assert line.startswith("SCHEDULER_THREADS is '111") and "must be a whole number" in line


LISTS = [
    ("DJANGO_ALLOWED_HOSTS", "https://example.com"),
    ("DJANGO_ALLOWED_HOSTS", "example.com/"),
    ("DJANGO_ALLOWED_HOSTS", "localhost,example.com:8000"),
    ("DJANGO_ALLOWED_HOSTS", "example.com www.example.com"),
    ("DJANGO_ALLOWED_HOSTS", "::1"),
    ("DJANGO_CSRF_TRUSTED_ORIGINS", "example.com"),
    ("DJANGO_CSRF_TRUSTED_ORIGINS", "https://example.com/"),
    ("DJANGO_CSRF_TRUSTED_ORIGINS", "https://*"),
    ("WEB_BIND", "8000"),
    ("WEB_BIND", "localhost"),
    ("WEB_BIND", "127.0.0.1:99999"),
    ("WEB_BIND", "http://localhost:8000"),
    ("FORWARDED_ALLOW_IPS", "nginx"),
    ("FORWARDED_ALLOW_IPS", "10.0.0.1 10.0.0.2"),
]


def test_a_list_with_a_wrong_item_is_refused_by_every_command_naming_the_item(home: Home) -> None:
    for name, value in LISTS:
        line = home.refusal(**{name: value})
        wrong = value.split(",")[-1]
        assert line.startswith(f"{name} contains {wrong!a}; it must be "), line


@pytest.mark.parametrize("name", ["DJANGO_ALLOWED_HOSTS", "WEB_BIND"])
def test_a_list_that_must_not_be_empty_is_refused_if_it_is(home: Home, name: str) -> None:
    assert home.refusal(**{name: " , "}).startswith(f"{name} is empty; it must be ")


def test_lists_that_make_sense_are_accepted(home: Home) -> None:
    done = home.run(
        *PROGRAMS["check"],
        DJANGO_ALLOWED_HOSTS="*,.example.com,[::1],127.0.0.1,my_host",
        DJANGO_CSRF_TRUSTED_ORIGINS="https://*.example.com,http://localhost:8000,https://[::1]:8443",
        WEB_BIND="[::]:8000,unix:/run/web.sock,fd://3,:8000",
        FORWARDED_ALLOW_IPS="*",
    )
    assert done.returncode == 0, done.stderr


def test_a_file_that_is_no_database_is_told_in_one_line(home: Home, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("This is no database." * 100)
    file.chmod(0o600)
    line = home.refusal(DATABASE_URL=f"sqlite:///{file}")
    assert "notes.txt is not a SQLite database" in line


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_refuses_in_one_line(home: Home, program: str) -> None:
    line = home.refusal(*PROGRAMS[program], SCHEDULER_THREADS="abc")
    assert (
        line == "SCHEDULER_THREADS is 'abc'; it must be a whole number of threads from 1 to 1000."
    )


@pytest.mark.parametrize("name", ["WEB_WORKERS", "WEB_THREADS"])
def test_the_web_server_refuses_its_own_variables_in_one_line(home: Home, name: str) -> None:
    assert_quotes(home.refusal(*PROGRAMS["web"], **{name: "many"}), name, "many")


def test_the_web_server_accepts_what_makes_sense(home: Home) -> None:
    done = home.run(*PROGRAMS["web"], "--check-config", WEB_WORKERS="3", FORWARDED_ALLOW_IPS="::1")
    assert done.returncode == 0, done.stderr


def test_all_mistakes_are_named_at_once(home: Home) -> None:
    done = home.run(
        *MIGRATE, SCHEDULER_THREADS="0", DJANGO_HTTPS="enabled", TIME_ZONE="Europe/Berln"
    )
    assert [line.split(" ")[0] for line in done.stderr.splitlines()] == [
        "DJANGO_HTTPS",
        "TIME_ZONE",
        "SCHEDULER_THREADS",
    ]
    assert "did you mean Europe/Berlin" in done.stderr


def test_a_traceback_is_to_be_had(home: Home) -> None:
    done = home.run("manage.py", "migrate", "--traceback", SCHEDULER_THREADS="abc")
    assert "Traceback" in done.stderr


@pytest.mark.parametrize("value", ["true", "YES", "on", "1"])
def test_a_switch_understands_the_usual_words(home: Home, value: str) -> None:
    done = home.run("manage.py", "check", DJANGO_HTTPS=value, SCHEDULER_SESSION_LOCK="Off")
    assert done.returncode == 0, done.stderr


# --- The database ---------------------------------------------------------------------------------

PASSWORD = "seCret"
URLS = {
    "not a url": "is not a URL",
    "localhost:5432/app": "is not a URL",
    f"mariadb://app:{PASSWORD}@db/app": "did you mean mysql://",
    f"oracle://app:{PASSWORD}@db/app": "is not known",
    f"postgres://app:{PASSWORD}/x@db/app": "/ as %2F",
    f"postgres://app:{PASSWORD}?x@db/app": "? as %3F",
    f"mysql://app:{PASSWORD}#x@db/app": "# as %23",
    f"postgres://app:{PASSWORD}@x@db/app": "@ as %40",
    f"postgres://app:{PASSWORD}@x/y?z@db/app": "@ as %40",
    f"postgres://app:{PASSWORD}%x@db/app": "% as %25",
    f"mysql://app:{PASSWORD}[x@db/app": "[ as %5B",
    f"postgres://app:{PASSWORD}@db:port/app": "its port",
    f"postgres://app:{PASSWORD}@db:99999/app": "its port",
    f"postgres://app:{PASSWORD}@db:5432": "names no database",
    f"mysql://app:{PASSWORD}@db/": "names no database",
    "sqlite://data/db.sqlite3": "two slashes",
    "sqlite://:memory:": "two slashes",
    "sqlite:///": "names no file",
    "sqlite:////data/db#1.sqlite3": "# as %23",
    "sqlite:////data/db.sqlite3?timeuot=5": "only timeout=20 is known",
}


def test_a_database_url_that_cannot_be_right_is_refused_without_showing_its_password(
    home: Home,
) -> None:
    for url, reason in URLS.items():
        line = home.refusal(DATABASE_URL=url)
        assert line.startswith("DATABASE_URL ") and reason in line, (url, line)
        assert PASSWORD not in line


def test_a_password_of_any_characters_arrives_when_it_is_percent_encoded(home: Home) -> None:
    show = "from config.settings import DATABASES as d; print(d['default']['PASSWORD'])"
    url = "postgres://app:a%2Fb%3Fc%23d%40e%25f%5Bg%3Ah@db:5432/app"
    assert home.run("-c", show, DATABASE_URL=url).stdout.strip() == "a/b?c#d@e%f[g:h"


def test_how_long_sqlite_waits_can_be_said_behind_its_path(home: Home) -> None:
    show = "from config.settings import DATABASES as d; print(d['default']['OPTIONS']['timeout'])"
    for url, seconds in {"sqlite:///x": "20", "sqlite:///x?timeout=3": "3"}.items():
        assert home.run("-c", show, DATABASE_URL=url).stdout.strip() == seconds


def test_a_pool_is_refused_where_there_is_none(home: Home) -> None:
    line = home.refusal(DATABASE_URL="mysql://app:pw@db/app", DATABASE_POOL_SIZE="5")
    assert line.startswith("DATABASE_POOL_SIZE is for PostgreSQL alone")


# --- Secrets --------------------------------------------------------------------------------------


def test_an_empty_key_is_told_from_a_missing_one_and_how_to_make_one(home: Home) -> None:
    assert home.refusal(DJANGO_SECRET_KEY="").startswith("DJANGO_SECRET_KEY is empty. Set it to")
    assert home.refusal(DJANGO_SECRET_KEY="-").startswith("DJANGO_SECRET_KEY is not set. Set it to")


def test_a_key_in_quotes_is_refused_without_showing_it(home: Home) -> None:
    line = home.refusal(DJANGO_SECRET_KEY=f'"{KEY}"')
    assert line == "DJANGO_SECRET_KEY begins and ends with quotes: write it without them."


def test_a_key_that_begins_with_a_dollar_is_a_key(home: Home) -> None:
    show = "from config.settings import SECRET_KEY; print(SECRET_KEY)"
    assert home.run("-c", show, DJANGO_SECRET_KEY=f"${KEY}").stdout.strip() == f"${KEY}"


def test_a_key_that_was_cut_is_warned_about_without_showing_it(home: Home) -> None:
    done = home.run("manage.py", "check", DJANGO_SECRET_KEY="cut-at-a-dollar")
    assert done.returncode == 0
    assert "config.W002" in done.stderr and "15 characters" in done.stderr
    assert "cut-at-a-dollar" not in done.stderr


# --- The file .env --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("SCHEDULER_VERSION=v$1", "contains a $"),
        ("SCHEDULER_VERSION=v1 # the first", "has a comment behind it"),
        ("SCHEDULER_VERSION='true", "has a quote that is not closed at its end"),
        ("SCHEDULER_VERSION=a\\b", "contains a backslash"),
        ("what is this", "is not NAME=value"),
    ],
)
@pytest.mark.parametrize("program", ["check", "scheduler"])
def test_a_line_that_is_refused_is_told_in_one_sentence(
    home: Home, program: str, line: str, reason: str
) -> None:
    """Django imports settings that raised once more, after which it told something else."""
    (home.path / ".env").write_text(f"{line}\n")
    try:
        told = home.refusal(*PROGRAMS[program])
    finally:
        (home.path / ".env").unlink()
    assert reason in told and "ine 1 of .env" in told


def test_a_wrong_value_in_the_file_is_told_in_one_sentence(home: Home) -> None:
    (home.path / ".env").write_text("SCHEDULER_THREADS=abc\n")
    try:
        line = home.refusal(*PROGRAMS["scheduler"])
    finally:
        (home.path / ".env").unlink()
    assert_quotes(line, "SCHEDULER_THREADS", "abc")


# --- Proxies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["proxy.example", "10.0.0.1/8", "127.0.0.1:80"])
def test_a_proxy_that_is_no_address_is_refused(home: Home, value: str) -> None:
    # What is in the environment already, gunicorn refuses before it reads its file.
    (home.path / ".env").write_text(f"FORWARDED_ALLOW_IPS={value}\n")
    try:
        line = home.refusal(*PROGRAMS["web"])
    finally:
        (home.path / ".env").unlink()
    assert line.startswith(f"FORWARDED_ALLOW_IPS contains {value!r}; it must be a list"), line


# --- Names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("SCHEDULER_THREAD", "SCHEDULER_THREADS"),
        ("JOB_HISTORY_DAY", "JOB_HISTORY_DAYS"),
        ("DJANGO_ALLOWED_HOST", "DJANGO_ALLOWED_HOSTS"),
        ("DATABASE_URI", "DATABASE_URL"),
        ("WEB_WORKER", "WEB_WORKERS"),
        ("SCHEDULER_LEASE_SECOND_FILE", "SCHEDULER_LEASE_SECONDS"),
    ],
)
def test_a_misspelt_variable_is_warned_about(home: Home, name: str, meant: str) -> None:
    done = home.run("manage.py", "check", **{name: "5"})
    assert done.returncode == 0
    assert f"Nothing reads the variable {name}." in done.stderr
    assert f"Did you mean {meant}?" in done.stderr


def test_the_scheduler_and_migrate_warn_about_it_when_they_start(home: Home) -> None:
    for arguments in (MIGRATE, ("manage.py", "runapscheduler", "--check")):
        assert "SCHEDULER_THREAD." in home.run(*arguments, SCHEDULER_THREAD="5").stderr


def test_what_others_read_is_not_warned_about(home: Home) -> None:
    others = {
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DJANGO_SUPERUSER_PASSWORD": "x",
        "DATABASE_PASSWORD": "x",
        "DJANGO_COLORS": "nocolor",
        # Of Kubernetes, where a service is called "scheduler".
        "SCHEDULER_PORT": "tcp://10.0.0.1:8001",
        "SCHEDULER_PORT_8001_TCP_ADDR": "10.0.0.1",
        "SCHEDULER_SERVICE_HOST": "10.0.0.1",
    }
    assert "W001" not in home.run("manage.py", "check", **others).stderr
