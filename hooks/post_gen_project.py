"""Writes the project's secrets, drops what was not chosen and says how to go on."""

import json
import os
import secrets
from pathlib import Path

# As JSON an answer is data whatever it holds: quotes and backslashes arrive escaped.
ANSWERS: dict[str, str] = json.loads(r'''{{ cookiecutter | tojson }}''')  # fmt: skip

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


def environment() -> str:
    """Return the text of .env, with fresh secrets.

    Their alphabet (A-Z a-z 0-9 - _) needs no quoting in .env files, in Compose or in a URL.
    """
    hosts = dict.fromkeys([ANSWERS["domain_name"], "localhost", "127.0.0.1"])
    lines = [
        "# Settings of this machine. It holds secrets: git ignores it, and so must you.",
        "# .env.example explains every variable.",
        "# Containers and volumes are named after it, so that no other project meets this one's database.",
        f"COMPOSE_PROJECT_NAME={ANSWERS['project_slug']}-{secrets.token_hex(3)}",
        f"DJANGO_SECRET_KEY={secrets.token_urlsafe(48)}",
        "DJANGO_DEBUG=false",
        f"DJANGO_HTTPS={'true' if ANSWERS['proxy'] == 'caddy' else 'false'}",
        *hsts(),
        f"DJANGO_ALLOWED_HOSTS={','.join(hosts)}",
        f"TIME_ZONE={ANSWERS['time_zone']}",
        "# Outside the containers; inside them compose.yaml sets another.",
        "DATABASE_URL=sqlite:///var/db.sqlite3",
    ]
    if ANSWERS["database"] != "sqlite":
        lines += [
            "# Of the database container, which keeps the one it was first started with.",
            f"DATABASE_PASSWORD={secrets.token_urlsafe(32)}",
        ]
    return "\n".join(lines) + "\n"


def hsts() -> list[str]:
    """Return the line that keeps browsers from wanting https of everything else at localhost."""
    local = ANSWERS["proxy"] == "caddy" and ANSWERS["domain_name"] == "localhost"
    return ["DJANGO_HSTS_SECONDS=0"] if local else []


def write_environment() -> bool:
    """Write .env for its owner's eyes only; return False when there was one, which is kept."""
    try:
        descriptor = os.open(".env", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
        file.write(environment())
    return True


def address() -> str:
    """Return where the project will be seen once it has started."""
    if ANSWERS["proxy"] == "caddy":
        return f"https://{ANSWERS['domain_name']}/"
    return "http://localhost:8000/"


def note_on_the_path(folder: str) -> str:
    """Return what supervisor cannot cope with in the path of the project; empty if there is nothing."""
    found = [mark for mark in ("%", '"') if mark in folder]
    if not found:
        return ""
    return (
        f"NOTE: the path of this folder contains {' and '.join(found)}, which supervisor cannot read in its "
        "settings. Move the project to another folder before you start it without Docker."
    )


def main() -> None:
    """Finish the project and say how to go on."""
    drop_what_was_not_chosen()
    secrets_are = "new, in .env" if write_environment() else "the ones you had: .env was kept as it is"
    print(f"""
Your project is in {ANSWERS["project_slug"]}/, its secrets are {secrets_are}. Next:

    cd {ANSWERS["project_slug"]}
    docker compose up --wait
    docker compose exec web python manage.py createsuperuser

Then log in at {address()}
README.md says how to start without Docker, write a job, operate and deploy.
""")
    if note := note_on_the_path(str(Path.cwd())):
        print(note)


if __name__ == "__main__":
    main()
