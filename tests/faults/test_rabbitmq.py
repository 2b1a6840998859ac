"""RabbitMQ in the place of Valkey: another URL is all that differs, and what must hold does."""

import signal
import time
from pathlib import Path

import pytest

from baking import Baked
from faults.cluster import Cluster
from faults.test_workers import JOBS, executed, findings
from layers import needs
from rabbitmq import RabbitMQ
from servers import PostgreSQL, wait_until

pytestmark = [pytest.mark.project, pytest.mark.timeout(300)]


def test_runs_pass_through_rabbitmq_which_is_killed_and_comes_back(installed: Baked, tmp_path: Path) -> None:
    """Each message is sent twice, and the checker compares all that ran with the history."""
    needs("docker")
    needs("rabbitmq")
    with Cluster(
        installed,
        tmp_path,
        PostgreSQL,
        schedulers=1,
        workers=1,
        quick=True,
        jobs=JOBS,
        executor="celery",
        broker=RabbitMQ,
    ) as cluster:
        cluster.start()
        broker = cluster.broker
        assert isinstance(broker, RabbitMQ)
        wait_until(lambda: executed(cluster) > 20)
        # Acknowledged after the run: while one is under way and no further message comes.
        under_way = "Run.objects.filter(status='Started execution', job='slow-1').count()"
        wait_until(lambda: cluster.ask(under_way) > 0)
        for one in cluster.processes:
            one.freeze()
            time.sleep(0.2)
        assert broker.waiting()["unacknowledged"] > 0
        for one in cluster.processes:
            one.thaw()

        cluster.note("broker down", "broker")
        broker.go(signal.SIGKILL)
        unsent = "Run.objects.filter(status='Queued', published_at__isnull=True).count()"
        wait_until(lambda: cluster.ask(unsent) > 10)
        broker.come_back()
        cluster.note("broker up", "broker")
        assert findings(cluster) == []
        assert broker.waiting() == {"ready": 0, "unacknowledged": 0}
