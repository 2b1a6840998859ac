"""A worker in a process of its own, which carries out the runs that its input names."""

import sys

import django

if __name__ == "__main__":
    django.setup()
    from jobstore.executors import remote_worker

    print("ready", flush=True)
    for line in sys.stdin:
        run_id, attempt = map(int, line.split())
        print(remote_worker.carry_out_queued(run_id, attempt), flush=True)
    remote_worker.leave()
