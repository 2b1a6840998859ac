"""The emitted project runs on newer versions than the ones it is locked to."""

import re
import subprocess
from collections.abc import Callable

import pytest

from baking import Baked
from layers import needs

pytestmark = [pytest.mark.project, pytest.mark.timeout(900)]

NEWEST_DJANGO = "6.1.3"

# These compute for long, wait for processes, or do with APScheduler, threads and processes what is the
# same there. The rest asks of Django whatever the project asks of it.
FAR_FROM_DJANGO = (
    "jobstore/tests/claims/test_dst.py",
    "jobstore/tests/claims/test_interleavings.py",
    "jobstore/tests/claims/test_plan.py",
    "jobstore/tests/claims/test_properties.py",
    "jobstore/tests/execution",
    "jobstore/tests/history/test_bounded.py",
    "jobstore/tests/history/test_listener.py",
    "jobstore/tests/process/test_loop.py",
    "jobstore/tests/schedules",
)
LEFT_OUT = [f"--ignore={name}" for name in FAR_FROM_DJANGO]

SCRIPT = f"""
set -e
cp -r /project /app && cd /app && rm .env
python -m venv /venv
/venv/bin/pip install --quiet --require-hashes $(printf -- '-r %s ' requirements/*.txt)
/venv/bin/pip install --quiet Django=={NEWEST_DJANGO}
/venv/bin/python -m django --version
/venv/bin/python -m pytest -q -p no:cacheprovider -n 3 -m 'not slow' {" ".join(LEFT_OUT)}
"""


def test_its_tests_pass_on_the_newest_django_and_the_images_python(bake: Callable[..., Baked]) -> None:
    needs("docker")
    project = bake()
    command = ("docker", "run", "--rm", "--volume", f"{project.path}:/project:ro", "python:3.13-slim-trixie")
    done = subprocess.run([*command, "sh", "-c", SCRIPT], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{NEWEST_DJANGO}\n" in done.stdout
    assert re.search(r"\d+ passed", done.stdout)
