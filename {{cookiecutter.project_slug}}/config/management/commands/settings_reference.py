"""`manage.py settings_reference`: writes docs/settings.md, or says what is missing for it."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from config import reference


class Command(BaseCommand):
    """Writes the page, unless `.env.example` and the code disagree."""

    help = (
        "Writes docs/settings.md from .env.example, config/settings.py and jobstore/conf.py. Exits "
        "with 1 if they disagree, or if --check is given and the page is not up to date."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Take one option."""
        parser.add_argument("--check", action="store_true", help="write nothing; only compare")

    def handle(self, *args: Any, **options: Any) -> None:
        """Write, or compare. Raises CommandError with a line for each variable that is wrong."""
        try:
            example = (reference.PROJECT / ".env.example").read_text(encoding="utf-8")
            compose = (reference.PROJECT / "compose.yaml").read_text(encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{error.filename} cannot be read: {error.strerror}.") from None
        if problems := reference.problems(example, compose):
            raise CommandError("\n".join(problems))
        text = reference.page(example)
        page = reference.PAGE
        written = page.read_text(encoding="utf-8") if page.exists() else ""
        if written == text:
            self.stdout.write("docs/settings.md is up to date.")
        elif options["check"]:
            raise CommandError("docs/settings.md is not up to date. Run `make settings`.")
        else:
            page.write_text(text, encoding="utf-8", newline="\n")
            self.stdout.write("docs/settings.md is written.")
