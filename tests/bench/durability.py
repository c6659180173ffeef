"""What each DURABILITY loses, and when it stops taking writes: counted with the ledger, whose client reaches a primary
that its cluster does not reach any more."""

from __future__ import annotations

from tests.bench.report import compare
from tests.kit.cluster import Cluster
from tests.kit.ledger import Ledger

RUNS = 2
MODES = ("quorum", "strict", "async")
WITHOUT_REPLICAS = 40.0  # seconds in which writes may come back


def lost(cluster: Cluster, ledger: Ledger) -> int:
    """Acknowledged commits that the primary does not have."""
    there = {row[0] for row in cluster.primary().query(f"SELECT id FROM {ledger.table}")}
    return sum(1 for write in ledger.acknowledged() if write.id not in there)


def cut_off(cluster: Cluster, ledger: Ledger) -> tuple[int, float]:
    """Commits lost when the primary is cut off from its cluster but not from its clients, and for how many seconds the
    old primary went on acknowledging."""
    cluster.healthy()
    before = lost(cluster, ledger)
    old = cluster.primary()
    mark = ledger.mark()
    old.cut()
    cluster.primary(other_than=old)
    ledger.resumed(ledger.mark(), within=60)
    alone = ledger.acknowledged(mark + 0.2, by=old.short)
    cluster.restore()
    cluster.healthy()
    return lost(cluster, ledger) - before, max((write.ended for write in alone), default=mark) - mark


def no_replica(cluster: Cluster, ledger: Ledger) -> float | None:
    """Seconds that writes pause when both replicas are killed; None if they do not come back by themselves."""
    cluster.healthy()
    mark = ledger.mark()
    for member in cluster.replicas():
        member.kill()
    try:
        ledger.resumed(mark + 2, within=WITHOUT_REPLICAS)
        pause: float | None = ledger.pause(mark)
    except AssertionError:
        pause = None
    cluster.restore()
    cluster.healthy()
    return pause


def durability() -> None:
    """All modes."""
    counts: dict[str, dict[str, list[float]]] = {"commits lost": {}, "seconds that the old primary acknowledged": {}}
    pauses: dict[str, dict[str, list[float]]] = {"pause when both replicas are killed": {}}
    for mode in MODES:
        with Cluster(env={"DURABILITY": mode}) as cluster:
            cluster.start()
            with Ledger({member.short: member.dsn() for member in cluster.members}) as ledger:
                results = [cut_off(cluster, ledger) for _ in range(RUNS)]
                counts["commits lost"][mode] = [float(count) for count, _ in results]
                counts["seconds that the old primary acknowledged"][mode] = [seconds for _, seconds in results]
                back = [pause for pause in (no_replica(cluster, ledger) for _ in range(RUNS)) if pause is not None]
                pauses["pause when both replicas are killed"][mode] = back
                print(f"{mode}: cut off {results}, without replicas back after {back} (of {RUNS} tries)", flush=True)
    compare("The primary is cut off from its cluster, its clients still reach it", "counts and seconds", counts)
    compare("No replica left (a dash: writes did not come back while there was none)", "seconds", pauses)
