"""Writes the project's secrets, removes the files of choices not taken, and says what to do next."""

import json
import os
import secrets
from pathlib import Path

# As JSON an answer is data whatever it holds: quotes and backslashes arrive escaped.
ANSWERS: dict[str, str] = json.loads(r'''{{ cookiecutter | tojson }}''')  # fmt: skip

# Beside .env, and like .env never in git or in an image.
SECRETS = ".secrets"

# Files that belong to one choice: the project keeps those of the answers, and loses the others.
FILES_OF: dict[str, dict[str, tuple[str, ...]]] = {
    "database": {
        "postgresql": ("requirements/postgresql.in", "requirements/postgresql.txt"),
        "mariadb": ("requirements/mariadb.in", "requirements/mariadb.txt"),
    },
    "proxy": {"caddy": ("deploy/Caddyfile",)},
    "ci": {"github": (".github/workflows/ci.yml",), "gitlab": (".gitlab-ci.yml",)},
}


def drop_what_was_not_chosen() -> None:
    """Remove the files of every choice not taken, and the folders that this leaves empty."""
    for question, choices in FILES_OF.items():
        for choice, names in choices.items():
            if choice != ANSWERS[question]:
                for name in names:
                    remove(Path(name))


def remove(path: Path) -> None:
    """Remove a file, and its folders as long as nothing else is in them."""
    path.unlink(missing_ok=True)
    for folder in path.parents:
        if folder == Path() or not folder.is_dir() or any(folder.iterdir()):
            return
        folder.rmdir()


def fresh() -> dict[str, str]:
    """Return the text of each file of secrets. There are no former keys yet.

    Their alphabet (A-Z a-z 0-9 - _) needs no quoting anywhere, not in a URL and not in SQL.
    """
    texts = {"django_secret_key": secrets.token_urlsafe(48) + "\n", "django_secret_key_fallbacks": ""}
    if ANSWERS["database"] != "sqlite":
        texts["database_password"] = secrets.token_urlsafe(32) + "\n"
    return texts


def environment() -> str:
    """Return the text of .env."""
    hosts = dict.fromkeys([ANSWERS["domain_name"], "localhost", "127.0.0.1"])
    lines = [
        "# Settings of this machine, which git ignores. .env.example explains every variable.",
        "# Containers and volumes are named after it, so that no other project meets this one's database.",
        f"COMPOSE_PROJECT_NAME={ANSWERS['project_slug']}-{secrets.token_hex(3)}",
        "# Containers read the same files of .secrets/, together with database_password.",
        f"DJANGO_SECRET_KEY_FILE={SECRETS}/django_secret_key",
        f"DJANGO_SECRET_KEY_FALLBACKS_FILE={SECRETS}/django_secret_key_fallbacks",
        "DJANGO_DEBUG=false",
        f"DJANGO_HTTPS={'true' if ANSWERS['proxy'] == 'caddy' else 'false'}",
        *hsts(),
        f"DJANGO_ALLOWED_HOSTS={','.join(hosts)}",
        f"TIME_ZONE={ANSWERS['time_zone']}",
        "# Outside the containers; inside them compose.yaml sets another.",
        "DATABASE_URL=sqlite:///var/db.sqlite3",
    ]
    return "\n".join(lines) + "\n"


def hsts() -> list[str]:
    """Return the line that keeps browsers from demanding https of all other projects at localhost."""
    local = ANSWERS["proxy"] == "caddy" and ANSWERS["domain_name"] == "localhost"
    return ["DJANGO_HSTS_SECONDS=0"] if local else []


def write_new(name: str, text: str, mode: int) -> bool:
    """Write a file; return False when there was one of this name, which is kept."""
    try:
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
    # Whatever the umask.
    Path(name).chmod(mode)
    return True


def write_secrets() -> list[str]:
    """Write the files of secrets that do not exist; return the names of those that exist.

    The users of the containers, which are other users, may read the files that are mounted there. Other
    users of this machine cannot enter the folder.
    """
    Path(SECRETS).mkdir(mode=0o700, exist_ok=True)
    return [name for name, text in fresh().items() if not write_new(f"{SECRETS}/{name}", text, 0o644)]


def address() -> str:
    """Return the address of the project once it has started."""
    if ANSWERS["proxy"] == "caddy":
        return f"https://{ANSWERS['domain_name']}/"
    return "http://localhost:8000/"


def note_on_the_path(folder: str) -> str:
    """Return a warning about a path that supervisor cannot use; empty if it can."""
    found = [mark for mark in ("%", '"') if mark in folder]
    if not found:
        return ""
    return (
        f"NOTE: the path of this folder contains {' and '.join(found)}, which supervisor cannot read in its "
        "settings. Move the project to another folder before you start it without Docker."
    )


def main() -> None:
    """Finish the project and say what to do next."""
    drop_what_was_not_chosen()
    kept = [] if write_new(".env", environment(), 0o600) else [".env"]
    kept += [f"{SECRETS}/{name}" for name in write_secrets()]
    slug = ANSWERS["project_slug"]
    as_it_was = f"\nThese files were kept as they were: {', '.join(kept)}." if kept else ""
    print(f"""
Your project is in {slug}/, its secrets in {slug}/{SECRETS}/.{as_it_was} Next:

    cd {slug}
    docker compose up --wait
    docker compose exec web python manage.py createsuperuser

Then log in at {address()}
README.md says how to start without Docker, write a job, operate and deploy.
""")
    if note := note_on_the_path(str(Path.cwd())):
        print(note)


if __name__ == "__main__":
    main()
