#!/usr/bin/env python
"""Run administrative tasks: `python manage.py help` lists them."""

import os
import sys


def main() -> None:
    """Hand the command line to Django; settings that make no sense end it with a line for each."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        if "--traceback" in sys.argv:
            raise
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
