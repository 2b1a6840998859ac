"""Arguments of commands, judged by the same rules as settings."""

import argparse
from collections.abc import Callable
from typing import Any

from jobstore.conf import Setting


def judged(setting: Setting) -> Callable[[str], Any]:
    """Return a type for argparse that accepts the same values as a setting of this kind."""

    def parse(text: str) -> Any:
        try:
            return setting.parse(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!a}: it must be {setting.wanted}") from None

    return parse
