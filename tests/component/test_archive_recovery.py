"""Recovery from the archive: a standby that follows it, timelines, and what a store that fails must not do."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime import archive, lzop, wal
from tests.component.archiving import Archiver, Postgres, compare
from tests.component.support import eventually, running
from tests.component.test_archive import World
from tests.kit import faultproxy
from tests.kit.faultproxy import FaultProxy
from tests.kit.s3 import Moto


@pytest.fixture
def proxy(moto: Moto) -> Iterator[FaultProxy]:
    with FaultProxy(moto) as made:
        yield made


@pytest.fixture
def world(proxy: FaultProxy, place: Path) -> Iterator[World]:
    made = World(proxy, place)
    with running(made.primary, made.archiver):
        made.start()
        yield made


def copied(world: World, name: str, place: Path, reader: Archiver, mode: str, **settings: str) -> Postgres:
    """A copy of the primary that recovers from the archive, not started yet."""
    made = Postgres(name, place, reader)
    made.copy_of(world.primary, restore_command=archive.fetch_command(str(reader.socket), mode), hot_standby="on",
                 wal_retrieve_retry_interval="200ms", **settings)
    (made.data / ("standby.signal" if mode == "standby" else "recovery.signal")).touch()
    return made


def caught_up(standby: Postgres, rows: int, seconds: float = 30) -> None:
    eventually(lambda: standby.value("SELECT count(*) FROM t", quiet=True) == rows, seconds, f"{standby.name} has {rows} rows")


def insert(primary: Postgres, rows: int = 1000) -> int:
    """More rows in a segment that ends with them; how many there are."""
    primary.value(f"INSERT INTO t SELECT generate_series(1, {rows})")
    primary.archived(primary.switch())
    return int(primary.value("SELECT count(*) FROM t"))


def test_standby_follows(world: World, place: Path) -> None:
    """A standby follows a live archive through an archiver of its own, and catches up again and again, so that no miss
    is remembered; once promoted it archives its history and the rest of the old timeline, and others follow it there."""
    primary = world.primary
    primary.value("CREATE TABLE t (n int)")
    reader = Archiver("reader", place, world.folder, place / "standby")
    reader.start()
    standby = copied(world, "standby", place, reader, "standby")
    late = copied(world, "late", place, world.archiver, "standby")
    with running(standby, late, reader):
        standby.start(wait=False)
        for _ in range(4):
            caught_up(standby, insert(primary), 15)
        primary.value("INSERT INTO t SELECT generate_series(1, 10)")
        primary.write(12)
        rows = insert(primary)
        caught_up(standby, rows)
        standby.value("SELECT pg_promote()")
        rows = insert(standby)
        late.start(wait=False)
        caught_up(late, rows)
        assert late.value("SELECT pg_is_in_recovery()")
        caught_up(late, insert(standby))
        subprocess.run(["pg_basebackup", "-h", str(standby.place), "-p", str(standby.port), "-U", "postgres", "-D", str(place / "b"), "-X", "none",
                        "-c", "fast"], check=True, capture_output=True)  # leaves a .backup file
        insert(standby)
        names = compare(world.store, primary.kept, standby.kept)
    kinds = {wal.kind(name) for name in names}
    assert kinds == {wal.Kind.SEGMENT, wal.Kind.HISTORY, wal.Kind.BACKUP} or kinds == set(wal.Kind), names
    assert "00000002.history" in names and any(name.startswith("00000002") and len(name) == 24 for name in names)


def test_target_is_not_missed(world: World, proxy: FaultProxy, place: Path) -> None:
    """In recovery to a target a store that fails midway stops recovery, without a promotion; the same files start again
    and reach the target when the store is back."""
    primary = world.primary
    primary.value("CREATE TABLE t (n int)")
    reader = Archiver("source", place, world.folder, None)
    other = copied(world, "other", place, reader, "target", recovery_target_action="promote")
    for _ in range(12):
        rows = insert(primary)
    primary.value("SELECT pg_create_restore_point('there')")
    insert(primary)
    (other.data / "postgresql.auto.conf").write_text("recovery_target_name = 'there'\n")
    with running(other, reader):
        reader.start()
        last = sorted(one.key for one in world.store.list("wal_005/"))[-4]
        proxy.on(faultproxy.error(503), key=f"*{last}")
        other.start(wait=False)
        eventually(lambda: proxy.count(key=f"*{last}") > 1, 30, "the store fails in the middle")
        os.kill(reader.child, 9)
        reader.wait(5)
        assert other.wait(90) != 0
        assert "exit code 254" in other.text() and "selected new timeline" not in other.text()
        proxy.heal()
        reader.start()
        other.start()
        eventually(lambda: not other.value("SELECT pg_is_in_recovery()", quiet=True), 20, "the target is reached")
        assert other.value("SELECT count(*) FROM t") == rows


def test_damaged_segment(world: World, place: Path) -> None:
    """A flipped byte in an object stops recovery to a target there, and the log names the object."""
    primary = world.primary
    primary.value("CREATE TABLE t (n int)")
    reader = Archiver("source", place, world.folder, None)
    other = copied(world, "other", place, reader, "target")
    insert(primary)
    name = primary.switch()
    primary.archived(name)
    key = f"wal_005/{name}.lzo"
    whole = world.store.get(key)
    world.store.put(key, whole[:2000] + bytes([whole[2000] ^ 4]) + whole[2001:])
    with pytest.raises(lzop.Corrupt):
        lzop.unpack(world.store.get(key))
    with running(other, reader):
        reader.start()
        other.start(wait=False)
        assert other.wait(60) != 0
        assert key in reader.text() and key in other.text() and "selected new timeline" not in other.text()
