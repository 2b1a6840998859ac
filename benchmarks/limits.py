"""What the database alone allows: the statements of this template with no scheduler around them."""

import json
from typing import Any

from contenders import CONTENDERS, PROGRAMS, Ours


class RawSql(Ours):
    """Reads, claims and ends runs in batches of 500, on two connections, over the same tables."""

    name = "raw"
    title = "the same rows by batched SQL (limit)"
    home = "ours"
    databases = ("postgresql",)
    note = "a start is when its claim was committed"

    def commands(self, scenario: dict[str, Any]) -> list[tuple[str, ...]]:
        """Return the program."""
        return [(str(PROGRAMS / "raw.py"), json.dumps(scenario))]


CONTENDERS[RawSql.name] = RawSql
