"""The archiver of a whole member: its settings, its place among the programs, and Patroni's word on who may archive."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from runtime import lzop
from runtime.archive.guard import in_production, runs
from runtime.store import Store
from tests.component.archiving import opened
from tests.component.support import Node, eventually, running
from tests.kit.eventually import always
from tests.kit.s3 import Moto


def archived(store: Store) -> list[str]:
    """Names of the files in the archive."""
    return [one.key.removeprefix("wal_005/").removesuffix(".lzo") for one in store.list("wal_005/")]


def switch(node: Node) -> str:
    node.sql("SELECT pg_logical_emit_message(false, 'test', 'so that there is something in it')")
    return str(node.value("SELECT pg_walfile_name(pg_switch_wal())"))


def test_member(place: Path, moto: Moto) -> None:
    """A member archives by itself; while Patroni does not say that it is the leader, it waits; PostgreSQL that is down
    may have its leftovers archived."""
    node = Node("member", place, {"WAL_S3_BUCKET": "here", "AWS_ENDPOINT": moto.url, "SCOPE": "one", "AWS_REGION": "eu-central-1",
                                  **moto.key.variables()})
    store = opened(moto, "s3://here/spilo/one/wal/17")
    with running(node):
        node.start()
        node.until("primary")
        name = switch(node)
        eventually(lambda: name in archived(store), 20, "the segment is in the store")
        assert lzop.unpack(store.get(f"wal_005/{name}.lzo")) == (node.data / "pg_wal" / name).read_bytes()
        assert json.loads(store.get("spilo_005/system.json")) == {"system_identifier": node.control("Database system identifier")}
        status = node.spec().store.status  # type: ignore[union-attr]
        eventually(lambda: (json.loads(status.read_text())["last_archived"] or "") >= name, 5, "the status says so")
        archiver = node.program("runtime.archive")
        assert archiver and archiver.memory_info().rss < 20 << 20
        assert runs(node.data) and in_production(node.data)

        patroni = node.program("runtime.patroni")
        assert patroni
        patroni.send_signal(signal.SIGSTOP)
        eventually(lambda: node.role() is None, 10, "Patroni does not answer")  # what it said last counts for a second
        name = switch(node)
        always("nothing is archived on nobody's word", lambda: name not in archived(store), 4)
        patroni.send_signal(signal.SIGCONT)
        eventually(lambda: name in archived(store), 20, "the segment is in the store")
        assert node.stop(60) == 0
        assert not runs(node.data) and not in_production(node.data)
