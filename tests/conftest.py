"""Fixtures of the template's tests."""

from collections.abc import Callable

import pytest

from baking import Baked, Baker


@pytest.fixture(scope="session")
def baker(tmp_path_factory: pytest.TempPathFactory) -> Baker:
    """Return what bakes projects; see `bake` for the usual way."""
    return Baker(tmp_path_factory.mktemp("bakes"))


@pytest.fixture(scope="session")
def bake(baker: Baker) -> Callable[..., Baked]:
    """Return `bake(**answers)`, which makes a project in a folder of its own."""
    return lambda **answers: baker.bake(baker.output(), **answers)


@pytest.fixture(scope="session")
def installed(bake: Callable[..., Baked]) -> Baked:
    """Return the default project with its own environment in .venv. Tests leave it as they found it."""
    project = bake()
    project.install()
    return project
