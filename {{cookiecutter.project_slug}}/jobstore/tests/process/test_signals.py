"""A signal that asks the scheduler to stop is heard, whichever thread the kernel gives it to."""

import signal
import threading
import time

from jobstore.process.scheduler import SchedulerProcess


def test_a_signal_that_another_thread_receives_ends_the_wait() -> None:
    process = SchedulerProcess()
    heard = threading.Event()
    given_up: list[bool] = []

    def receive() -> None:
        time.sleep(0.5)  # by then the main thread waits
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        given_up.append(not heard.wait(10))
        process.ask_to_stop()

    before = signal.signal(signal.SIGTERM, process.ask_to_stop)
    thread = threading.Thread(target=receive)
    try:
        thread.start()
        process.wait()
        heard.set()
    finally:
        thread.join()
        signal.signal(signal.SIGTERM, before)
        signal.set_wakeup_fd(-1)
    assert given_up == [False]
