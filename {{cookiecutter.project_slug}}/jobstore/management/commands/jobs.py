"""`manage.py jobs`: look at jobs and their runs, and change them."""

import os
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError, CommandParser
from django.db import DatabaseError, InterfaceError
from django_rich.management import RichCommand

from jobstore import api
from jobstore.api.access import shell_user
from jobstore.management.jobs import parsers
from jobstore.management.jobs.context import Context
from jobstore.management.jobs.running import DidNotEndWell, StillRuns
from jobstore.texts import flattened

REFUSED, USAGE, TIMED_OUT, NO_DATABASE = 1, 2, 3, 4
# Mistakes in the command; other refusals depend on the stored jobs.
MISTAKES = (
    api.InvalidSchedule,
    api.InvalidArguments,
    api.InvalidOption,
    api.NotSchedulable,
)


class Command(RichCommand):
    """Calls the operations of `jobstore.api`, with their checks, rights and audit."""

    help = "Looks at jobs and their runs, and does all that can be done with them."
    # System checks import all jobs, for which `list` need not wait.
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the subcommands."""
        parsers.add_subcommands(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the subcommand.

        :raises CommandError: with the exit code.
        """
        try:
            by = self._actor(options["as_user"])
            with api.through("command"):
                options["work"](Context(self.console, options, by))
        except MISTAKES as error:
            raise CommandError(str(error), returncode=USAGE) from error
        except (api.OperationError, DidNotEndWell) as error:
            raise CommandError(str(error), returncode=REFUSED) from error
        except StillRuns as error:
            raise CommandError(str(error), returncode=TIMED_OUT) from error
        except ImproperlyConfigured as error:
            raise CommandError(str(error), returncode=USAGE) from error
        except (DatabaseError, InterfaceError) as error:
            text = f"The database does not answer: {flattened(error)}"
            raise CommandError(text, returncode=NO_DATABASE) from error
        except BrokenPipeError:  # the reader has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    def _actor(self, name: str | None) -> Any:
        """Return the user whose rights count, or the name of the shell's user, who has all."""
        if name is None:
            return f"{shell_user()} (shell)"
        model = get_user_model()
        user = model._default_manager.filter(**{model.USERNAME_FIELD: name}).first()
        if user is None:
            raise api.NotAllowed(f"There is no user {name!r}.")
        return user
