"""Members with an etcd of their own choice: copies, streaming, failover, and former primaries that come back."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psycopg2
import pytest

from runtime.replica.from_leader import marker
from tests.component.servers import Authority, Etcd
from tests.component.support import Node, eventually, running

VERBOSE = {"SPILO_CONFIGURATION": "{postgresql: {parameters: {log_replication_commands: on}}}"}
HARSH = "p: %s '\" \\ # é"


def streams(primary: Node, replica: Node) -> bool:
    """Whether the replica follows the primary through its slot, over TLS, and counts for the quorum."""
    with contextlib.suppress(psycopg2.Error):
        return (
            primary.sql(
                "SELECT 1 FROM pg_stat_replication r JOIN pg_stat_ssl USING (pid) JOIN pg_replication_slots s ON s.active_pid = r.pid "
                "WHERE application_name = %s AND state = 'streaming' AND ssl AND sync_state = 'quorum'",
                replica.name,
            )
            != []
        )
    return False


def voters(primary: Node) -> set[str]:
    """The replicas that etcd knows to have every acknowledged commit, one of which may thus take over."""
    return {
        one["name"] for one in primary.api().call("GET", "/cluster")[1]["members"] if one["role"] == "quorum_standby"
    }


def primary_of(*nodes: Node) -> Node | None:
    return next((one for one in nodes if one.role() == "primary"), None)


def plain(place: Path) -> tuple[Etcd, dict[str, str]]:
    etcd = Etcd("etcd", place)
    etcd.start()
    etcd.until_healthy()
    return etcd, etcd.settings("cluster")


def tls(place: Path) -> tuple[Etcd, dict[str, str]]:
    etcd = Etcd("etcd", place, Authority(place))
    etcd.start()
    etcd.until_healthy()
    return etcd, etcd.settings("cluster")


def login(place: Path) -> tuple[Etcd, dict[str, str]]:
    """An etcd that asks for user and password, and gives this user its own folder only."""
    etcd, settings = plain(place)
    for arguments in (
        ("user", "add", "root:root"),
        ("role", "add", "root"),
        ("user", "grant-role", "root", "root"),
        ("role", "add", "member"),
        ("role", "grant-permission", "--prefix=true", "member", "readwrite", "/service/"),
        ("user", "add", "member", f"--new-user-password={HARSH}"),
        ("user", "grant-role", "member", "member"),
        ("auth", "enable"),
    ):
        etcd.ctl(*arguments)
    return etcd, {**settings, "ETCD_USERNAME": "member", "ETCD_PASSWORD": HARSH}


@pytest.mark.parametrize("kind", [plain, tls, login])
def test_a_second_member_joins(place: Path, kind: Callable[[Path], tuple[Etcd, dict[str, str]]]) -> None:
    """With every kind of etcd: its slot is there before the copy starts, it streams, and can take over."""
    etcd, settings = kind(place)
    first, second = Node("first", place, {**settings, **VERBOSE}), Node("second", place, {**settings, **VERBOSE})
    with running(etcd, first, second):
        first.start()
        first.until("primary")
        first.sql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS x")
        second.start()
        second.until("replica")
        eventually(lambda: streams(first, second), 30, "the second member streams")
        assert "replication slot registered on the primary" in second.text().partition("copied")[0]
        slot = first.text().find("READ_REPLICATION_SLOT second")
        assert -1 < slot < first.text().find("BASE_BACKUP")
        assert second.value("SELECT count(*) FROM t") == 1000
        assert second.sql("SELECT pg_is_in_recovery()") == [(True,)]
        assert HARSH not in first.text() + second.text()
        if kind is tls:  # enough once
            answer = first.api().call("POST", "/switchover", {"leader": "first", "candidate": "second"}, timeout=60)
            assert answer[0] == 200, answer
            second.until("primary")
            first.until("replica")
            eventually(lambda: streams(second, first), 30, "the former primary streams")
            assert first.stop() == second.stop() == 0


def test_the_primary_is_lost_and_comes_back(place: Path) -> None:
    """Every process of the primary is killed: another member takes over with everything that was acknowledged, and the
    former primary follows it, rewound or copied anew, without a person."""
    etcd, settings = plain(place)
    nodes = [Node(name, place, settings) for name in ("one", "two", "three")]
    with running(etcd, *nodes):
        nodes[0].start()
        nodes[0].until("primary")
        for one in nodes[1:]:
            one.start()
        eventually(lambda: all(streams(nodes[0], one) for one in nodes[1:]), 60, "both replicas stream")
        eventually(lambda: voters(nodes[0]) == {"two", "three"}, 20, "both may take over")
        nodes[0].sql("CREATE TABLE t AS SELECT generate_series(1, 1000) AS x")
        before = time.monotonic()
        nodes[0].kill()
        new = eventually(lambda: primary_of(*nodes[1:]), 60, "another member is primary")
        eventually(lambda: writes(new), 30, "it takes writes")
        print(f"\nprimary killed: writes after {time.monotonic() - before:.1f} s")
        assert new.value("SELECT count(*) FROM t") == 1000
        nodes[0].start()
        others = [one for one in nodes if one is not new]
        eventually(lambda: all(streams(new, one) for one in others), 90, "all stream from the new primary")
        assert primary_of(*others) is None
        timelines = [one.value("SELECT timeline_id FROM pg_control_checkpoint()") for one in nodes]
        assert max(timelines) == 2
        assert {one.value("SELECT count(*) FROM t") for one in nodes} == {1000}


def writes(node: Node) -> bool:
    with contextlib.suppress(psycopg2.Error):
        node.sql("CREATE TABLE IF NOT EXISTS written ()")
        return True
    return False


def caught(node: Node) -> int:
    """The process of a copy that has copied something, stopped in the act."""

    def find() -> int:
        copy = node.program("pg_basebackup")
        if copy is None or not (node.data / "backup_label").exists():
            return 0
        copy.suspend()
        return int(copy.pid)

    return eventually(find, 60, "a copy is under way")


def test_an_interrupted_copy_leaves_nothing_behind(place: Path) -> None:
    """A copy that fails gives its slot back and is tried again; a member killed in the middle of one starts anew."""
    etcd, settings = plain(place)
    first, second = Node("first", place, {**settings, **VERBOSE}), Node("second", place, settings)
    with running(etcd, first, second):
        first.start()
        first.until("primary")
        ballast = first.data / "ballast"
        with ballast.open("wb") as file:
            file.truncate(1 << 29)  # copied with everything else, which takes a while
        second.start()
        os.kill(caught(second), signal.SIGKILL)
        eventually(lambda: "pg_basebackup failed" in second.text(), 20, "the failure is told")
        if "slot=second new=true" in second.text():  # else Patroni on the primary was first, and drops it itself
            assert "replication slot dropped again" in second.text().partition("pg_basebackup failed")[0]
            assert "DROP_REPLICATION_SLOT second" in first.text()
        caught(second)
        assert marker(second.data).exists()
        second.kill()
        assert list(second.data.iterdir())
        ballast.unlink()
        second.start()
        second.until("replica", 60)
        eventually(lambda: streams(first, second), 30, "the new copy streams")
        assert "removing an unfinished copy" in second.text()
        assert not marker(second.data).exists()
        assert not (second.data / "ballast").exists()
        assert second.stop() == first.stop() == 0


def test_the_proxy_comes_back(place: Path) -> None:
    """SIGKILL for HAProxy and for its keeper: the member goes on, with one HAProxy (a master and its worker)."""
    etcd, settings = plain(place)
    node = Node("first", place, settings)
    with running(etcd, node):
        node.start()
        node.until("primary")
        for word in ("haproxy", "runtime.proxy"):
            victim = node.program(word)
            assert victim is not None
            victim.send_signal(signal.SIGKILL)
            victim.wait(10)
            eventually(partial(node.program, word), 20, f"{word} is there again")
            eventually(
                lambda: node.api().call("GET", "/config")[0] == 200 and node.role() == "primary" and writes(node),
                30,
                "the member is well",
            )
            eventually(lambda: node.count("haproxy") == 2, 15, "there is one HAProxy")
        assert node.stop() == 0
