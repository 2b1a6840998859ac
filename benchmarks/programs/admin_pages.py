"""Asks for pages of the admin as a superuser and prints what each took.

admin_pages.py '{"pages": {"name": "/admin/…"}, "tries": 5}' prints JSON: for each name the seconds
of each try, the statements, and the bytes of the page.
"""

import json
import sys
import time
from typing import Any

import django

django.setup()

from django.contrib.auth import get_user_model  # noqa: E402
from django.db import connection  # noqa: E402
from django.test import Client  # noqa: E402


def main() -> None:
    """Ask for each page once to warm up, then as often as told."""
    given = json.loads(sys.argv[-1])
    user = get_user_model().objects.create(username="bench", is_staff=True, is_superuser=True)
    client = Client(SERVER_NAME="localhost")
    client.force_login(user)
    print(json.dumps({name: page(client, path, given["tries"]) for name, path in given["pages"].items()}))


def page(client: Client, path: str, tries: int) -> dict[str, Any]:
    """Return what one page took. Raises RuntimeError if it is not there."""
    statements: list[str] = []

    def count(execute: Any, statement: str, *others: Any) -> Any:
        statements.append(statement)
        return execute(statement, *others)

    with connection.execute_wrapper(count):
        answer = client.get(path)
    if answer.status_code != 200:
        raise RuntimeError(f"{path} was answered with {answer.status_code}.")
    seconds = []
    for _ in range(tries):
        began = time.perf_counter()
        client.get(path)
        seconds.append(time.perf_counter() - began)
    return {"seconds": seconds, "statements": len(statements), "bytes": len(answer.content)}


if __name__ == "__main__":
    main()
