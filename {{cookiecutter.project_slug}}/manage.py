#!/usr/bin/env python
"""Run administrative tasks: `python manage.py help` lists them."""

import os
import sys


def main() -> None:
    """Hand the command line to Django; if it cannot start, print one sentence that says why."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line
    from django.db import DatabaseError

    try:
        execute_from_command_line(sys.argv)
    except BaseException as error:  # a file may even call sys.exit()
        from config import loading

        reason = loading.explain(error)
        code = 1 if reason is None else 2
        if reason is None and isinstance(error, ImproperlyConfigured):
            reason = str(error)
        if reason is None and isinstance(error, DatabaseError):
            from jobstore.database.connecting import explain

            reason = explain(error)
        if reason is None or "--traceback" in sys.argv:
            raise
        print(reason, file=sys.stderr)
        sys.exit(code)


if __name__ == "__main__":
    main()
