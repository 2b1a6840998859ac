"""Run times, coalescing, misfires and jitter are those of APScheduler's own SQL store."""

import re
import sys
from collections.abc import Callable

import pytest

from baking import Baked

pytestmark = [pytest.mark.project, pytest.mark.timeout(600)]


def test_the_projects_properties_hold_against_the_sql_store_of_apscheduler(
    bake: Callable[..., Baked],
) -> None:
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    done = bake().run(*command, "jobstore/tests/claims/test_properties.py", REFERENCE_URL="sqlite://")
    found = re.search(r"^(\d+) passed in", done.stdout, re.MULTILINE)
    assert found, done.stdout
    assert int(found[1]) > 10
