"""A terminal, for programs that ask questions of a person."""

import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

SECONDS = 600


Answers = Sequence[tuple[str, str]]


def converse(script: str, folder: Path, environment: Mapping[str, str], answers: Answers) -> str:
    """Run a shell script, which must succeed, and type each answer when its question has come.

    Returns all that was shown, without what was typed unseen.
    """
    __tracebackhide__ = True
    terminal, theirs = pty.openpty()
    # It becomes the controlling terminal, since passwords are asked for at /dev/tty.
    command = ["setsid", "--ctty", "--wait", "bash", "-euc", script]
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown, answered = "", 0
    left = list(answers)
    deadline = time.monotonic() + SECONDS
    try:
        while time.monotonic() < deadline:
            if not select.select([terminal], [], [], 1)[0]:
                continue
            try:
                data = os.read(terminal, 65536)
            except OSError:  # the last program has closed it
                break
            if not data:
                break
            shown += data.decode(errors="replace")
            if left and (question := re.compile(left[0][0]).search(shown, answered)):
                answered = question.end()
                os.write(terminal, f"{left.pop(0)[1]}\n".encode())
        returned = process.wait(30)
    finally:
        process.kill()
        os.close(terminal)
    assert returned == 0, f"{script}\nended with {returned}:\n{shown}"
    assert not left, f"Nobody asked {left[0][0]}:\n{shown}"
    return shown
