"""A secret in a file arrives whole, or is refused in one sentence that does not show it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobstore.tests.copies import KEY, MIGRATE, Home

pytestmark = pytest.mark.slow

PASSWORD = "a-password_0123"
SERVER = "postgres://app@db:5432/app"

SHOW = """
from config import settings as s
print([s.SECRET_KEY, s.SECRET_KEY_FALLBACKS, s.DATABASES["default"].get("PASSWORD")])
"""


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("home"))


@pytest.fixture
def home(shared_home: Home) -> Iterator[Home]:
    """A copy of the code without a .env, in whose folder the files of secrets are right."""
    folder = shared_home.path / ".secrets"
    folder.mkdir(mode=0o700, exist_ok=True)
    for name, text in {"key": f"{KEY}\n", "former": "", "password": f"{PASSWORD}\n"}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o644)
    yield shared_home
    (shared_home.path / ".env").unlink(missing_ok=True)
    folder.chmod(0o700)


FILES = {
    "DJANGO_SECRET_KEY": "-",
    "DJANGO_SECRET_KEY_FILE": ".secrets/key",
    "DJANGO_SECRET_KEY_FALLBACKS_FILE": ".secrets/former",
    "DATABASE_URL": SERVER,
    "DATABASE_PASSWORD_FILE": ".secrets/password",
}


def shown(home: Home, **variables: str) -> str:
    done = home.run("-c", SHOW, **(FILES | variables))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_secrets_arrive_from_files_whose_paths_begin_at_the_project(home: Home) -> None:
    assert shown(home) == str([KEY, [], PASSWORD])


def test_where_a_program_is_started_does_not_matter(home: Home) -> None:
    code = "import os, sys; sys.path.insert(0, os.getcwd()); os.chdir('/')"
    done = home.run("-c", code + SHOW, **FILES)
    assert done.stdout.strip() == str([KEY, [], PASSWORD]), done.stderr


@pytest.mark.parametrize("end", ["", "\n", "\n\n\n"], ids=["none", "one", "three"])
def test_line_breaks_at_the_end_are_no_part_of_a_secret(home: Home, end: str) -> None:
    (home.path / ".secrets/key").write_text(KEY + end)
    (home.path / ".secrets/password").write_text(PASSWORD + end)
    assert shown(home) == str([KEY, [], PASSWORD])


def test_former_keys_have_a_line_each(home: Home) -> None:
    (home.path / ".secrets/former").write_text("one\n\ntwo\r\nthree,four\n")
    assert shown(home) == str([KEY, ["one", "two", "three", "four"], PASSWORD])


def test_a_password_of_any_characters_needs_no_encoding_of_its_own(home: Home) -> None:
    odd = "p@/?#%[:$ ' w"
    (home.path / ".secrets/password").write_text(odd)
    assert shown(home) == str([KEY, [], odd])
    assert shown(home, DATABASE_PASSWORD_FILE="-", DATABASE_PASSWORD=odd) == str([KEY, [], odd])


def test_a_variable_of_the_environment_wins_over_a_file_that_env_names(home: Home) -> None:
    (home.path / ".env").write_text("DJANGO_SECRET_KEY_FILE=.secrets/none\n")
    other = KEY[::-1]
    assert other in shown(home, DJANGO_SECRET_KEY_FILE="-", DJANGO_SECRET_KEY=other)


def test_a_file_that_the_environment_names_wins_over_a_variable_in_env(home: Home) -> None:
    (home.path / ".env").write_text(f"DJANGO_SECRET_KEY={KEY[::-1]}\n")
    assert KEY in shown(home)


# --- What is refused ------------------------------------------------------------------------------

BAD = {
    b"": "which is empty: write the value into it.",
    b" \n": "which is empty: write the value into it.",
    b"\xff\xfes\x00": "which cannot be read: it is not text in UTF-8.",
}
# To the database's container these are parts of the password.
BAD_PASSWORDS = {
    f"{PASSWORD}\r\n".encode(): "a Windows line end",
    f" {PASSWORD}\n".encode(): "white space",
    f"\ufeff{PASSWORD}\n".encode(): "a byte order mark",
}
BAD_VALUES = {
    b'"%s"\n': "begins and ends with quotes: write it without them.",
    b"%s\nanother\n": "has more than one line: leave only the one that counts.",
}
FILE_OF = {"DJANGO_SECRET_KEY": ".secrets/key", "DATABASE_PASSWORD": ".secrets/password"}


@pytest.mark.parametrize("name", FILE_OF)
def test_a_file_without_a_value_is_refused(home: Home, name: str) -> None:
    for content, reason in BAD.items():
        (home.path / FILE_OF[name]).write_bytes(content)
        assert home.refusal(**FILES) == f"{name}_FILE names {FILE_OF[name]!r}, {reason}"


@pytest.mark.parametrize("name", FILE_OF)
def test_a_value_that_cannot_be_meant_is_refused(home: Home, name: str) -> None:
    for content, reason in BAD_VALUES.items():
        (home.path / FILE_OF[name]).write_bytes(content % PASSWORD.encode())
        assert home.refusal(**FILES) == f"{name} {reason}"


def test_a_password_that_the_database_would_read_otherwise_is_refused(home: Home) -> None:
    for content, reason in BAD_PASSWORDS.items():
        (home.path / ".secrets/password").write_bytes(content)
        line = home.refusal(**FILES)
        assert line.startswith("DATABASE_PASSWORD_FILE names ") and reason in line
        assert PASSWORD not in line


def test_a_key_from_a_windows_editor_is_the_key(home: Home) -> None:
    (home.path / ".secrets/key").write_bytes(f"\ufeff{KEY}\r\n".encode())
    assert KEY in shown(home)


@pytest.mark.parametrize("name", ["DJANGO_SECRET_KEY", "DATABASE_PASSWORD", "DATABASE_URL"])
def test_a_file_that_is_not_there_is_refused(home: Home, name: str) -> None:
    variables = FILES | {name: "-", f"{name}_FILE": "/run/secrets/none"}
    assert home.refusal(**variables) == (
        f"{name}_FILE names '/run/secrets/none', which cannot be read: No such file or directory."
    )


def test_a_folder_in_place_of_a_file_is_refused_with_where_it_comes_from(home: Home) -> None:
    line = home.refusal(**(FILES | {"DATABASE_PASSWORD_FILE": ".secrets"}))
    assert "Is a directory: Docker makes a folder of a mounted file" in line


@pytest.mark.parametrize("name", FILE_OF)
def test_a_variable_together_with_its_file_is_refused(home: Home, name: str) -> None:
    line = home.refusal(**(FILES | {name: "seCret"}))
    assert line.startswith(f"{name} and {name}_FILE are both set: remove one.")
    assert "seCret" not in line


def test_both_in_env_are_refused(home: Home) -> None:
    (home.path / ".env").write_text(
        f"DJANGO_SECRET_KEY={KEY}\nDJANGO_SECRET_KEY_FILE=.secrets/key\n"
    )
    line = home.refusal(**(FILES | {"DJANGO_SECRET_KEY_FILE": "-"}))
    assert line.startswith("DJANGO_SECRET_KEY and DJANGO_SECRET_KEY_FILE are both set")


def test_a_password_in_the_url_and_one_beside_it_are_refused(home: Home) -> None:
    line = home.refusal(**(FILES | {"DATABASE_URL": "postgres://app:seCret@db:5432/app"}))
    assert line == "DATABASE_URL has a password in it, and DATABASE_PASSWORD is set: remove one."


def test_every_program_refuses_in_one_line(home: Home) -> None:
    (home.path / ".secrets/key").write_text("")
    for arguments in (MIGRATE, ("manage.py", "check"), ("manage.py", "runapscheduler")):
        assert home.refusal(*arguments, **FILES).startswith("DJANGO_SECRET_KEY_FILE names")


# --- Who may read them ----------------------------------------------------------------------------


def warned(home: Home) -> bool:
    done = home.run("manage.py", "check", **(FILES | {"DATABASE_URL": "sqlite:///x.sqlite3"}))
    assert done.returncode == 0, done.stderr
    return "config.W003" in done.stderr


def test_files_that_others_on_this_machine_can_read_are_warned_about(home: Home) -> None:
    folder = home.path / ".secrets"
    assert not warned(home)
    for mode in (0o755, 0o750, 0o701):
        folder.chmod(mode)
        assert warned(home), oct(mode)
    for file in folder.iterdir():
        file.chmod(0o600)
    assert not warned(home)


def test_files_outside_of_the_project_are_not_judged(home: Home, tmp_path: Path) -> None:
    for name in ("key", "former", "password"):
        (tmp_path / name).write_text(KEY)
        (tmp_path / name).chmod(0o644)
    tmp_path.chmod(0o755)
    places = {
        name: str(tmp_path / Path(value).name) for name, value in FILES.items() if "_FILE" in name
    }
    done = home.run("manage.py", "check", **(FILES | places | {"DATABASE_URL": "sqlite:///x"}))
    assert "config.W003" not in done.stderr
