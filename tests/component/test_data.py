"""Data that is not for this member is left alone, by the boot and by the governor, with a reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.component.servers import Etcd
from tests.component.support import Node, eventually, running


def fingerprint(data: Path) -> dict[str, tuple[int, int, int]]:
    """Every file with its size, mode and time of change."""
    return {
        str(path.relative_to(data)): (state.st_size, state.st_mode, state.st_mtime_ns)
        for path in sorted(data.rglob("*"))
        if (state := path.stat())
    }


def stopped(node: Node) -> None:
    """A life of the member, so that it has data."""
    node.start()
    node.until("primary")
    node.sql("CREATE TABLE kept AS SELECT 42 AS x")
    assert node.stop() == 0


def test_data_of_another_cluster_is_left_alone(place: Path) -> None:
    """The scope's system identifier in etcd is not the data's: exit code 7, the reason last, the data untouched, and with
    the right one all is well again."""
    etcd = Etcd("etcd", place)
    node = Node("one", place, etcd.settings("mixed"))
    with running(etcd, node):
        etcd.start()
        etcd.until_healthy()
        stopped(node)
        key = "/service/mixed/initialize"
        right = etcd.ctl("get", "--print-value-only", key).strip()
        before = fingerprint(node.data)
        etcd.ctl("put", key, "7000000000000000001")
        node.start()
        assert node.wait(60) == 7
        assert fingerprint(node.data) == before
        last = "\n".join(node.text().splitlines()[-8:])
        assert "governor refused to go on" in last and "belongs to another cluster" in last
        assert right in last and "7000000000000000001" in last and "fix:" in last
        etcd.ctl("put", key, right)
        node.start()
        node.until("primary")
        assert node.value("SELECT x FROM kept") == 42
        assert node.stop() == 0


def test_an_unreachable_etcd_is_not_an_empty_one(place: Path) -> None:
    """A new member that cannot ask waits, and makes no cluster of its own until it has an answer."""
    etcd = Etcd("etcd", place)
    node = Node("one", place, etcd.settings("silent"))
    with running(etcd, node):
        node.start()
        eventually(lambda: "waiting for etcd seconds=3" in node.text(), 60, "the governor asks, and says so twice")
        assert not node.data.exists()
        etcd.start()
        node.until("primary", 60)
        assert node.stop() == 0


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("another version", "is of PostgreSQL 16"),
        ("no version", "no PG_VERSION"),
        ("no control file", "no global/pg_control"),
    ],
)
def test_a_surprising_data_directory_is_left_alone(place: Path, damage: str, says: str) -> None:
    """Another major version, or half a directory: exit code 5, what was found, what to do, nothing touched."""
    node = Node("one", place)
    (node.data / "global").mkdir(parents=True)
    (node.data / "precious").write_text("data")
    if damage != "no version":
        (node.data / "PG_VERSION").write_text("16\n" if damage == "another version" else "17\n")
    if damage != "no control file":
        (node.data / "global" / "pg_control").write_bytes(b"x" * 8192)
    before = fingerprint(node.data)
    node.start()
    assert node.wait(20) == 5
    assert says in node.text() and "left alone" in node.text() and "fix:" in node.text()
    assert fingerprint(node.data) == before


def test_a_volume_has_one_member(place: Path, alone: Node) -> None:
    """A second start on the same volume is refused while the first runs, which does not notice."""
    second = Node("second", place)
    second.root = alone.root
    second.command = alone.command
    before = alone.value("SELECT pg_postmaster_start_time()")
    with running(second):
        second.start()
        assert second.wait(20) == 5
        assert "fix:" in second.text()
    assert alone.role() == "primary"
    assert alone.value("SELECT pg_postmaster_start_time()") == before


def test_a_volume_that_is_not_ours_is_refused_with_the_cure(place: Path) -> None:
    """A folder that we may not write to: exit code 5 and the very command that helps."""
    node = Node("one", place)
    volume = node.root / "home" / "postgres" / "pgdata"
    volume.mkdir(parents=True)
    volume.chmod(0o555)
    node.start()
    assert node.wait(20) == 5
    assert "cannot be written to" in node.text() and "chown -R 101:103" in node.text()
    assert not list(volume.iterdir())
    volume.chmod(0o755)
