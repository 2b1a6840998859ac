"""The network between one scheduler and the database swallows every packet: no error, no reset."""

import itertools
import json
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from baking import Baked
from faults.networks import Archipelago, Island
from servers import MariaDB, PostgreSQL, Server, wait_until

pytestmark = [pytest.mark.project, pytest.mark.timeout(600)]

# Seconds that a partition lasts: longer than the scheduling loop may be silent (30 s), and than a
# process may be silent before its runs are lost (15 s).
LONG, SHORT = 45, 4
STEADY = [f"steady-{number:03}" for number in range(5)]
SLOW = [*(f"slow-{number}" for number in range(5)), "long"]
OK, UNAVAILABLE = 200, 503

databases = pytest.mark.parametrize("kind", [PostgreSQL, MariaDB])


@pytest.fixture
def project(request: pytest.FixtureRequest, kind: type[Server]) -> Baked:
    """Return a project that was made for this kind of database."""
    fixture = "installed" if kind is PostgreSQL else "installed_for_mariadb"
    return request.getfixturevalue(fixture)  # type: ignore[no-any-return]


def probe(scheduler: Island, page: str) -> tuple[int, dict[str, Any]]:
    """Return what a probe is told: code and body; 0 and an empty body as long as nobody answers."""
    url = f"http://{scheduler.address}:{scheduler.port}/health/{page}"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)
    except urllib.error.URLError:
        return 0, {"reason": "", "role": ""}


def is_waiting(scheduler: Island) -> bool:
    """Return whether a scheduler would take over, and is fit for that."""
    code, body = probe(scheduler, "ready")
    return code == OK and body["role"] == "standby"


def start_both(cluster: Archipelago) -> tuple[Island, Island]:
    """Start the first, which becomes active, then the second, which waits; return them."""
    active, other = cluster.islands
    active.start()
    wait_until(lambda: cluster.active() is active)
    other.start()
    wait_until(lambda: is_waiting(other))
    wait_for_runs(cluster)
    return active, other


def count(cluster: Archipelago, what: str) -> int:
    """Return how many runs a filter matches."""
    return int(cluster.ask(f"Run.objects.filter({what}).count()"))


def wait_for_runs(cluster: Archipelago) -> None:
    """Wait until each steady job has run some more."""
    steady = f"job__in={STEADY}, status='Executed'"
    before = count(cluster, steady)
    wait_until(lambda: count(cluster, steady) >= before + 20, 90)


def check_what_ran(cluster: Archipelago, *, lost: bool) -> None:
    """End all; nothing ran twice, and no time was left out or is undecided."""
    for one in cluster.schedulers:
        assert one.stop() == 0, one.log.read_text()
    starts = [line.split() for line in cluster.trace.read_text().splitlines() if line.startswith("+")]
    counts = Counter((job, run_time) for _, job, _, run_time, *_ in starts)
    # What is started again once it was lost says so: "again" has asked for it.
    assert [key for key, n in counts.items() if n > 1 and key[0] != "again"] == []
    statuses = {"Executed", "Max instances!"} | ({"Lost!"} if lost else set())
    found = set(cluster.ask("Run.objects.values_list('status', flat=True).distinct()"))
    assert found <= statuses, "\n".join(one.log.read_text() for one in cluster.schedulers)
    for job in STEADY:
        rows = f"Run.objects.filter(job={job!r}).order_by('run_time')"
        times = cluster.ask(f"[row.run_time.timestamp() for row in {rows}]")
        assert {round(b - a, 3) for a, b in itertools.pairwise(times)} == {1.0}


@databases
def test_when_packets_of_the_active_one_are_dropped_the_other_goes_on_and_nothing_runs_twice(
    project: Baked, kind: type[Server], tmp_path: Path
) -> None:
    with Archipelago(project, tmp_path, kind) as cluster:
        active, other = start_both(cluster)
        # A run has just begun, and will not have ended when the network does.
        young = "claimed_at__gt=now() - dt.timedelta(seconds=0.5)"
        wait_until(lambda: count(cluster, f"job__in={SLOW}, status='Started execution', {young}") > 0)
        active.drop()
        began = time.monotonic()

        # It gives up by itself, by the time at which another one can hold the lease.
        wait_until(lambda: probe(active, "active")[0] == UNAVAILABLE)
        gave_up = time.monotonic() - began
        wait_until(lambda: cluster.active() is other)
        taken = time.monotonic() - began
        print(f"\n{kind.__name__}: gave up after {gave_up:.1f} s, taken over after {taken:.1f} s")
        wait_for_runs(cluster)

        # The process is sound, so nobody should restart it; but it is of no use, and says why.
        codes = set()
        while time.monotonic() - began < LONG:
            codes.add(probe(active, "live")[0])
            time.sleep(0.5)
        assert codes == {OK}, active.log.read_text()
        code, body = probe(active, "ready")
        assert code == UNAVAILABLE
        assert "database does not answer" in body["reason"]
        # A statement that was under way has ended: nothing waits for ever.
        assert "database does not answer" in active.log.read_text()
        assert count(cluster, "status='Lost!'") > 0
        lost = cluster.ask("Run.objects.filter(status='Lost!').values_list('pk', flat=True)")

        active.heal()
        wait_until(lambda: is_waiting(active), 90)
        wait_for_runs(cluster)
        assert cluster.active() is other
        assert cluster.ask("Lease.objects.get().epoch") == 2
        claims = cluster.ask(
            "[[row.claimed_at.timestamp(), row.epoch] for row in Run.objects.exclude(claimed_at=None)]"
        )
        assert max(at for at, epoch in claims if epoch == 1) < min(at for at, epoch in claims if epoch == 2)
        check_what_ran(cluster, lost=True)
        # What it wrote once it could changed none of the runs that had been given up.
        assert count(cluster, f"pk__in={lost}, status='Lost!'") == len(lost)


@databases
def test_when_packets_of_a_waiting_one_are_dropped_the_active_one_does_not_notice(
    project: Baked, kind: type[Server], tmp_path: Path
) -> None:
    with Archipelago(project, tmp_path, kind) as cluster:
        active, other = start_both(cluster)
        other.drop()
        wait_until(lambda: "database does not answer" in probe(other, "ready")[1]["reason"])
        assert probe(other, "ready")[0] == UNAVAILABLE
        assert probe(other, "live")[0] == OK
        assert [probe(active, page)[0] for page in ("live", "ready", "active")] == [OK, OK, OK]
        wait_for_runs(cluster)
        other.heal()
        wait_until(lambda: is_waiting(other), 90)
        assert cluster.active() is active
        assert cluster.ask("Lease.objects.get().epoch") == 1
        check_what_ran(cluster, lost=False)


@databases
def test_a_few_seconds_without_packets_lose_nothing(
    project: Baked, kind: type[Server], tmp_path: Path
) -> None:
    with Archipelago(project, tmp_path, kind) as cluster:
        active, _ = start_both(cluster)
        active.drop()
        time.sleep(SHORT)
        active.heal()
        wait_for_runs(cluster)
        check_what_ran(cluster, lost=False)
