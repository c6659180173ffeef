"""Base backups of a PostgreSQL that works, through a store that misbehaves, and back: everything is there, or it is said
what is not."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from runtime import archive
from runtime.backup import expire, retention
from runtime.basebackup import catalog, layout, read, target, write
from runtime.basebackup.catalog import Backup
from runtime.basebackup.target import Target
from runtime.etcd import Etcd as Client
from runtime.etcd import Lock
from runtime.store import Store
from runtime.trouble import Exit, Trouble
from tests.component.archiving import Archiver, Postgres, opened
from tests.component.servers import Etcd
from tests.component.support import eventually, folder, running
from tests.kit.faultproxy import FaultProxy, error, reset
from tests.kit.s3 import Rclone

PREFIX = "s3://here/cluster"


@dataclass
class Site:
    """A PostgreSQL with an archiver and a tablespace, and its store behind a proxy; `store` talks to the proxy, `direct` does
    not."""

    place: Path
    postgres: Postgres
    archiver: Archiver
    proxy: FaultProxy
    store: Store
    direct: Store

    @property
    def dsn(self) -> str:
        return f"host={self.place} port={self.postgres.port} user=postgres dbname=postgres"

    def job(self, **more: object) -> write.Job:
        return write.Job(self.store, self.dsn, self.postgres.data, target=8 << 20, **more)  # type: ignore[arg-type]

    def bench(self, *words: str) -> list[str]:
        return ["pgbench", "-h", str(self.place), "-p", str(self.postgres.port), "-U", "postgres", *words, "postgres"]

    def keys(self, name: str) -> list[str]:
        """The objects of a backup."""
        found = [one.key for one in self.direct.list(layout.BASE) if name in one.key]
        return found + [one.key for one in self.direct.list(layout.INFO) if name in one.key]

    def tablespaces(self, backup: Backup, to: Path) -> dict[int, Path]:
        return {oid: to.with_name(f"{to.name}-space") / str(oid) for oid in backup.tablespaces}


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    place, before = folder(), dict(os.environ)
    server = Rclone("rclone-backup", place)
    with running(server):
        server.start()
        server.until_ready()
        server.bucket("here")
        archiver = Archiver("archiver-backup", place, server.folder(place / "env", PREFIX), place / "pg")
        postgres = Postgres("pg", place, archiver)
        postgres.push = archive.push_command(str(archiver.socket))
        postgres.create(1)
        with running(postgres, archiver), FaultProxy(server) as proxy:
            archiver.start()
            postgres.start()
            (place / "space").mkdir()
            postgres.value(f"CREATE TABLESPACE elsewhere LOCATION '{place / 'space'}'")
            direct = opened(server, PREFIX)
            os.environ.update(proxy.environment(PREFIX))
            made = Site(place, postgres, archiver, proxy, Store.open(timeout=5, attempts=3), direct)
            subprocess.run(made.bench("-i", "-s", "5", "-q", "--tablespace=elsewhere"), check=True, capture_output=True)
            postgres.value("CREATE UNLOGGED TABLE fleeting AS SELECT generate_series(1, 100000) AS n")
            yield made
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def backup(site: Site) -> Backup:
    """A backup taken while pgbench writes."""
    with subprocess.Popen(site.bench("-c", "2", "-T", "60", "-n"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as load:
        try:
            eventually(lambda: site.postgres.value("SELECT count(*) FROM pgbench_history"), 20, "pgbench writes")
            return write.take(site.job(rate=60 << 20))
        finally:
            load.terminate()


@pytest.fixture(autouse=True)
def healed(site: Site) -> Iterator[None]:
    yield
    site.proxy.heal()


def found(site: Site, name: str) -> Backup:
    one = catalog.read(site.store).find(name)
    assert one is not None
    return one


def test_catalog(site: Site, backup: Backup) -> None:
    """What was taken is listed with what it was, usable, and whole."""
    seen = catalog.read(site.store)
    one = seen.find(backup.name)
    assert one == replace(backup, stored=one.stored if one else 0, modified=one.modified if one else 0)
    assert seen.why_not(backup) is None
    assert seen.find("LATEST") == one
    assert len(backup.parts) > 4 and list(backup.tablespaces.values()) == [str(site.place / "space")]
    assert seen.system == backup.system
    names = [key.partition(f"{backup.name}/")[2] for key in site.keys(backup.name)]
    assert "extended_version.txt" in names


def test_restored_to_a_position(site: Site, backup: Backup, place: Path) -> None:
    """A backup taken under load, with a tablespace, comes up at a later position with exactly what was there, in places of its
    own; files that nobody needs are not in it."""
    site.postgres.value("CREATE TABLE marks AS SELECT 1 AS n")
    expected = site.postgres.value("SELECT (count(*), sum(delta))::text FROM pgbench_history")
    position = site.postgres.value("SELECT pg_current_wal_insert_lsn()::text")
    site.postgres.value("INSERT INTO marks VALUES (2)")
    site.postgres.archived(site.postgres.switch())
    chosen = target.choose(catalog.read(site.store), Target("lsn", position))
    assert chosen.backup.name == backup.name
    to = place / "restored"
    read.restore(site.store, chosen.backup, to, tablespaces=site.tablespaces(backup, to))
    assert not (to / "postmaster.pid").exists() and not list((to / "pg_wal").glob("0*"))
    assert (to / "global" / "pg_control").stat().st_mode & 0o777 == 0o600
    copy = Postgres("restored", place)
    copy.push = ""
    copy.configure(restore_command=archive.fetch_command(str(site.archiver.socket), "target"), recovery_target_action="promote",
                   archive_mode="off", **Target("lsn", position).settings())
    (to / "recovery.signal").touch()
    with running(copy):
        copy.start()
        eventually(lambda: copy.value("SELECT NOT pg_is_in_recovery()"), 30, "the copy is recovered")
        assert copy.value("SELECT (count(*), sum(delta))::text FROM pgbench_history") == expected
        assert copy.value("SELECT max(n) FROM marks") == 1
        assert copy.value("SELECT sum(abalance) = (SELECT sum(delta) FROM pgbench_history) FROM pgbench_accounts")
        assert copy.value("SELECT count(*) FROM fleeting") == 0
        where = copy.value("SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'elsewhere'")
        assert where.startswith(str(place))


def test_containers_are_lzop(site: Site, backup: Backup, place: Path) -> None:
    """Every partition is what the lzop and tar programs take for their own."""
    for part in backup.parts:
        (place / "part.lzo").write_bytes(site.direct.get(part.key))
        subprocess.run(f"lzop -dc {place}/part.lzo | tar -tf - > {place}/names", shell=True, check=True)
    assert "backup_label" in (place / "names").read_text()


def test_not_empty(site: Site, backup: Backup, place: Path) -> None:
    """Nothing is restored over something, nor a tablespace over the one in use."""
    (place / "mine").mkdir()
    (place / "mine" / "file").write_text("precious")
    for to, spaces in ((place / "mine", None), (place / "free", None)):
        with pytest.raises(Trouble) as caught:
            read.restore(site.store, backup, to, tablespaces=spaces)
        assert caught.value.code is Exit.REFUSED
    assert (place / "mine" / "file").read_text() == "precious" and not (place / "free").exists()


@pytest.mark.parametrize("fault", [error(503, "SlowDown"), reset(100_000)], ids=["503", "reset"])
def test_store_stumbles(site: Site, fault: object) -> None:
    """A store that fails now and then delays a backup, and nothing else."""
    site.proxy.on(fault, method="PUT", key="*tar_partitions/*", times=2)  # type: ignore[arg-type]
    made = write.take(site.job())
    assert catalog.read(site.store).why_not(made) is None


def test_store_fails(site: Site) -> None:
    """A store that goes on failing ends the backup with what it said, and nothing of it stays."""
    before = [one.name for one in catalog.read(site.store).backups]
    site.proxy.on(error(503, "SlowDown"), method="PUT", key="*part_00000001*")
    with pytest.raises(Trouble) as caught:
        write.take(site.job())
    assert caught.value.code is Exit.RETRY and "part_00000001" in caught.value.detail
    site.proxy.heal()
    assert [one.name for one in catalog.read(site.store).backups] == before


def test_nobody_archives(site: Site) -> None:
    """A backup whose WAL does not reach the store is given up, and says which segment is missing."""
    site.proxy.heal()
    site.archiver.stop()
    try:
        with pytest.raises(Trouble) as caught:
            write.take(site.job(patience=0.5))
    finally:
        site.archiver.start()
    assert "wal_005/" in caught.value.detail and "missing" in caught.value.detail


def test_session_lost(site: Site) -> None:
    """A backup whose session ends on the way is given up at once, and leaves nothing."""
    with ThreadPoolExecutor(1) as pool:
        taking = pool.submit(write.take, site.job(rate=5 << 20))
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'spilo backup'"
        eventually(lambda: site.postgres.value(f"SELECT count(*) FROM ({query}) AS ended"), 20, "the session was there")
        error = taking.exception(20)
    assert isinstance(error, Trouble) and error.code is Exit.RETRY
    assert all(one.complete for one in catalog.read(site.direct).backups)


def damaged(site: Site, backup: Backup, change: object) -> tuple[str, bytes]:
    """(key, content before) of a partition that was changed."""
    key = backup.parts[1].key
    before = site.direct.get(key)
    site.direct.put(key, change(before))  # type: ignore[operator]
    return key, before


@pytest.mark.parametrize("listed", [False, True], ids=["while restoring", "in the list"])
def test_truncated(site: Site, backup: Backup, place: Path, listed: bool) -> None:
    """A partition that is too short is named, by the list already, and nothing is left behind."""
    key, before = damaged(site, backup, lambda data: data[: len(data) // 2])
    try:
        seen = found(site, backup.name)
        assert "part_00000001.tar.lzo has" in str(seen.problem)
        with pytest.raises(Trouble) as caught:
            read.restore(site.store, seen if listed else backup, place / "to", tablespaces=site.tablespaces(backup, place / "to"))
    finally:
        site.direct.put(key, before)
    assert caught.value.code is Exit.REFUSED and "part_00000001" in caught.value.detail
    assert not (place / "to").exists()


def test_flipped(site: Site, backup: Backup, place: Path) -> None:
    """A flipped byte in a partition is found, the partition named, and nothing is left behind."""
    key, before = damaged(site, backup, lambda data: data[:5000] + bytes([data[5000] ^ 1]) + data[5001:])
    try:
        with pytest.raises(Trouble) as caught:
            read.restore(site.store, backup, place / "to", tablespaces=site.tablespaces(backup, place / "to"))
    finally:
        site.direct.put(key, before)
    assert caught.value.code is Exit.REFUSED and key in caught.value.detail
    assert not (place / "to").exists() and not (place / "to-space").exists()


def test_full_disk(site: Site, backup: Backup) -> None:
    """A disk that is too small is refused; one that fills up on the way is said to be full, and given back."""
    small = Path("/dev/shm")
    filler = small / "filler"
    free = shutil.disk_usage(small).free
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(free - (10 << 20), 1))
    try:
        for one in (replace(backup, tablespaces={}), replace(backup, size=1)):
            with pytest.raises(Trouble) as caught:
                read.restore(site.store, one, small / "to", tablespaces=site.tablespaces(one, small / "to"))
            assert caught.value.code is Exit.RETRY and "disk" in caught.value.message
            assert not list(small.glob("to*"))
    finally:
        filler.unlink()


def test_killed(site: Site) -> None:
    """A backup that is killed leaves nothing that counts as one, and what it left is removed after a day."""
    before = {one.name for one in catalog.read(site.direct).backups}
    child = multiprocessing.get_context("spawn").Process(target=_take, args=(site.dsn, site.postgres.data))
    child.start()
    eventually(lambda: any("/tar_partitions/" in one.key and not any(name in one.key for name in before)
                           for one in site.direct.list(layout.BASE)), 30, "there is a partition")
    assert child.pid is not None
    os.kill(child.pid, signal.SIGKILL)
    child.join(10)
    seen = catalog.read(site.direct)
    left = [one for one in seen.backups if one.name not in before]
    assert [one.complete for one in left] == [False]
    assert "not complete" in str(seen.why_not(left[0]))
    assert retention.plan(seen, 9, 9, left[0].modified + 60).orphans == ()
    made = retention.plan(seen, 9, 9, left[0].modified + 2 * retention.DAY)
    assert list(made.orphans) == left
    expire.carry_out(site.direct, made)
    assert site.keys(left[0].name) == []


def test_expired(site: Site, backup: Backup) -> None:
    """Retention takes away the oldest backup with all its objects and the WAL before the next one, which is as good as before."""
    newer = write.take(site.job())
    seen = catalog.read(site.store)
    made = retention.plan(seen, 1, 0, (newer.finished or 0) + 1)
    assert backup.name in [one.name for one in made.remove] and made.wal
    expire.carry_out(site.store, made)
    after = catalog.read(site.store)
    assert [one.name for one in after.backups] == [newer.name]
    assert site.keys(backup.name) == []
    assert after.why_not(newer) is None
    assert min(one.number for one in after.segments) == newer.start_lsn // newer.segment_size
    assert retention.plan(after, 1, 0, (newer.finished or 0) + 1).nothing


def test_lock(etcd: Etcd) -> None:
    """Only one holds the lock; who dies gives it back within the lease; who loses it is told."""
    client, key = Client({"host": etcd.url.partition("//")[2]}), "/test/lock"
    with Lock(client, key, {"member": "a"}) as held:
        held.check()
        with pytest.raises(Trouble) as caught, Lock(client, key, {"member": "b"}):
            pass
        assert caught.value.code is Exit.RETRY and '"a"' in caught.value.detail
    child = multiprocessing.get_context("spawn").Process(target=_hold, args=(etcd.url.partition("//")[2], key))
    child.start()
    eventually(lambda: client.get(key), 10, "the lock is held")
    child.kill()
    eventually(lambda: client.get(key) is None, 10, "the lock is free")
    with Lock(client, key, {"member": "c"}, seconds=3) as held:
        client.revoke(held._lease)
        with pytest.raises(Trouble):
            eventually(held.check, 10, "the lock is lost")
    assert client.get(key) is None


def _take(dsn: str, data: Path) -> None:
    """A slow backup, in another process, into the store that the environment names."""
    write.take(write.Job(Store.open(), dsn, data, target=8 << 20, rate=10 << 20))


def _hold(host: str, key: str) -> None:
    with Lock(Client({"host": host}), key, {"member": "dying"}, seconds=2):
        signal.pause()
