"""Stacks of containers: each under a name, ports and volumes of its own, and gone afterwards."""

import contextlib
import functools
from collections.abc import Callable, Iterator

import pytest

from baking import Baked
from layers import needs
from stacks import Browser, NewStack, Project, Stack


@pytest.fixture(scope="session", autouse=True)
def _engine() -> None:
    needs("docker")


@pytest.fixture(scope="session")
def project(bake: Callable[..., Baked]) -> Project:
    """Return the folder of the project with this database and proxy, baked once."""
    return functools.cache(lambda database, proxy: bake(database=database, proxy=proxy).path)


@pytest.fixture(scope="session")
def new_stack(project: Project) -> NewStack:
    """Return a function that makes a stack for the length of a `with` block."""

    @contextlib.contextmanager
    def new_stack(database: str, proxy: str) -> Iterator[Stack]:
        stack = Stack(project(database, proxy))
        try:
            yield stack
        finally:
            stack.down()

    return new_stack


@pytest.fixture(scope="session")
def shared_stack(new_stack: NewStack) -> Iterator[Stack]:
    """Provide the stack of the default answers."""
    with new_stack("postgresql", "none") as stack:
        yield stack


@pytest.fixture
def stack(shared_stack: Stack) -> Stack:
    """Return the stack, up and healthy whatever the test before did to it."""
    shared_stack.up()
    return shared_stack


@pytest.fixture
def browser() -> Browser:
    """Return a browser without any cookies."""
    return Browser()
