"""The end of the scheduler's process, which leftovers of jobs must not delay.

Threads cannot be ended from outside. At its end the interpreter waits for threads that are not
daemons, for the threads of pools, and for child processes of `multiprocessing`.
"""

import concurrent.futures.thread
import logging
import multiprocessing
import os
import sys
import threading

logger = logging.getLogger("jobstore.scheduler")

# Seconds that the interpreter gets for its own end: idle pools end by themselves.
EXIT_SECONDS = 2.0


def end_at_once() -> None:
    """End the process with exit code 0, whatever still runs in it."""
    for child in multiprocessing.active_children():
        child.terminate()  # no process would wait for it
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def limit_exit() -> None:
    """End the process after EXIT_SECONDS if the interpreter has not ended; log what keeps it."""

    def end() -> None:
        logger.warning("Ended without waiting for what jobs left running: %s.", left_running())
        end_at_once()

    limit = threading.Timer(EXIT_SECONDS, end)
    limit.daemon = True
    limit.start()


def left_running() -> str:
    """Return the threads and processes that the interpreter would wait for, in words."""
    main = threading.main_thread()
    # It waits for a pool's threads even if they are daemons, as threads of our workers' are.
    of_pools = set(getattr(concurrent.futures.thread, "_threads_queues", ()))
    found = [
        f"thread {thread.name!r}"
        for thread in threading.enumerate()
        if thread is not main and (not thread.daemon or thread in of_pools)
    ]
    found += [f"process {child.pid} ({child.name})" for child in multiprocessing.active_children()]
    more = f" and {len(found) - 10} more" if len(found) > 10 else ""
    return ", ".join(name[:100] for name in found[:10]) + more or "nothing that has a name"
