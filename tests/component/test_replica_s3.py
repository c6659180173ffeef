"""New replicas out of the store, and when not: whole members, a real store, and one that cuts its answers short."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime.replica.from_leader import marker
from tests.component.servers import Etcd
from tests.component.stored import archived, backed_up, settings, spilo, why
from tests.component.support import Node, eventually, folder, running
from tests.component.test_cluster import streams
from tests.kit.faultproxy import FaultProxy, cut, hang
from tests.kit.s3 import Rclone

BUCKET = "replicas"
GENEROUS = {"WALE_BACKUP_THRESHOLD_PERCENTAGE": "1000"}  # the backups of tests are smaller than a segment or two


@dataclass
class Cluster:
    """A primary with a base backup, and what another member needs to join it."""

    first: Node
    server: Rclone
    place: Path
    settings: dict[str, str]
    backup: str

    def member(self, name: str, **more: str) -> Node:
        return Node(name, self.place, {**self.settings, **more})


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A primary with a base backup, and something written after it."""
    place = folder()
    etcd, server = Etcd("etcd", place), Rclone("store", place)
    with running(etcd, server):
        etcd.start()
        server.start()
        etcd.until_healthy()
        server.until_ready()
        server.bucket(BUCKET)
        given = {**etcd.settings("replicas"), **settings(server, BUCKET), **GENEROUS}
        first = Node("first", place, given)
        with running(first):
            first.start()
            first.until("primary")
            first.sql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS x")
            backup = backed_up(first)
            first.sql("INSERT INTO t SELECT generate_series(1001, 2000)")
            archived(first)
            first.sql("INSERT INTO t SELECT generate_series(2001, 3000)")
            yield Cluster(first, server, place, given, backup)


def joined(primary: Node, node: Node) -> None:
    """Wait until the member streams through its slot, with everything."""
    node.until("replica", 60)
    eventually(lambda: streams(primary, node), 30, f"{node.name} streams through its slot")
    assert node.value("SELECT count(*) FROM t") == primary.value("SELECT count(*) FROM t") >= 3000
    assert not marker(node.data).exists()


def test_from_the_store(cluster: Cluster) -> None:
    """With little WAL since the backup a replica comes from the store, is checked, and streams the rest through its slot;
    the log and `spilo replica why` say so with every number. So it is after a switchover, along the new timeline."""
    first, second, third = cluster.first, cluster.member("second"), cluster.member("third")
    with running(second, third):
        second.start()
        joined(first, second)
        text = second.text()
        slot, decided, restored = (text.find(one) for one in (
            "replication slot registered on the primary", "where the replica comes from is decided", " restored backup="))
        assert -1 < slot < decided < restored
        line = next(line for line in text.splitlines() if "where the replica comes from is decided" in line)
        for word in ("method=from_backup", f"backup={cluster.backup}", "wal_bytes=", "limit_bytes=", "limit_megabytes=10240",
                     "limit_percentage=1000", "primary_lsn=", "archive_end=", "primary_keeps_from=", "under the limit"):
            assert word in line
        assert " copied" not in text and "pg_basebackup" not in text
        assert why(second)["backup"] == cluster.backup and why(second)["outcome"].startswith("restored in ")
        code, page = spilo(second, "replica", "why")
        assert code == 0 and page.startswith("second from the base backup in the store, decided ")
        assert first.control("Database system identifier") == second.control("Database system identifier")

        answer = first.api().call("POST", "/switchover", {"leader": "first", "candidate": "second"}, timeout=60)
        assert answer[0] == 200, answer
        second.until("primary")
        first.until("replica")
        second.sql("INSERT INTO t SELECT generate_series(3001, 3500)")
        third.start()
        joined(second, third)
        said = why(third)
        assert (said["method"], said["backup"], said["primary_timeline"], said["backup_timeline"]) == ("from_backup", cluster.backup, 2, 1)
        answer = second.api().call("POST", "/switchover", {"leader": "second", "candidate": "first"}, timeout=60)
        assert answer[0] == 200, answer
        first.until("primary")


def test_too_much_wal(cluster: Cluster) -> None:
    """Where more WAL has to be replayed than the limit allows, the primary is copied, and the reason is told."""
    node = cluster.member("refuses", WALE_BACKUP_THRESHOLD_PERCENTAGE="1")
    with running(node):
        node.start()
        joined(cluster.first, node)
        said = why(node)
        assert said["method"] == "from_leader" and "(percentage of the backup's size)" in said["reason"]
        assert said["wal_bytes"] >= said["limit_bytes"] == -(-said["backup_bytes"] // 100)
        assert " copied" in node.text() and "restoring" not in node.text()
        assert spilo(node, "replica", "why")[1].startswith("refuses copied from the primary, decided ")


def test_the_restore_fails_midway(cluster: Cluster) -> None:
    """A partition that always ends too soon: what was restored is removed again, and the primary is copied instead."""
    with FaultProxy(cluster.server) as proxy:
        proxy.on(cut(200000), method="GET", key="*tar_partitions/part_*")
        node = cluster.member("unlucky", AWS_ENDPOINT=proxy.url)
        with running(node):
            node.start()
            joined(cluster.first, node)
            assert proxy.count(key="*tar_partitions/part_*") > 0
            said = why(node)
            assert said["method"] == "from_backup" and said["outcome"].startswith(
                "it failed, so the primary is copied instead: the store does not deliver the backup: get basebackups_005/")
            assert " copied" in node.text().partition("the store does not deliver the backup")[2]


def test_killed_while_restoring(cluster: Cluster) -> None:
    """A member that is killed in the middle of a restore starts anew: what it left is known as its own, of no value."""
    with FaultProxy(cluster.server) as proxy:
        proxy.on(hang(), method="GET", key="*tar_partitions/part_*")
        node = cluster.member("killed", AWS_ENDPOINT=proxy.url)
        with running(node):
            node.start()
            eventually(lambda: proxy.count(key="*tar_partitions/part_*") and marker(node.data).exists() and node.data.exists(),
                       30, "a restore is under way")
            node.kill()
            assert not (node.data / "global" / "pg_control").exists()
            proxy.heal()
            node.start()
            joined(cluster.first, node)
            assert "removing an unfinished copy" in node.text()
            assert why(node)["outcome"].startswith("restored in ")


def test_nothing_was_decided(cluster: Cluster) -> None:
    """A member that was never made from anything says so."""
    code, text = spilo(cluster.first, "replica", "why")
    assert code == 4 and "nothing was decided since this member started" in text
