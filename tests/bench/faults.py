"""How long writes pause per fault: the timings of the default profile against Patroni's own defaults (`patient`)."""

from __future__ import annotations

from collections.abc import Callable

from tests.bench.report import compare
from tests.kit import faults as kit
from tests.kit.cluster import Cluster
from tests.kit.ledger import Ledger

RUNS = 2
PROFILES = ("balanced", "patient")


def killed(cluster: Cluster) -> None:
    cluster.primary().kill()


def stopped(cluster: Cluster) -> None:
    cluster.primary().stop()


def cut(cluster: Cluster) -> None:
    cluster.primary().cut()


def crashed(cluster: Cluster) -> None:
    kit.kill_postmaster(cluster.primary())


def switched(cluster: Cluster) -> None:
    cluster.switchover()


FAULTS: dict[str, Callable[[Cluster], None]] = {
    "primary's container killed": killed,
    "primary's network cut": cut,
    "primary stopped (`docker stop`)": stopped,
    "postmaster killed": crashed,
    "switchover": switched,
}


def pause(cluster: Cluster, ledger: Ledger, fault: Callable[[Cluster], None]) -> float:
    """Seconds between two acknowledged writes around the fault; the cluster is healthy again afterwards."""
    cluster.healthy()
    mark = ledger.mark()
    fault(cluster)
    ledger.resumed(mark + 1, within=120)
    ledger.resumed(ledger.mark(), within=120)
    seconds = ledger.pause(mark)
    cluster.restore()
    cluster.healthy()
    ledger.verify()
    return seconds


def faults() -> None:
    """All faults with all profiles."""
    rows: dict[str, dict[str, list[float]]] = {name: {profile: [] for profile in PROFILES} for name in FAULTS}
    for profile in PROFILES:
        with Cluster(env={"TIMINGS": profile}) as cluster:
            cluster.start()
            with Ledger({member.short: member.dsn() for member in cluster.members}) as ledger:
                for name, fault in FAULTS.items():
                    for _ in range(RUNS):
                        rows[name][profile].append(pause(cluster, ledger, fault))
                        print(f"{profile}: {name}: {rows[name][profile][-1]:.2f} s", flush=True)
    compare("Pause of writes per fault", "seconds", rows)
