"""Long lists in parts, so that no statement or transaction takes all of one."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")


def batched(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Give a list in parts of `size`, the last one shorter; as itertools has it from 3.12 on."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
