"""A cluster with an object store: it backs itself up, and comes back when everything else is gone.

The tests of this module follow one another: each begins with what the one before has left.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from tests.kit import timings
from tests.kit.cluster import Cluster, Identity
from tests.kit.engine import EngineError
from tests.kit.eventually import eventually
from tests.kit.ledger import Ledger
from tests.kit.node import Member
from tests.kit.store import Store

BACK = 240.0  # seconds for a cluster to come back out of its archive


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three members that archive into a store on their own network."""
    with Cluster() as made:
        store = Store(made.world, "store", places=[(made.inner, made.inner.address(30))]).up()
        store.bucket("backups")
        for member in made.members:
            member.env |= store.variables("backups") | {"WALE_BACKUP_THRESHOLD_PERCENTAGE": "100000"}  # the backup is tiny
        made.start()
        yield made


@pytest.fixture(scope="module")
def store(cluster: Cluster) -> Store:
    (made,) = [one for one in cluster.world.containers if isinstance(one, Store)]
    return made


def backups(member: Member) -> list[dict[str, Any]]:
    """What `spilo backup list` says, nothing while it cannot say anything."""
    try:
        listed = json.loads(member.exec("spilo", "backup", "list", "--output", "json"))
    except EngineError:
        return []
    found: list[dict[str, Any]] = listed["backups"] if isinstance(listed, dict) else listed
    return found


def archived(primary: Member) -> None:
    """Wait until all that was acknowledged so far is in the archive."""
    segment = primary.query("SELECT pg_walfile_name(pg_switch_wal())")[0][0]
    eventually(f"{segment} is archived",
               lambda: primary.query("SELECT last_archived_wal >= %s FROM pg_stat_archiver", segment)[0][0], 60)


def lose_members(cluster: Cluster) -> None:
    for member in cluster.members:
        member.kill()
    for member in cluster.members:
        member.lose_volume()


def test_first_backup(cluster: Cluster) -> None:
    """A new cluster makes a base backup by itself, at once; every member lists it."""
    eventually("there is a backup", lambda: backups(cluster.primary()), 60)
    for member in cluster.members:
        assert [one["name"] for one in backups(member)] == [one["name"] for one in backups(cluster.primary())]


def test_operators_know_wal_e(cluster: Cluster) -> None:
    """wal-e is there, as Spilo's operators call it."""
    listed = cluster.primary().sh("envdir /run/etc/wal-e.d/env wal-e backup-list")
    assert backups(cluster.primary())[0]["name"] in listed


def test_secrets_of_the_store(cluster: Cluster, store: Store) -> None:
    """The key of the store is in no log, no command line, no environment of PostgreSQL, no readable file."""
    member = cluster.primary()
    assert store.key.secret not in member.logs()
    everything = member.sh("cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' '; "
                           "for one in $(pgrep -x postgres 2>/dev/null || true); do tr '\\0' ' ' </proc/$one/environ; done")
    assert store.key.secret not in everything
    assert member.sh("find /run -xdev -type f -perm /077 -exec grep -l -F \"$(cat /run/etc/wal-e.d/env/AWS_SECRET_ACCESS_KEY)\" {} + || true") == ""


def test_replica_from_the_backup(cluster: Cluster) -> None:
    """A replica that lost its volume is made from the backup, says why, and streams."""
    cluster.healthy()
    replica = cluster.replicas()[0]
    replica.kill()
    replica.lose_volume()
    replica.start()
    cluster.healthy(BACK)
    why = json.loads(replica.exec("spilo", "replica", "why", "--output", "json"))
    assert why["method"] == "from_backup", why


def test_everything_but_etcd_is_lost(cluster: Cluster) -> None:
    """All members lose their disks: the cluster comes back by itself, with every acknowledged commit that was archived."""
    cluster.healthy()
    with Ledger({member.short: member.dsn() for member in cluster.members}) as ledger:
        ledger.resumed(ledger.mark(), count=200)
    archived(cluster.primary())
    lose_members(cluster)
    mark = ledger.mark()
    for member in cluster.members:
        member.start()
    cluster.healthy(BACK)
    timings.note("all disks lost", "until all stream again", ledger.mark() - mark)
    ledger.verify()
    assert cluster.primary().query("SELECT timeline_id > 1 FROM pg_control_checkpoint()") == [(True,)]


def test_everything_and_etcd_is_lost(cluster: Cluster) -> None:
    """etcd is lost as well: the members wait for somebody who has data, until a person says that there is nobody; the archive
    is enough."""
    cluster.primary().query("CREATE TABLE after_the_first_loss AS SELECT 42 AS answer")
    archived(cluster.primary())
    before = {one["name"] for one in backups(cluster.primary())}
    lose_members(cluster)
    for one in cluster.etcds:
        one.kill()
        one.rm()
    for one in cluster.etcds:
        one.start()
    for member in cluster.members:
        member.start()
    first = cluster.members[0]
    eventually("it says whom it waits for", lambda: "members that have data must come first" in first.logs(), 60)
    first.exec("spilo", "recover", "--yes")
    cluster.healthy(BACK)
    assert cluster.primary().query("SELECT answer FROM after_the_first_loss") == [(42,)]
    assert before <= {one["name"] for one in backups(cluster.primary())}


def test_clone_to_a_moment(cluster: Cluster, store: Store) -> None:
    """Another cluster starts as this one was at a moment, and archives under its own name."""
    primary = cluster.primary()
    primary.query("CREATE TABLE kept ()")
    moment = primary.query("SELECT clock_timestamp()::text")[0][0]
    primary.query("SELECT pg_sleep(0.1); DROP TABLE kept; CREATE TABLE too_late ()")
    archived(primary)
    identity = Identity("copy", secrets.token_hex(16))
    clone = Member(cluster.world, "clone", identity, places=[(cluster.inner, cluster.inner.address(40)),
                                                             (cluster.outer, cluster.outer.address(40))], env={
        **store.variables("backups"), "SCOPE": "copy", "CLUSTER_SECRET": identity.secret, "CLONE_SCOPE": "demo",
        "CLONE_TARGET_TIME": f"{moment}:00" if moment[-3] in "+-" else moment, "SSL_NAMES": cluster.outer.address(40)})
    clone.start()
    eventually("the clone is a primary", lambda: clone.role() == "primary", BACK)
    # Over the socket: the passwords, which came with the data, are the clone's own a moment later.
    tables = clone.psql("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace").split()
    assert "kept" in tables
    assert "too_late" not in tables
    eventually("the clone takes its own passwords", lambda: clone.query("SELECT 1", role="admin"), 30)
    eventually("the clone has a backup of its own", lambda: backups(clone), 60)
    clone.rm()
