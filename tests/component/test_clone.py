"""A cluster that begins as a copy of another one: from its archive at a moment, a position or a timeline's end, or from the
running cluster. The other one's archive is only read, and what cannot be reached ends with the reason."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from runtime.wal import Segment, parse_lsn
from tests.component.lost import World, ended, ours, says, world
from tests.component.stored import archived, backed_up, settings
from tests.component.support import Node, eventually, running
from tests.component.test_cluster import streams

OTHER = "another-secret-than-that-of-the-source"


@dataclass
class Source:
    """A running cluster, with moments of its life: a row `x` a step, on two timelines."""

    world: World
    node: Node
    time: str
    lsn: str
    system: str

    def clone(self, name: str, **more: str) -> Node:
        """A member of a cluster of its own (without an archive of its own, unless given), with other passwords."""
        etcd = {**self.world.etcd.settings(f"of-{name}"), "CLUSTER_SECRET": OTHER}
        return Node(name, self.world.place, {**etcd, "CLONE_SCOPE": "source", **more})

    def archive(self, prefix: str = "CLONE_") -> dict[str, str]:
        return settings(self.world.store, "archives", prefix)


@pytest.fixture(scope="module")
def source() -> Iterator[Source]:
    """A cluster with a base backup, whose primary was started again, and so is on its second timeline."""
    with world() as there:
        node = there.member("source", "first")
        with running(node):
            node.start()
            node.until("primary", 60)
            node.sql("CREATE TABLE t (x int)")
            node.sql("ALTER SYSTEM SET archive_command = 'touch /tmp/must-not-run'")  # not loaded: for the copies only
            backed_up(node)
            node.sql("INSERT INTO t VALUES (1)")
            time = str(node.value("SELECT clock_timestamp()"))
            node.sql("INSERT INTO t VALUES (2)")
            lsn = str(node.value("SELECT pg_current_wal_insert_lsn()"))
            node.sql("INSERT INTO t VALUES (3)")
            archived(node)
            node.sql("ALTER SYSTEM RESET archive_command")
            node.stop()
            node.start()
            node.until("primary", 60)
            node.sql("INSERT INTO t VALUES (4)")
            archived(node)
            assert node.control("Latest checkpoint's TimeLineID") == "2"
            yield Source(there, node, time, lsn, node.control("Database system identifier"))


def rows(node: Node) -> list[int]:
    return [number for (number,) in node.sql("SELECT x FROM t ORDER BY x")]


def test_to_a_time(source: Source) -> None:
    """A copy of a moment is the source as it was then, under its own passwords; it archives under its own scope from its
    first segment on, its replica joins, and in the source's archive not one object changes."""
    before = source.world.objects("source")
    own = {**source.archive(""), **source.archive(), "CLONE_TARGET_TIME": source.time, "CLONE_TARGET_TIMELINE": "1"}
    node, replica = source.clone("moment", **own), source.clone("second", **own, SCOPE="of-moment")
    with running(node, replica):
        node.start()
        says(node, "beginning as a copy")
        replica.start()
        eventually(lambda: "primary" in (node.role(), replica.role()), 90, "one of them is primary")
        primary, other = (node, replica) if node.role() == "primary" else (replica, node)
        ours(primary)
        other.until("replica", 60)
        eventually(lambda: streams(primary, other), 30, "its replica streams")
        assert rows(primary) == [1] == rows(other)
        assert primary.control("Database system identifier") == source.system
        primary.sql("INSERT INTO t VALUES (99)")
        primary.sql("CREATE ROLE from_admin", kind="admin")
        backed_up(primary)
        last = archived(primary)
        begins = primary.value("SELECT timeline_id FROM pg_control_checkpoint()")
        assert begins > 2  # beyond every timeline of the source
        assert {f"wal_005/{begins:08X}.history.lzo", f"wal_005/{last}.lzo"} <= set(source.world.objects("of-moment"))
        # Old segments go with the first backup, so what was archived is read in the log.
        said = says(node, "the data is there work=clone")
        own_timeline, lsn = int(said.partition("timeline=")[2].split()[0]), parse_lsn(said.partition("lsn=")[2].split()[0])
        sent = set(re.findall(r"archived file=(\S+)", node.text()))
        assert own_timeline == begins - 1 and f"{own_timeline:08X}.history" in sent
        numbers = {int(name[16:], 16) for name in sent if re.fullmatch(r"[0-9A-F]{24}", name) and int(name[:8], 16) >= own_timeline}
        assert set(range(Segment.at(1, lsn).number, int(last[16:], 16) + 1)) == numbers
    assert source.world.objects("source") == before


def test_to_a_position(source: Source) -> None:
    """Before a position and along the newest timeline; and to the end of an older timeline. The source's ALTER SYSTEM is
    not the copy's."""
    position = source.clone("position", **source.archive(), CLONE_TARGET_LSN=source.lsn, CLONE_TARGET_INCLUSIVE="false")
    older = source.clone("older", **source.archive(), CLONE_TARGET_TIMELINE="1")
    with running(position, older):
        position.start()
        older.start()
        ours(position)
        ours(older)
        assert rows(position) == [1, 2]
        assert rows(older) == [1, 2, 3]
        assert position.value("SHOW archive_mode") == "off" and "must-not-run" not in older.value("SHOW archive_command")


def test_out_of_reach(source: Source) -> None:
    """A target that is not in the archive, as far as anybody knows before or as recovery finds out, ends the container with
    what can be reached; nothing is left in the data directory."""
    before = source.world.objects("source")
    late = source.clone("late", **source.archive(), CLONE_TARGET_LSN="7F/0")
    nowhere = source.clone("nowhere", **source.archive(), CLONE_TARGET_NAME="nowhere")
    with running(late, nowhere):
        late.start()
        nowhere.start()
        last = ended(late, "lsn 7F/0 cannot be reached")
        assert "reachable from base_" in last and "on timeline 2" in last
        last = ended(nowhere, "name nowhere cannot be reached: the archive ends before it")
        assert "reachable from base_" in last and "the last commit in it: 20" in last
        for node in (late, nowhere):
            assert not node.data.exists() or not any(node.data.iterdir())
            assert source.world.known(f"of-{node.name}", "initialize") == ""
    assert source.world.objects("source") == before


def test_from_the_running_cluster(source: Source) -> None:
    """A copy of the running cluster has what it has now, on a timeline of its own, and goes its own way. With a wrong
    password it says so, and tries again."""
    role = source.node.spec().roles["standby"]
    node = source.clone("running", CLONE_METHOD="CLONE_WITH_BASEBACKUP", CLONE_HOST="127.0.0.1", CLONE_PORT=str(source.node.port),
                        CLONE_USER=role.name)
    with running(node):
        node.start(CLONE_PASSWORD="not-the-password")
        says(node, 'password authentication failed for user "standby"')
        says(node, "the data could not be brought here, trying again")
        assert node.stop() == 0 and not (node.data.exists() and any(node.data.iterdir()))
        node.start(CLONE_PASSWORD=role.password)
        ours(node)
        assert rows(node) == [1, 2, 3, 4]
        assert int(node.control("Latest checkpoint's TimeLineID")) > 2
        node.sql("INSERT INTO t VALUES (5)")
        assert rows(source.node) == [1, 2, 3, 4]
        assert role.password not in node.text() and not (node.run / "clone.pgpass").exists()
