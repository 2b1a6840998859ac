"""Refuses answers that could not become a working project, one sentence for each."""

import json
import keyword
import re
import sys
import unicodedata
import zoneinfo
from pathlib import Path

# As JSON an answer is data whatever it holds: quotes and backslashes arrive escaped.
ANSWERS: dict[str, str] = json.loads(r'''{{ cookiecutter | tojson }}''')  # fmt: skip

NAME_LENGTH = 80
# Supervisor's socket lies in the project's folder, and its whole path may have 107 bytes.
SLUG_LENGTH = 40
DOMAIN_LENGTH = 253

# What Docker accepts as the name of an image, and Compose as that of a project.
SLUG = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
ZONE = re.compile(r"UTC|[A-Z][A-Za-z]+(/[A-Z][A-Za-z_-]+)+")

# Python run in the folder above would import the project's folder in place of any of these.
TAKEN = {
    *keyword.kwlist,
    *sys.stdlib_module_names,
    *("config", "deploy", "jobs", "jobstore", "manage", "requirements", "test", "tests", "var"),
    *("apscheduler", "django", "environ", "gunicorn", "psycopg", "supervisor", "whitenoise"),
    *("mypy", "pytest", "ruff", "setuptools", "pip"),
}


def project_name(name: str) -> str | None:
    r"""Refuse a name that is empty, longer than a heading, or more than one line.

    Valid: "My Project", "Müller & Söhne", "it's {braces}, \\ and <b>".
    Invalid: "", "   ", "two\nlines", "a bell\a".
    """
    if not name.strip():
        return "project_name must not be empty."
    if len(name) > NAME_LENGTH:
        return f"project_name must have at most {NAME_LENGTH} characters, not {len(name)}."
    # Control characters, halves of characters, and the separators of lines and paragraphs.
    if any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in name):
        return f"project_name must be one line without control characters, not {name!a}."
    return None


def project_slug(slug: str) -> str | None:
    """Refuse a slug that is no plain lower-case identifier, or that hides a package.

    Valid: "my_project", "jobs2".
    Invalid: "My_Project", "my-project", "2nd", "_x", "a__b", "a/b", "", "django", "site", "class".
    """
    if not SLUG.fullmatch(slug):
        return (
            "project_slug must be lower-case letters, digits and single underscores, "
            f"starting with a letter, not {shown(slug)}."
        )
    if len(slug) > SLUG_LENGTH:
        return f"project_slug must have at most {SLUG_LENGTH} characters, not {len(slug)}."
    if slug in TAKEN:
        return f"project_slug must not be {slug!a}, which is a name of Python or of a package used here."
    return None


def domain_name(domain: str) -> str | None:
    """Refuse what is no bare domain name.

    Valid: "localhost", "example.com", "jobs.intranet", "xn--bcher-kva.example".
    Invalid: "https://example.com", "example.com:8000", "Example.com", "-a.com", "a..b", "10.0.0.1", "".
    """
    labels = domain.split(".")
    possible = all(LABEL.fullmatch(label) for label in labels) and not labels[-1].isdigit()
    if possible and len(domain) <= DOMAIN_LENGTH:
        return None
    return (
        "domain_name must be a bare lower-case domain name such as example.com, "
        f"without scheme, port or path, not {shown(domain)}."
    )


def time_zone(zone: str) -> str | None:
    """Refuse what is no current name of the tz database, as far as this machine knows.

    Valid: "UTC", "Europe/Berlin", "America/Argentina/Ushuaia".
    Invalid: "Berlin", "Europe/Atlantis", "europe/berlin", "CET", "+02:00", "../UTC", "".
    """
    known = current_zones()
    if ZONE.fullmatch(zone) and (zone in known or not known):
        return None
    return f"time_zone must be UTC or a current tz database name such as Europe/Berlin, not {shown(zone)}."


def current_zones() -> set[str]:
    """Return the time zones this machine knows, empty when it has no tz database.

    Former names (US/Eastern, Asia/Calcutta) are left out where the database tells them apart: the
    container's Debian keeps them in a package of their own, and Django would not start there.
    """
    for folder in zoneinfo.TZPATH:
        table = Path(folder, "zone.tab")
        if table.is_file():
            lines = table.read_text(encoding="utf-8").splitlines()
            return {"UTC"} | {line.split("\t")[2] for line in lines if line[:1].isalpha()}
    return zoneinfo.available_timezones()


def shown(answer: str) -> str:
    """Return an answer as ASCII in quotes, short enough for a sentence."""
    return ascii(answer if len(answer) <= NAME_LENGTH else answer[:NAME_LENGTH] + "...")


VALIDATORS = (
    (project_name, "project_name"),
    # The slug as it was given: cookiecutter.json replaces one that could lead out of the folder.
    (project_slug, "__slug_answer"),
    (domain_name, "domain_name"),
    (time_zone, "time_zone"),
)


def main() -> None:
    """Print what is wrong and exit with 1, or return if every answer is accepted."""
    refusals = [refusal for check, answer in VALIDATORS if (refusal := check(ANSWERS[answer]))]
    for refusal in refusals:
        print(f"ERROR: {refusal}", file=sys.stderr)
    if refusals:
        sys.exit(1)
    if not current_zones():
        print("NOTE: this machine has no tz database, so time_zone could not be checked.", file=sys.stderr)


if __name__ == "__main__":
    main()
