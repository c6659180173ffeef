"""The resident archiver under PostgreSQL: every file of WAL arrives, once, unchanged, whatever happens meanwhile."""

from __future__ import annotations

import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime import archive, lzop, wal
from runtime.store import Store
from tests.component.archiving import Archiver, Postgres, compare, opened
from tests.component.support import eventually, running
from tests.kit import faultproxy
from tests.kit.faultproxy import FaultProxy
from tests.kit.s3 import Moto, Rclone


@pytest.fixture
def proxy(moto: Moto) -> Iterator[FaultProxy]:
    with FaultProxy(moto) as made:
        yield made


class World:
    """A PostgreSQL that archives."""

    def __init__(self, server: Any, place: Path, silence: float = 20.0) -> None:
        self.prefix = f"s3://here/{place.name}"
        self.store: Store = opened(server, self.prefix)
        self.folder = server.folder(place / "env", self.prefix)
        self.archiver = Archiver("archiver", place, self.folder, place / "primary", silence)
        self.primary = Postgres("primary", place, self.archiver)

    def start(self, segment: int = 1, **settings: str) -> None:
        self.primary.create(segment, **settings)
        self.archiver.start()
        self.primary.start()


@pytest.fixture
def world(proxy: FaultProxy, place: Path) -> Iterator[World]:
    made = World(proxy, place, silence=3.0)
    with running(made.primary, made.archiver):
        yield made


def load(postgres: Postgres, seconds: int) -> subprocess.Popen[bytes]:
    """pgbench for a while."""
    base = ["pgbench", "-h", str(postgres.place), "-p", str(postgres.port), "-U", "postgres", "postgres"]
    subprocess.run([*base, "-i", "-s", "2", "-q"], check=True, capture_output=True)
    return subprocess.Popen([*base, "-c", "4", "-T", str(seconds)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def contiguous(names: list[str], size: int) -> None:
    """No segment is missing between the first and the last."""
    numbers = [wal.Segment.parse(name, size).number for name in names if wal.kind(name) is wal.Kind.SEGMENT]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


@pytest.mark.parametrize(("server", "segment"), [("moto", 16), ("rclone", 1), ("rclone", 64)])
def test_archives(server: str, segment: int, place: Path, moto: Moto) -> None:
    """Every segment is in the store, byte for byte, whatever the size and whether or not the store can refuse to overwrite."""
    store: Any = moto if server == "moto" else Rclone("rclone", place)
    world = World(store, place)
    with running(world.primary, world.archiver, *([store] if server == "rclone" else [])):
        if server == "rclone":
            store.start()
            store.until_ready()
            store.bucket("here")
        world.start(segment)
        pgbench = load(world.primary, 4)
        world.primary.write(2 * segment)
        assert pgbench.wait(30) == 0
        world.primary.write(max(60, segment), random=True)
        world.primary.archived(world.primary.switch())
        names = compare(world.store, world.primary.kept)
        contiguous(names, segment << 20)
        assert len(names) >= 3
        assert world.archiver.memory() < 130 << 20  # its watchdog has less than 20


def test_killed(world: World) -> None:
    """The archiver is killed again and again under load: no segment is missing or different."""
    world.start()
    pgbench = load(world.primary, 120)
    moments = random.Random(7)
    for number in range(8):
        eventually(lambda: world.archiver.status()["archived"], 20, "it archives")
        threading.Event().wait(moments.random())  # any moment
        victim = world.archiver.pid if number % 2 else world.archiver.child
        subprocess.run(["kill", "-KILL", str(victim)], check=True)
        world.archiver.wait(5)
        world.archiver.start()
    pgbench.terminate()
    pgbench.wait(10)
    world.primary.archived(world.primary.switch())
    contiguous(compare(world.store, world.primary.kept), 1 << 20)


def test_hung(world: World) -> None:
    """An archiver that hangs is ended by its watchdog; what it was doing is done by the next one."""
    world.start()
    world.primary.archived(world.primary.switch())
    subprocess.run(["kill", "-STOP", str(world.archiver.child)], check=True)
    name = world.primary.switch()
    assert world.archiver.wait(15) == 128 + signal.SIGKILL
    assert "the archiver hangs" in world.archiver.text()
    world.archiver.start()
    world.primary.archived(name)
    compare(world.store, world.primary.kept)


FAULTS = {
    "busy": [faultproxy.error(503, "SlowDown")],
    "reset": [faultproxy.reset(1000)],
    "lost answer": [faultproxy.lose()],
    "credentials": [faultproxy.error(403, "InvalidAccessKeyId")],
    "bucket": [faultproxy.error(404, "NoSuchBucket")],
    "hangs": [faultproxy.hang()],
    "away": [],
}


def test_store_fails(world: World, proxy: FaultProxy) -> None:
    """Whatever the store does, PostgreSQL goes on, what waits is visible, and all of it is archived soon after."""
    world.start()
    world.primary.archived(world.primary.switch())
    for kind, faults in FAULTS.items():
        if not faults:
            proxy.refuse()
        for fault in faults:
            proxy.on(fault)
        world.primary.write(5)
        name = world.primary.switch()
        status = eventually(lambda: (found := world.archiver.status())["failing_since"] and found["waiting"] >= 5 and found, 20, kind)
        assert status["error"] and status["waiting_bytes"] >= 5 << 20 and status["oldest"] >= 0
        proxy.heal()
        world.primary.archived(name, 15)
        eventually(lambda: world.archiver.status()["failing_since"] is None, 5, "it says so")
    contiguous(compare(world.store, world.primary.kept), 1 << 20)
    assert world.primary.value("SELECT failed_count FROM pg_stat_archiver") == 0


def test_slow_stop(world: World, proxy: FaultProxy) -> None:
    """While the store is away, PostgreSQL can be stopped at once, and started again after it was killed."""
    world.start()
    proxy.on(faultproxy.hang())
    world.primary.switch()
    eventually(lambda: world.archiver.status()["failing_since"], 20, "the archive fails")
    subprocess.run(["pg_ctl", "-D", str(world.primary.data), "-m", "fast", "-t", "15", "stop"], check=True, capture_output=True)
    world.primary.wait(5)
    world.primary.start()
    world.primary.signal(signal.SIGKILL)
    world.primary.wait(5)
    eventually(lambda: not world.primary.processes(), 3, "nothing of it is left")
    (world.primary.data / "postmaster.pid").unlink()
    world.primary.start()
    proxy.heal()
    world.primary.archived(world.primary.switch())
    compare(world.store, world.primary.kept)


def push(world: World, path: Path) -> tuple[int, str]:
    """What the client that PostgreSQL runs says."""
    command = ["sh", archive.CLIENT, "push", str(world.archiver.socket), str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, cwd=world.primary.data)
    return done.returncode, done.stderr


def test_refuses(world: World) -> None:
    """Refused with the reason: a name that is none, a file that is not what its name says, and another content than the
    store has already. The same content is fine."""
    world.start()
    name = world.primary.switch()
    world.primary.archived(name)
    segment = world.primary.data / "pg_wal" / name
    content = (world.primary.kept / name).read_bytes()
    other = wal.Segment.parse(name, 1 << 20).next(100).name(1 << 20)
    cases = {name: content, other: content, "000000010000000000000BAD.txt": content, "it's \n$(none) \\%.ready": content}
    for one, text in cases.items():
        (segment.parent / one).write_bytes(text)
    segment.write_bytes(content)
    assert push(world, Path("pg_wal") / name) == (0, "")
    found = push(world, segment.parent / other)
    assert found[0] == 5 and "the name says" in found[1]
    assert [push(world, segment.parent / one)[0] for one in list(cases)[2:]] == [5, 5]
    segment.write_bytes(content[:-1] + b"x")
    found = push(world, Path("pg_wal") / name)
    assert found[0] == 5 and f"they differ from byte {(1 << 20) - 1} on" in found[1]
    segment.write_bytes(content[:-1])
    assert push(world, segment)[0] == 5
    segment.unlink()
    assert push(world, segment)[0] == 4
    eventually(lambda: world.archiver.status()["failing_since"], 5, "it is seen that files were refused")
    compare(world.store, world.primary.kept)


def test_other_cluster(world: World, place: Path) -> None:
    """A prefix has one owner: another cluster's files are refused, also where only its WAL says whose it is."""
    world.start()
    world.primary.archived(world.primary.switch())
    before = compare(world.store, world.primary.kept)
    archiver = Archiver("second", place, world.folder, place / "other")
    other = Postgres("other", place, archiver)
    with running(other, archiver):
        other.create()
        world.store.delete(["spilo_005/system.json"])
        archiver.start()
        other.start()
        other.switch()
        eventually(lambda: "belongs to another cluster" in (archiver.status()["error"] or ""), 10, "it says why")
        assert "belongs to another cluster" in archiver.text() and "system identifier" in archiver.text()
        eventually(lambda: other.value("SELECT failed_count FROM pg_stat_archiver") > 0, 10, "PostgreSQL knows")
    world.archiver.kill()
    world.archiver.start()
    world.primary.archived(world.primary.switch())
    assert len(compare(world.store, world.primary.kept)) > len(before)
    assert "adopted=True" in world.archiver.text()


def test_fetch_command(world: World, proxy: FaultProxy, place: Path) -> None:
    """What the client says for each thing that can happen to a file that is fetched."""
    world.start()
    world.primary.write(3)
    names = [world.primary.switch()]
    world.primary.archived(names[0])
    names = compare(world.store, world.primary.kept)

    def fetch(mode: str, name: str) -> int:
        (place / "got").unlink(missing_ok=True)
        command = archive.fetch_command(str(world.archiver.socket), mode).replace("%f", name).replace("%p", "got")
        return subprocess.run(["sh", "-c", command], check=False, timeout=90, cwd=place, capture_output=True).returncode

    for name in names:
        assert fetch("standby", name) == 0 and (place / "got").read_bytes() == (world.primary.kept / name).read_bytes()
    absent = wal.Segment.parse(names[-1], 1 << 20).next(50).name(1 << 20)
    assert fetch("standby", absent) == fetch("target", absent) == fetch("target", "00000009.history") == 1
    world.store.put(f"wal_005/{absent}.lzo", lzop.pack_file((world.primary.kept / names[0]).open("rb", buffering=0), 1 << 20))
    assert (fetch("standby", absent), fetch("target", absent)) == (4, 254)  # it is another segment
    whole = world.store.get(f"wal_005/{names[1]}.lzo")
    for at in (3, 40, len(whole) // 2, len(whole) - 1):
        world.store.put(f"wal_005/{names[1]}.lzo", whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert (fetch("standby", names[1]), fetch("target", names[1])) == (4, 254), at
    assert f"wal_005/{names[1]}.lzo" in world.archiver.text() and not (place / "got").exists()
    world.store.put(f"wal_005/{names[1]}.lzo", whole)
    for fault in (faultproxy.cut(5000), faultproxy.error(500, "InternalError")):
        proxy.on(fault, method="GET", times=1)
        assert fetch("standby", names[1]) == 0
    proxy.on(faultproxy.hang())
    start = time.monotonic()
    assert [fetch("standby", name) for name in (names[1], absent, names[0])] == [4, 4, 4]
    assert time.monotonic() - start < 8
    proxy.heal()
    eventually(lambda: fetch("standby", names[1]) == 0, 15, "it is fetched again")
    assert list((place / "archiver-spool").glob("*.history*")) == []
