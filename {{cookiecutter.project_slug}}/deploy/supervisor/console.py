"""Shows on the console what the programs write, a name before each line.

supervisord writes a program's output either to a file or to the console. It goes to a file, and
as an event to this process, whose own stderr supervisord shows.
"""

import sys

from supervisor import childutils


def main() -> None:
    """Answer supervisord's events until it goes away."""
    # An event's length counts characters as they were written, line ends included.
    sys.stdin.reconfigure(encoding="utf-8", newline="\n")  # type: ignore[union-attr]
    while True:
        _, event = childutils.listener.wait()
        headers, text = childutils.eventdata(event)
        for line in text.splitlines():
            sys.stderr.write(f"{headers['processname']:<9} | {line}\n")
        sys.stderr.flush()
        childutils.listener.ok()


if __name__ == "__main__":
    main()
