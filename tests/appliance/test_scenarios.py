"""What can happen to a cluster of three members and three etcd, one thing after the other, under a client that writes.

After each: every acknowledged commit is there once, at no moment were there two primaries, and all members stream
again. The pauses are printed at the end of the run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.kit import faults, timings
from tests.kit.cluster import Cluster
from tests.kit.eventually import always, eventually
from tests.kit.ledger import Ledger
from tests.kit.node import Member

FAILOVER = 60.0  # seconds that a failover may take at most; the table at the end says what it took
RETURN = 120.0  # seconds for a member to be back, streaming

Ordeal = Callable[[str], AbstractContextManager[float]]


@pytest.fixture
def ordeal(cluster: Cluster, ledger: Ledger) -> Iterator[Ordeal]:
    """`with ordeal("what happens") as mark:` around a fault and its cure; checks everything before and after."""

    @contextmanager
    def around(what: str) -> Iterator[float]:
        cluster.healthy(RETURN)
        mark = ledger.mark()
        ledger.resumed(mark)
        yield mark
        cluster.healthy(RETURN)
        ledger.resumed(ledger.mark())
        timings.note(what, "longest pause of writes", ledger.pause(mark))
        ledger.verify()

    yield around
    cluster.restore()


def took_over(cluster: Cluster, ledger: Ledger, old: Member) -> Member:
    """Wait until another member than `old` is primary and takes writes; that member."""
    mark = ledger.mark()
    new = cluster.primary(FAILOVER, other_than=old)
    eventually(f"{new.short} acknowledges writes", lambda: ledger.acknowledged(mark, new.short), FAILOVER)
    return new


def test_switchover_through_the_rest_interface(cluster: Cluster, ledger: Ledger, ordeal: Ordeal) -> None:
    """A switchover needs the password; with it, the chosen replica is primary and the old primary follows it."""
    with ordeal("switchover through REST"):
        primary, target = cluster.primary(), cluster.replicas()[0]
        body = {"leader": primary.short, "candidate": target.short}
        assert primary.api("/switchover", "POST", body, authorized=False)[0] == 401
        status, answer = cluster.switchover(target)
        assert status == 200, answer
        assert took_over(cluster, ledger, primary) is target


def test_postmaster_of_the_primary_is_killed(cluster: Cluster, ledger: Ledger, ordeal: Ordeal) -> None:
    """PostgreSQL crashes; it is started again, or a replica takes over."""
    with ordeal("primary's postmaster killed") as mark:
        faults.kill_postmaster(cluster.primary())
        ledger.resumed(mark, FAILOVER, count=200)


def test_container_of_the_primary_is_killed(cluster: Cluster, ledger: Ledger, ordeal: Ordeal) -> None:
    """The primary's machine fails; a replica takes over, and the old primary joins it when it is back."""
    with ordeal("primary's container killed"):
        primary = cluster.primary()
        primary.kill()
        took_over(cluster, ledger, primary)
        primary.start()


def test_primary_is_stopped(cluster: Cluster, ledger: Ledger, ordeal: Ordeal) -> None:
    """`docker stop` hands over first; the container ends with exit code 0."""
    with ordeal("primary stopped"):
        primary = cluster.primary()
        assert primary.stop() == 0
        took_over(cluster, ledger, primary)
        primary.start()


def test_primary_is_frozen(cluster: Cluster, ledger: Ledger, ordeal: Ordeal) -> None:
    """A primary that hangs is replaced; when it wakes up it acknowledges nothing more and follows."""
    with ordeal("primary frozen, then awake"):
        primary = cluster.primary()
        primary.pause()
        took_over(cluster, ledger, primary)
        mark = ledger.mark()
        primary.unpause()
        cluster.healthy(RETURN)
        assert not ledger.acknowledged(mark, primary.short)


def test_network_of_the_primary_is_cut(cluster: Cluster, ledger: Ledger, ordeal: Ordeal) -> None:
    """Clients still reach the primary, but no member and no etcd does: it acknowledges nothing that could be lost."""
    with ordeal("primary cut off from its cluster"):
        primary = cluster.primary()
        primary.cut()
        took_over(cluster, ledger, primary)
        mark = ledger.mark()
        primary.heal()
        cluster.healthy(RETURN)
        assert not ledger.acknowledged(mark, primary.short)


def test_etcd_member_is_killed(cluster: Cluster, ledger: Ledger, ordeal: Ordeal) -> None:
    """etcd loses one member that is not its leader: nobody notices."""
    with ordeal("an etcd member killed"):
        leader, primary = cluster.etcd_leader(), cluster.primary()
        victim = next(one for one in cluster.etcds if one is not leader)
        victim.kill()
        stays(cluster, primary)
        victim.start()


def test_etcd_leader_is_killed(cluster: Cluster, ledger: Ledger, ordeal: Ordeal) -> None:
    """etcd elects another leader; PostgreSQL's primary stays."""
    with ordeal("etcd's leader killed"):
        leader, primary = cluster.etcd_leader(), cluster.primary()
        leader.kill()
        stays(cluster, primary)
        leader.start()


def test_etcd_leader_is_silent(cluster: Cluster, ledger: Ledger, ordeal: Ordeal) -> None:
    """A frozen etcd member still accepts connections; the primary stays all the same."""
    with ordeal("etcd's leader frozen"):
        leader, primary = cluster.etcd_leader(), cluster.primary()
        leader.pause()
        stays(cluster, primary)
        leader.unpause()


def stays(cluster: Cluster, primary: Member, during: float = 12.0) -> None:
    """The primary stays primary for so many seconds (the lease was renewed several times by then)."""
    always(f"{primary.short} is primary", lambda: primary.role() == "primary", during, every=0.5)


def test_majority_of_etcd_is_lost(cluster: Cluster, ledger: Ledger, ordeal: Ordeal) -> None:
    """Without etcd for longer than the lease lasts, the primary goes on because all members agree (failsafe mode)."""
    with ordeal("two of three etcd members lost for 32 s") as mark:
        primary = cluster.primary()
        for one in cluster.etcds[:2]:
            one.kill()
        stays(cluster, primary, during=32)
        assert ledger.pause(mark) < 10
        for one in cluster.etcds[:2]:
            one.start()


def test_primary_alone_loses_etcd(cluster: Cluster, ledger: Ledger, ordeal: Ordeal) -> None:
    """The primary reaches its replicas but no etcd, for longer than the lease lasts: one primary, whichever it is."""
    with ordeal("primary cut off from etcd only") as mark:
        primary = cluster.primary()
        text = "continue to run as a leader because failsafe mode is enabled"
        before = primary.logs().count(text)
        primary.block(cluster.etcds)
        eventually("the primary asks its replicas instead", lambda: primary.logs().count(text) > before, FAILOVER)
        eventually("the lease is over", lambda: ledger.mark() > mark + 30, 40)
        cluster.primary(FAILOVER)
        ledger.resumed(ledger.mark(), FAILOVER)
        primary.unblock()


def test_replica_is_frozen(cluster: Cluster, ledger: Ledger, ordeal: Ordeal) -> None:
    """Commits wait for the other one."""
    with ordeal("a replica frozen") as mark:
        replica = cluster.replicas()[0]
        replica.pause()
        ledger.resumed(mark, FAILOVER, count=300)
        replica.unpause()


def test_replica_is_killed(cluster: Cluster, ledger: Ledger, ordeal: Ordeal) -> None:
    """One replica is enough for the quorum."""
    with ordeal("a replica killed") as mark:
        replica = cluster.replicas()[0]
        replica.kill()
        ledger.resumed(mark, FAILOVER, count=300)
        replica.start()


def test_both_replicas_are_killed(cluster: Cluster, ledger: Ledger, ordeal: Ordeal) -> None:
    """With no replica left the primary goes on alone, after a pause."""
    with ordeal("both replicas killed"):
        replicas = cluster.replicas()
        for one in replicas:
            one.kill()
        mark = ledger.mark()
        ledger.resumed(mark, FAILOVER, count=100)
        for one in replicas:
            one.start()


def test_nobody_takes_over_without_the_last_commits(cluster: Cluster, ledger: Ledger, ordeal: Ordeal) -> None:
    """What only the primary has is waited for: replicas that missed it stay replicas, however long it is away."""
    with ordeal("primary lost while alone, replicas back first"):
        primary, replicas = cluster.primary(), cluster.replicas()
        for one in replicas:
            one.kill()
        ledger.resumed(ledger.mark(), FAILOVER, count=100)
        primary.kill()
        for one in replicas:
            one.start()
        asked = "SELECT pg_is_in_recovery()"
        eventually("both replicas are up", lambda: all(one.query(asked) == [(True,)] for one in replicas), RETURN)
        mark = ledger.mark()
        always("nobody takes writes", lambda: not ledger.acknowledged(mark), during=30)
        primary.start()


def test_volume_of_a_replica_is_lost(cluster: Cluster, ledger: Ledger, ordeal: Ordeal) -> None:
    """A new container with an empty volume becomes a copy of the primary, with its slot registered before the copy."""
    with ordeal("a replica's volume lost"):
        replica = cluster.replicas()[0]
        replica.kill()
        replica.lose_volume()
        replica.start()
        cluster.healthy(RETURN)
        said = replica.logs()
        registered, copied = said.find("replication slot registered on the primary"), said.find(" copied bytes=")
        assert 0 <= registered < copied, said
        slots = cluster.primary().query("SELECT slot_name, active FROM pg_replication_slots")
        assert (replica.short, True) in slots


def test_former_primary_that_cannot_be_rewound(cluster: Cluster, ledger: Ledger, ordeal: Ordeal) -> None:
    """A former primary with commits that only it has, and a pg_rewind that fails, is copied anew without a person."""
    with ordeal("former primary that cannot be rewound"):
        primary, replicas = cluster.primary(), cluster.replicas()
        primary.sh("printf '#!/bin/sh\\nexit 1\\n' >/usr/lib/postgresql/17/bin/pg_rewind", user="0")
        for replica in replicas:  # cut, not paused: a paused one's kernel would still take the WAL
            replica.cut()
        primary.psql("SET synchronous_commit = local; CREATE TABLE diverged AS SELECT 1")
        primary.kill()
        for replica in replicas:
            replica.heal()
        took_over(cluster, ledger, primary)
        primary.start()
        cluster.healthy(RETURN)
        removed, copied = primary.logs().find("Removing data directory"), primary.logs().rfind(" copied bytes=")
        assert 0 <= removed < copied, primary.logs()
        assert primary.query("SELECT to_regclass('diverged')") == [(None,)]
        primary.replace()  # whose pg_rewind is whole again


def known(member: Member) -> bool:
    """Whether the member has the changed max_connections, or knows that it has to restart for it."""
    _, said = member.api("/patroni")
    return bool(said.get("pending_restart")) or member.query("SHOW max_connections") == [("123",)]


def test_rolling_restart_with_a_changed_setting(cluster: Cluster, ledger: Ledger, ordeal: Ordeal) -> None:
    """New containers with another environment, one after the other, on the same volumes.

    What all members share reaches etcd with the first primary that knows it; members that started before wait for a
    restart, and say so. A lowered limit has to reach the primary before the replicas (docs of PostgreSQL, hot standby),
    hence the second round.
    """
    changed = {"SPILO_CONFIGURATION": "{bootstrap: {dcs: {postgresql: {parameters: {max_connections: 123}}}},"
                                      " postgresql: {parameters: {log_min_duration_statement: 4321}}}"}
    with ordeal("rolling restart with a changed setting"):
        for member in [*cluster.replicas(), cluster.primary()]:
            member.replace(env=changed)
            cluster.healthy(RETURN)
        settled = {("max_connections", "123"), ("log_min_duration_statement", "4321")}
        asked = "SELECT name, setting FROM pg_settings WHERE name IN ('max_connections', 'log_min_duration_statement')"

        def changed_everywhere() -> bool:
            return all(set(member.query(asked)) == settled for member in cluster.members)

        for _ in range(2):
            eventually("all members know the cluster-wide setting", lambda: all(map(known, cluster.members)), RETURN)
            if not changed_everywhere():
                print(cluster.primary().exec("spilo", "restart", "--all", "--pending-only", "--yes", timeout=RETURN))
                cluster.healthy(RETURN)
        assert changed_everywhere()


def test_primary_and_an_etcd_member_are_killed(cluster: Cluster, ledger: Ledger, ordeal: Ordeal) -> None:
    """An availability zone fails at once."""
    with ordeal("primary and an etcd member killed"):
        primary, etcd = cluster.primary(), cluster.etcds[0]
        primary.kill()
        etcd.kill()
        took_over(cluster, ledger, primary)
        etcd.start()
        primary.start()


def test_primary_and_the_etcd_leader_are_cut_off(cluster: Cluster, ledger: Ledger, ordeal: Ordeal) -> None:
    """An availability zone falls silent, and comes back."""
    with ordeal("primary and etcd's leader cut off"):
        primary, etcd = cluster.primary(), cluster.etcd_leader()
        primary.cut()
        etcd.cut()
        took_over(cluster, ledger, primary)
        mark = ledger.mark()
        etcd.heal()
        primary.heal()
        cluster.healthy(RETURN)
        assert not ledger.acknowledged(mark, primary.short)


def test_everything_is_killed(cluster: Cluster, ledger: Ledger, ordeal: Ordeal) -> None:
    """A power cut for the whole cluster: all that was acknowledged is there afterwards."""
    with ordeal("everything killed, then started"):
        for node in (*cluster.members, *cluster.etcds):
            node.kill()
        for node in (*cluster.etcds, *cluster.members):
            node.start()


def test_no_password_in_any_log(cluster: Cluster) -> None:
    """After all of that, no log has a password or the secret in it."""
    roles = ("superuser", "standby", "admin", "restapi")
    secrets = [cluster.identity.secret, *map(cluster.identity.password, roles)]
    for member in cluster.members:
        said = member.logs()
        assert not [secret[:4] for secret in secrets if re.search(re.escape(secret), said)]
