"""A cluster that lost its disks, and perhaps etcd, comes back from its archive with everything that was archived; one whose
data may still be somewhere waits, and says for whom."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.component.lost import BUCKET, World, ended, lose, ours, says, world
from tests.component.stored import archived, backed_up, spilo
from tests.component.support import Node, eventually, running
from tests.component.test_cluster import streams
from tests.kit.faultproxy import FaultProxy, hang


@pytest.fixture(scope="module")
def there() -> Iterator[World]:
    """etcd and a store."""
    with world() as made:
        yield made


def rows(node: Node) -> list[int]:
    return [number for (number,) in node.sql("SELECT x FROM t ORDER BY x")]


def test_all_disks_lost(there: World) -> None:
    """Members that have all lost their disks bring the cluster back from the archive with every archived commit, one of them
    doing it; until the last of them has said so they wait for it. Afterwards the cluster archives on, on a timeline of its
    own, in the same archive, and replicas join."""
    one, two = there.member("lost", "one"), there.member("lost", "two")
    with running(one, two):
        one.start()
        one.until("primary", 60)
        one.sql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS x")
        two.start()
        two.until("replica", 60)
        eventually(lambda: '["one", "two"]' in there.known("lost", "spilo/holders"), 20, "both are known to have data")
        backed_up(one)
        one.sql("INSERT INTO t SELECT generate_series(1001, 2000)")
        archived(one)
        system, before = one.control("Database system identifier"), there.objects("lost")

        lose(one, two)
        two.start()
        line = says(two, "waiting for a member that has data", 60)
        assert "data on one" in line and "spilo recover" in line
        assert there.known("lost", "initialize") == system
        one.start()
        eventually(lambda: "primary" in (one.role(), two.role()), 90, "one of them is primary again")
        primary, other = (one, two) if one.role() == "primary" else (two, one)
        other.until("replica", 60)
        eventually(lambda: streams(primary, other), 30, "the other streams")
        assert rows(primary) == list(range(1, 2001)) == rows(other)
        assert primary.control("Database system identifier") == system
        assert sum("no member has data any more, so the archive is what there is" in node.text() for node in (one, two)) == 1
        primary.sql("INSERT INTO t VALUES (2001)")
        last = archived(primary)
        after = there.objects("lost")
        assert {name: after[name] for name in before} == before
        assert any(name.endswith(".history.lzo") for name in set(after) - set(before)) and f"wal_005/{last}.lzo" in after


@pytest.fixture(scope="module")
def solo(there: World) -> Iterator[Node]:
    """A primary with a base backup, and everything archived; also after a test."""
    node = there.member("gone", "solo")
    with running(node):
        node.start()
        node.until("primary", 60)
        node.sql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS x")
        backed_up(node)
        node.sql("INSERT INTO t SELECT generate_series(1001, 2000)")
        archived(node)
        yield node


def test_etcd_lost_too(there: World, solo: Node) -> None:
    """A member that finds nothing in etcd and an archive that does not answer waits, because that may not be an empty one; when
    it answers, for members that have data; when a person says that there are none, the cluster comes back from the archive, also
    when the member is killed on the way."""
    solo.sql("INSERT INTO t VALUES (-1)")  # was never archived
    lose(solo)
    there.forget("gone")
    there.store.kill()
    with FaultProxy(there.store) as proxy:
        proxy.on(hang(), method="GET", key="*wal_005/0000*")
        solo.start(AWS_ENDPOINT=proxy.url)
        says(solo, "waiting for the archive to say whether there was a cluster of this name .*does not answer")
        there.store.start()
        says(solo, "etcd knows of no cluster, but the archive does: members that have data must come first .*reachable from base_")
        code, text = spilo(solo, "recover", "--yes")
        assert code == 0 and "recovers the cluster from the archive now" in text, text
        eventually((solo.data / "postmaster.pid").exists, 40, "recovery is under way")
        solo.kill()
    solo.start(AWS_ENDPOINT=there.store.url)
    says(solo, "data of a start that did not come to its end is removed")
    ours(solo, 90)
    assert rows(solo) == list(range(1, 2001))
    assert "etcd knows of no cluster, so the archive is what there is" in solo.text()
    eventually(lambda: json.loads(there.known("gone", "config") or "{}").get("synchronous_mode") == "quorum", 20,
               "the cluster has its configuration again")


def test_a_person_gives_up_data(there: World, solo: Node) -> None:
    """Data that is waited for is given up with `spilo recover`, which refuses as long as there is a primary."""
    system = solo.control("Database system identifier")
    eventually(lambda: '["solo"]' in there.known("gone", "spilo/holders"), 20, "the member is known to have data")
    code, text = spilo(solo, "recover", "--yes")
    assert code == 5 and "the cluster has a primary" in text
    archived(solo)
    before = rows(solo)
    lose(solo)
    there.etcd.ctl("put", "/service/gone/spilo/holders", f'{{"system": "{system}", "members": ["ghost", "solo"]}}')
    there.etcd.ctl("del", "/service/gone/leader")  # as after its time to live
    solo.start()
    assert 'seen="data on ghost"' in says(solo, "waiting for a member that has data")
    code, text = spilo(solo, "recover", "--yes")
    assert code == 0 and "the data of ghost is given up" in text, text
    ours(solo)
    assert rows(solo) == before and solo.control("Database system identifier") == system


def test_the_archive_is_damaged(there: World, solo: Node) -> None:
    """Where a segment is damaged or missing, nothing is recovered short of what was archived: the member ends, and names it."""
    solo.sql("INSERT INTO t VALUES (2001)")
    key = f"spilo/gone/wal/17/wal_005/{archived(solo)}.lzo"
    solo.sql("INSERT INTO t VALUES (2002)")
    archived(solo)
    lose(solo)
    there.etcd.ctl("del", "/service/gone/leader")
    s3 = there.store.client()
    good = s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()
    s3.put_object(Bucket=BUCKET, Key=key, Body=good[:200] + bytes([good[200] ^ 1]) + good[201:])
    solo.start()
    assert key.rpartition("/")[2] in ended(solo, "an object of the archive is damaged")

    s3.delete_object(Bucket=BUCKET, Key=key)
    solo.start()
    last = ended(solo, "no member has data any more, and the archive cannot bring it back")
    assert key.rpartition("/")[2].removesuffix(".lzo") in last
    assert not solo.data.exists() or not any(solo.data.iterdir())
