#!/usr/bin/env python
"""Run administrative tasks: `python manage.py help` lists them."""

import os
import sys


def main() -> None:
    """Hand the command line to Django; wrong settings and a lost database end in a sentence."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db import DatabaseError

    try:
        execute_from_command_line(sys.argv)
    except (ImproperlyConfigured, DatabaseError) as error:
        reason: str | None = str(error)
        if isinstance(error, DatabaseError):
            from jobstore.database.connecting import explain

            reason = explain(error)
        if reason is None or "--traceback" in sys.argv:
            raise
        sys.exit(reason)


if __name__ == "__main__":
    main()
