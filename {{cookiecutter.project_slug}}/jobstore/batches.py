"""Splits long lists, so that no statement or transaction takes all of one."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def batched(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Yield a list in parts of `size`, the last one shorter (in itertools from Python 3.12 on)."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
