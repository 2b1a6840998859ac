"""The context of a subcommand of `manage.py jobs`: its options, its output, and who asks."""

import dataclasses
from typing import Any

from rich.console import Console

from jobstore.management.jobs import output
from jobstore.texts import one_line

# Characters of a sentence that are printed.
MAX_SENTENCE = 4_000


@dataclasses.dataclass
class Context:
    """One call of the command."""

    console: Console
    options: dict[str, Any]
    # A user whose rights are checked, or the name of the shell's user.
    by: Any

    @property
    def wants_json(self) -> bool:
        """Whether a script reads what is printed."""
        return bool(self.options["json"])

    def tell(self, value: Any, sentence: str) -> None:
        """Print what was done: a value for scripts, a sentence for people."""
        if self.wants_json:
            self.json(value)
        else:
            shown = one_line(sentence, MAX_SENTENCE)  # an id may hold a line break
            self.console.print(shown, markup=False, highlight=False, soft_wrap=True)

    def json(self, value: Any) -> None:
        """Print a value as JSON."""
        self.console.file.write(output.as_json(value) + "\n")
