"""Standby clusters: one cluster follows another, by streaming, through its archive, or both, until it is promoted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.component.servers import Etcd
from tests.component.stored import archived, backed_up, settings, spilo, why
from tests.component.support import Node, eventually, folder, running
from tests.kit.s3 import Rclone

BUCKET = "standbys"
ROLES = {"PGPASSWORD_SUPERUSER": "the superuser's", "PGPASSWORD_STANDBY": "p: %s '\" \\ # é"}
OTHER = {"CLUSTER_SECRET": "the-other-cluster-has-another-secret", **ROLES}


@dataclass
class World:
    """The cluster that is followed, and where others can be."""

    east: Node
    server: Rclone
    place: Path

    def follower(self, name: str, **given: str) -> Node:
        return Node(name, self.place, {"SCOPE": name, **OTHER, **given})

    def objects(self, scope: str) -> list[str]:
        """The keys below a cluster's prefix."""
        answer = self.server.client().list_objects_v2(Bucket=BUCKET, Prefix=f"spilo/{scope}/")
        return [one["Key"].partition("/wal/17/")[2] for one in answer.get("Contents", [])]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """A member that stands alone, with an archive, a backup and a table."""
    place = folder()
    server = Rclone("store", place)
    with running(server):
        server.start()
        server.until_ready()
        server.bucket(BUCKET)
        east = Node("east", place, {"SCOPE": "east", **ROLES, **settings(server, BUCKET)})
        with running(east):
            east.start()
            east.until("primary")
            east.sql("CREATE TABLE t (x int)")
            backed_up(east)
            yield World(east, server, place)


def write(world: World, x: int) -> None:
    world.east.sql("INSERT INTO t VALUES (%s)", x)


def shows(node: Node, x: int, seconds: float = 40) -> None:
    """Wait until the follower shows what was written over there."""
    eventually(lambda: node.sql("SELECT 1 FROM t WHERE x = %s", x), seconds, f"{node.name} shows {x}")


def streaming(node: Node) -> str:
    """The connection string of the WAL receiver, once it streams."""
    rows = eventually(lambda: node.sql("SELECT conninfo FROM pg_stat_wal_receiver WHERE status = 'streaming'"), 30, "it streams")
    return str(rows[0][0])


def promoted(world: World, node: Node) -> None:
    """`spilo promote`, and what has to be true after it: writable here, untouched there, and it stays so."""
    assert spilo(node, "promote")[0] == 2  # nobody to ask
    code, text = spilo(node, "promote", "--yes")
    assert code == 0, text
    assert "is the primary and accepts writes on timeline 2" in text
    node.until("primary")
    node.sql("INSERT INTO t VALUES (-1)")
    assert world.east.sql("SELECT 1 FROM t WHERE x = -1") == []
    eventually(lambda: "password set role=admin" in node.text(), 20, "the steward has taken the new primary in hand")
    assert "standby_cluster" not in node.api().call("GET", "/config")[1]
    assert spilo(node, "promote", "--yes")[0] == 2  # nothing to end any more


def test_by_streaming(world: World) -> None:
    """Without an archive: a copy of the running cluster, with another authority and a login bound to the session, through a
    slot that a person made there. A promoted one stays a primary when it is started again with the same settings."""
    world.east.sql("SELECT pg_create_physical_replication_slot('for_west', true)")
    node = world.follower("west", STANDBY_HOST="127.0.0.1", STANDBY_PORT=str(world.east.port), STANDBY_PRIMARY_SLOT_NAME="for_west")
    with running(node):
        write(world, 1)
        node.start()
        node.until("standby_leader", 60)
        shows(node, 1)
        write(world, 2)
        shows(node, 2)
        found = streaming(node)
        assert "sslmode=require" in found and "channel_binding=require" in found and "sslrootcert" not in found
        assert world.east.sql("SELECT 1 FROM pg_replication_slots WHERE slot_name = 'for_west' AND active")
        code, text = spilo(node, "status")
        assert code == 0 and "standby leader" in text and f"follows 127.0.0.1:{world.east.port}, accepts no writes" in text
        promoted(world, node)
        assert node.stop() == 0
        node.start()
        node.until("primary")
        node.sql("INSERT INTO t VALUES (-2)")
        assert "standby_cluster" not in node.api().call("GET", "/config")[1]
    world.east.sql("SELECT pg_drop_replication_slot('for_west')")


def test_through_the_archive_alone(world: World) -> None:
    """With nothing but the archive of the other cluster: from its base backup, and on with every segment that arrives."""
    write(world, 11)
    archived(world.east)
    node = world.follower("south", STANDBY_SCOPE="east", **settings(world.server, BUCKET, "STANDBY_"))
    with running(node):
        node.start()
        node.until("standby_leader", 60)
        shows(node, 11)
        said = why(node)
        assert said["method"] == "from_backup" and "nobody to copy from" in said["reason"]
        write(world, 12)
        archived(world.east)
        shows(node, 12)
        assert node.sql("SELECT 1 FROM pg_stat_wal_receiver") == []
        promoted(world, node)


def test_both_with_a_replica_and_an_archive_of_its_own(world: World) -> None:
    """From the archive and on by streaming; a second member cascades. Its own archive begins with the promotion, and the
    other one's is only read."""
    etcd = Etcd("etcd", world.place)
    given = {**settings(world.server, BUCKET), "STANDBY_SCOPE": "east", "STANDBY_HOST": "127.0.0.1", "STANDBY_PORT": str(world.east.port),
             "WALE_BACKUP_THRESHOLD_PERCENTAGE": "1000"}
    with running(etcd):
        etcd.start()
        etcd.until_healthy()
        first, second = (Node(name, world.place, {**etcd.settings("north"), **OTHER, **given}) for name in ("north1", "north2"))
        with running(first, second):
            write(world, 21)
            archived(world.east)
            write(world, 22)
            first.start()
            first.until("standby_leader", 60)
            shows(first, 22)
            assert why(first)["method"] == "from_backup"
            streaming(first)
            second.start()
            second.until("replica", 60)
            write(world, 23)
            shows(second, 23)
            assert f"port={first.port}" in streaming(second)
            assert [key for key in world.objects("north") if key.startswith(("wal_005/", "basebackups_005/"))] == []
            before = world.objects("east")
            promoted(world, first)
            eventually(lambda: second.sql("SELECT 1 FROM t WHERE x = -1"), 30, "the second member follows")
            backed_up(first)
            last = archived(first)
            assert last.startswith("00000002")
            names = world.objects("north")
            assert f"wal_005/{last}.lzo" in names and "wal_005/00000002.history.lzo" in names
            assert not [key for key in set(world.objects("east")) - set(before) if "/00000002" in key]
