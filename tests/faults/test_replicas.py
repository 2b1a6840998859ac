"""However many schedulers are started at once, one is active and the others stand by.

`ROUNDS=100` starts them as often.
"""

import os
from pathlib import Path

import pytest

from baking import Baked
from faults.cluster import Cluster
from faults.mix import Mix
from layers import needs
from servers import PostgreSQL, wait_until

pytestmark = [pytest.mark.project, pytest.mark.timeout(3600)]

ROUNDS = int(os.environ.get("ROUNDS", "3"))
REPLICAS = 5
ROLES = "sorted(Instance.objects.exclude(role__in=Instance.GONE).values_list('role', flat=True))"


def test_of_five_started_at_once_one_is_active(installed: Baked, tmp_path: Path) -> None:
    needs("docker")
    with Cluster(installed, tmp_path, PostgreSQL, schedulers=REPLICAS, quick=True, jobs=10) as cluster:
        for number in range(1, ROUNDS + 1):
            cluster.start()
            wait_until(lambda: cluster.ask(ROLES) == ["active"] + ["standby"] * (REPLICAS - 1))
            # One epoch a round: nobody took the lease from anybody.
            assert cluster.ask("Lease.objects.get().epoch") == number
            done = f"Run.objects.filter(status='Executed', epoch={number}).count()"
            wait_until(lambda: cluster.ask(done) > 20)  # noqa: B023 - called at once
            if number < ROUNDS:
                for one in cluster.schedulers:
                    if one is not cluster.active():
                        assert one.stop() == 0
                # The last one, so that nobody is there to take over from it.
                assert next(one for one in cluster.schedulers if one.is_alive).stop() == 0
        assert "ERROR" not in "".join(one.log.read_text() for one in cluster.schedulers)
        mix = Mix(cluster, seed=0, jobs=10)
        mix.calm_down()
        assert mix.findings + mix.history().findings() == []
