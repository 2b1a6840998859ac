"""Every other choice of database and proxy comes up as it was baked, runs jobs and stops cleanly."""

from collections.abc import Iterator

import pytest

from stacks import NewStack, Stack

pytestmark = [pytest.mark.containers, pytest.mark.timeout(400)]

OTHERS = [
    ("mariadb", "none"),
    ("sqlite", "none"),
    ("postgresql", "caddy"),
    ("mariadb", "caddy"),
    ("sqlite", "caddy"),
]


@pytest.fixture(scope="module", params=OTHERS, ids="-".join)
def shared_stack(request: pytest.FixtureRequest, new_stack: NewStack) -> Iterator[Stack]:
    """Take the place of the default answers' stack."""
    with new_stack(*request.param) as stack:
        yield stack


def test_comes_up_and_runs_the_sample_job(stack: Stack) -> None:
    stack.wait_for(stack.runs, 40)


def test_keeps_its_history_when_it_is_started_again(stack: Stack) -> None:
    before = stack.wait_for(stack.runs, 40)
    stack.compose("down")
    stack.up()
    assert stack.runs() >= before


def test_stops_cleanly(stack: Stack) -> None:
    stack.compose("stop")
    for service in ("web", "scheduler", "migrate"):
        assert stack.the(service).state["ExitCode"] == 0, service
