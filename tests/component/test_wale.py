"""WAL-E as operators know it, on today's Python and PostgreSQL, beside an unmodified one: what either writes, the other reads."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime import wal
from tests.component.support import Process, eventually, folder, port, running
from tests.kit.s3 import Endpoint, Moto, Rclone, bare

OURS, STOCK = "wal-e", "stock-wal-e"
SMALL = {"shared_buffers": "16MB", "fsync": "off", "max_wal_size": "512MB", "wal_keep_size": "128MB", "listen_addresses": "''"}


class Wale:
    """One of the two WAL-E with one prefix, called as operators do: through envdir."""

    def __init__(self, program: str, env: Path) -> None:
        self.program, self.env = program, env

    def run(self, *arguments: str | Path, code: int = 0, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """What it says; the exit code has to be `code`."""
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=60, check=False, cwd=cwd, env=bare({}))
        assert done.returncode == code, f"{arguments} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done

    def command(self, *arguments: str | Path) -> list[str]:
        return ["envdir", str(self.env), self.program, *map(str, arguments)]

    def backups(self) -> list[dict[str, str]]:
        """The rows of backup-list --detail, without the time, which has as many digits as a store likes."""
        lines = [line.split("\t") for line in self.run("backup-list", "--detail").stdout.splitlines()]
        rows = [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]
        return [{name: value for name, value in row.items() if name != "last_modified"} for row in rows]


class Cluster(Process):
    """A PostgreSQL of its own, on a unix socket."""

    def __init__(self, name: str, place: Path, *options: str, data: Path | None = None) -> None:
        self.place, self.data, self.port = place, data or place / name, port()
        if data is None:
            subprocess.run(["initdb", "--no-sync", "--auth=trust", "--username=postgres", *options, "-D", self.data],
                           check=True, capture_output=True)
        super().__init__(name, [], place)

    def up(self, **settings: str) -> Cluster:
        """Start it with these settings and wait until it answers; until then it may be recovering."""
        given = {**SMALL, "port": str(self.port), "unix_socket_directories": str(self.place), **settings}
        lines = [f"{name} = {value if value.startswith(chr(39)) else f'{chr(39)}{value}{chr(39)}'}\n" for name, value in given.items()]
        (self.data / "postgresql.conf").write_text("".join(lines), encoding="utf-8")
        (self.data / "pg_hba.conf").write_text("local all all trust\nlocal replication all trust\n", encoding="utf-8")
        (self.data / "pg_ident.conf").touch()
        self.command = ["postgres", "-D", str(self.data)]
        self.start()
        eventually(lambda: self.running and self.ask("SELECT 1", check=False) == "1", 30, f"{self.name} answers")
        return self

    def psql(self, *arguments: str) -> list[str]:
        return ["psql", "-XqAt", "-h", str(self.place), "-p", str(self.port), "-U", "postgres", "-d", "postgres",
                "-v", "ON_ERROR_STOP=1", *arguments]

    def ask(self, query: str, check: bool = True) -> str:
        """What a statement gives, as psql prints it."""
        return subprocess.run(self.psql("-c", query), capture_output=True, text=True, check=check, timeout=60).stdout.strip()

    def switch(self) -> str:
        """Begin a new segment and wait until the one before is archived; its name."""
        name = self.ask("SELECT pg_walfile_name(pg_switch_wal())")
        eventually(lambda: self.ask("SELECT last_archived_wal FROM pg_stat_archiver") >= name, 30, f"{name} is archived")
        return name


def digests(root: Path, *without: str) -> dict[str, str]:
    """What is in each file below a folder, also behind links."""
    found = {}
    for place, _, names in os.walk(root, followlinks=True):
        for path in (Path(place, name) for name in names):
            if str(path.relative_to(root)) not in without:
                found[str(path.relative_to(root))] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.fixture(scope="module")
def store() -> Iterator[Rclone]:
    """A store that verifies what boto 2 signs (moto does not know how), and has no conditional writes."""
    server = Rclone("store", folder())
    with running(server):
        server.start()
        server.until_ready()
        server.bucket("archives")
        yield server


@pytest.fixture(scope="module")
def moto() -> Iterator[Moto]:
    """A store with conditional writes."""
    server = Moto("moto", folder())
    with running(server):
        server.start()
        server.until_ready()
        server.bucket("archives")
        yield server


def pair(server: Endpoint, place: Path, name: str, cluster: Cluster | None = None, **more: str) -> tuple[Wale, Wale]:
    """Ours and the unmodified one on the same new prefix."""
    given = {"PGHOST": str(cluster.place), "PGPORT": str(cluster.port), "PGUSER": "postgres"} if cluster else {}
    given |= {"TMPDIR": "/tmp", **more}
    prefix = f"s3://archives/spilo/{name}/wal/17"
    # For a signature boto 2 takes the region from the name of the host: the first of three words; of four it would fail.
    host = {"WALE_S3_ENDPOINT": server.url.replace("://127.0.0.1:", "+path://127.0.1:"), "WALE_LOG_DESTINATION": "stderr"}
    return (Wale(OURS, server.folder(place / f"env-{name}", prefix, more=given)),
            Wale(STOCK, server.folder(place / f"env-{name}-stock", prefix, more={**given, **host})))


def keys(server: Endpoint, name: str) -> list[str]:
    """The objects below the prefix of `pair`."""
    prefix = f"spilo/{name}/wal/17/"
    listed = server.client().list_objects_v2(Bucket="archives", Prefix=prefix)
    return [one["Key"].removeprefix(prefix) for one in listed.get("Contents", [])]


def archiving(wale: Wale) -> dict[str, str]:
    return {"archive_mode": "on", "archive_command": " ".join(wale.command("wal-push", "%p"))}


@dataclass
class Source:
    """A cluster with a tablespace, backed up under load; `expected` is what statements gave after all of that."""

    store: Rclone
    cluster: Cluster
    ours: Wale
    stock: Wale
    last: str
    expected: dict[str, str]


@pytest.fixture(scope="module")
def source(store: Rclone) -> Iterator[Source]:
    """The cluster that the tests restore; it goes on running."""
    place = folder()
    cluster = Cluster("source", place)
    ours, stock = pair(store, place, "source", cluster)
    (place / "space").mkdir(mode=0o700)
    for litter in ("patroni.dynamic.json", "recovery.signal.not", "backup_manifest"):
        (cluster.data / litter).write_text("{}", encoding="utf-8")
    bench = ["pgbench", "-h", str(place), "-p", str(cluster.port), "-U", "postgres"]
    load = Process("load", [*bench, "-n", "-c", "2", "-T", "60", "postgres"], place)
    with running(cluster, load):
        cluster.up(**archiving(ours))
        cluster.ask(f"CREATE TABLESPACE space LOCATION '{place}/space'")
        subprocess.run([*bench, "-i", "-q", "-s", "2", "postgres"], check=True, capture_output=True)
        cluster.ask("CREATE TABLE apart TABLESPACE space AS SELECT generate_series(1, 5000) AS n")
        load.start()
        eventually(lambda: int(cluster.ask("SELECT count(*) FROM pgbench_history")) > 100, 20, "there is load")
        ours.run("backup-push", cluster.data)
        load.stop()
        cluster.ask("CREATE TABLE later AS SELECT 42 AS answer")
        expected = {query: cluster.ask(query) for query in (
            "SELECT count(*), sum(delta) FROM pgbench_history", "SELECT sum(abalance) FROM pgbench_accounts",
            "SELECT count(*), sum(n) FROM apart", "SELECT answer FROM later")}
        yield Source(store, cluster, ours, stock, cluster.switch(), expected)


def fetch(wale: Wale, cluster: Cluster, target: Path) -> Path:
    """The newest backup in a new folder, with the tablespace in another place than the cluster's."""
    link = target / "pg_tblspc" / next(path.name for path in (cluster.data / "pg_tblspc").iterdir())
    link.parent.mkdir(mode=0o700, parents=True)
    place = target.with_name(f"{target.name}-space")
    place.mkdir(mode=0o700)
    link.symlink_to(place)
    wale.run("backup-fetch", target, "LATEST")
    return target


def test_restore(source: Source, place: Path) -> None:
    """A backup that was taken under load comes back with all that was archived since, its tablespace in a new place. While
    it follows the archive no backup is taken from it."""
    data = fetch(source.ours, source.cluster, place / "restored")
    for litter in ("patroni.dynamic.json", "backup_manifest", "postmaster.pid"):
        assert not (data / litter).exists()
    (data / "standby.signal").touch()
    restored = Cluster("restored", place, data=data)
    with running(restored):
        restored.up(restore_command=" ".join(source.ours.command("wal-fetch", "--prefetch", "0", "%f", "%p")))
        eventually(lambda: restored.ask("SELECT answer FROM later", check=False) == "42", 30, "it has the last segment")
        ours, _ = pair(source.store, place, "replica", restored)
        assert "a replica" in ours.run("backup-push", data, code=5).stderr
        restored.ask("SELECT pg_promote()")
        assert {query: restored.ask(query) for query in source.expected} == source.expected
        assert restored.ask("SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'space'") == str(
            place / "restored-space")
        assert restored.ask("SELECT count(*) FROM pg_class WHERE relpersistence = 'p'") == source.cluster.ask(
            "SELECT count(*) FROM pg_class WHERE relpersistence = 'p'")


def test_stock_reads_ours(source: Source, place: Path) -> None:
    """Stock WAL-E lists and restores the same backup and the same segments, byte for byte."""
    assert source.stock.backups() == source.ours.backups()
    mine, other = fetch(source.ours, source.cluster, place / "ours"), fetch(source.stock, source.cluster, place / "stock")
    assert "backup_label" in digests(mine)
    # Ours makes the map agree with the links that are there; the unmodified one leaves where the backup came from.
    assert digests(mine, "tablespace_map") == digests(other, "tablespace_map")
    assert str(place) in (mine / "tablespace_map").read_text(encoding="utf-8")
    assert str(source.cluster.place) in (other / "tablespace_map").read_text(encoding="utf-8")
    for name in (source.last, next(key[8:-4] for key in keys(source.store, "source") if key.endswith(".backup.lzo"))):
        for wale in (source.ours, source.stock):
            wale.run("wal-fetch", "--prefetch", "0", name, place / f"{name}-{wale.program}")
        assert (place / f"{name}-{OURS}").read_bytes() == (place / f"{name}-{STOCK}").read_bytes()


def test_backup_list(source: Source) -> None:
    """The details of a backup are there, positions in WAL-E's spelling: eight decimal digits."""
    (row,) = source.ours.backups()
    assert row["name"] == f"base_{row['wal_segment_backup_start']}_{row['wal_segment_offset_backup_start']}"
    assert int(row["expanded_size_bytes"]) > 30_000_000
    label = next(key for key in keys(source.store, "source") if key.endswith(".backup.lzo"))
    assert label == f"wal_005/{row['wal_segment_backup_start']}.{int(row['wal_segment_offset_backup_start']):08X}.backup.lzo"
    assert row["wal_segment_backup_stop"] >= row["wal_segment_backup_start"]


@pytest.fixture(scope="module")
def stopped() -> Cluster:
    """A cluster that ran and is stopped."""
    cluster = Cluster("stopped", folder())
    with running(cluster):
        cluster.up()
        cluster.ask("CREATE TABLE first AS SELECT generate_series(1, 1000) AS n")
        cluster.ask("SELECT pg_switch_wal()")
        cluster.ask("CREATE TABLE second AS SELECT generate_series(1, 1000) AS n")
        cluster.stop()
    return cluster


def segments(cluster: Cluster) -> list[Path]:
    """The segments that hold WAL, without those that are to be used next."""
    def used(path: Path) -> bool:
        try:
            return path.is_file() and bool(wal.check(path.name, path.read_bytes()[: wal.HEADER], path.stat().st_size))
        except ValueError:
            return False

    return sorted(path for path in (cluster.data / "pg_wal").iterdir() if used(path))


def kept(cluster: Cluster) -> dict[str, str]:
    """The files of a stopped cluster that belong into a backup."""
    without = ("postgresql.conf", "pg_hba.conf", "pg_ident.conf", "postmaster.opts")
    return {name: digest for name, digest in digests(cluster.data, *without).items() if not name.startswith("pg_wal/")}


@pytest.mark.parametrize(("writer", "reader"), [(0, 1), (1, 0)], ids=["stock reads ours", "ours reads stock"])
def test_both_ways(store: Rclone, stopped: Cluster, place: Path, writer: int, reader: int) -> None:
    """Segments and an offline backup come back through the other WAL-E as they were, byte for byte."""
    both = pair(store, place, f"ways-{writer}")
    for segment in segments(stopped):
        both[writer].run("wal-push", "--pool-size", "1", segment)
        both[reader].run("wal-fetch", "--prefetch", "0", segment.name, place / segment.name)
        assert (place / segment.name).read_bytes() == segment.read_bytes()
    both[writer].run("backup-push", "--while-offline", stopped.data)
    both[reader].run("backup-fetch", place / "data", "LATEST")
    assert digests(place / "data") == kept(stopped)


def test_offline_name(store: Rclone, stopped: Cluster, place: Path) -> None:
    """An offline backup is named after the segment in which recovery begins, and starts with the WAL from the archive."""
    ours, _ = pair(store, place, "offline")
    for segment in segments(stopped):
        ours.run("wal-push", "--pool-size", "1", segment)
    ours.run("backup-push", "--while-offline", stopped.data)
    (row,) = ours.backups()
    assert row["wal_segment_backup_start"] == stopped_at(stopped)
    ours.run("backup-fetch", place / "data", "LATEST")
    (place / "data" / "recovery.signal").touch()
    (place / "data" / "pg_wal").mkdir(mode=0o700, exist_ok=True)
    restored = Cluster("restored", place, data=place / "data")
    with running(restored):
        restored.up(restore_command=" ".join(ours.command("wal-fetch", "--prefetch", "0", "%f", "%p")))
        assert restored.ask("SELECT count(*) FROM second") == "1000"


def stopped_at(cluster: Cluster) -> str:
    said = subprocess.run(["pg_controldata", cluster.data], capture_output=True, text=True, check=True).stdout
    return next(line.split()[-1] for line in said.splitlines() if line.startswith("Latest checkpoint's REDO WAL file"))


@pytest.mark.parametrize("server", ["store", "moto"])
def test_push_replaces_nothing(request: pytest.FixtureRequest, server: str, stopped: Cluster, place: Path) -> None:
    """The same segment again is all right; one of the same name with other content is refused, whatever the store is."""
    ours, _ = pair(request.getfixturevalue(server), place, "twice")
    original, changed = segments(stopped)[0], place / "pg_wal" / segments(stopped)[0].name
    changed.parent.mkdir()
    changed.write_bytes(original.read_bytes()[:-1] + b"?")
    ours.run("wal-push", "--pool-size", "1", original)
    ours.run("wal-push", "--pool-size", "1", original)
    assert "other content" in ours.run("wal-push", "--pool-size", "1", changed, code=5).stderr
    ours.run("wal-fetch", "--prefetch", "0", original.name, place / "back")
    assert (place / "back").read_bytes() == original.read_bytes()


def test_push_checks(store: Rclone, stopped: Cluster, place: Path) -> None:
    """A segment under a wrong name, and one for an archive of another cluster, are refused."""
    ours, _ = pair(store, place, "checked")
    segment = segments(stopped)[0]
    wrong = place / "000000010000000000000077"
    shutil.copy(segment, wrong)
    assert "not archived under its name" in ours.run("wal-push", "--pool-size", "1", wrong, code=5).stderr
    store.client().put_object(Bucket="archives", Key="spilo/checked/wal/17/spilo_005/system.json", Body=json.dumps({
        "system_identifier": "7000000000000000001"}))
    assert "7000000000000000001" in ours.run("wal-push", "--pool-size", "1", segment, code=5).stderr
    assert keys(store, "checked") == ["spilo_005/system.json"]


def test_fetch_tells_absent_from_unanswered(store: Rclone, moto: Moto, place: Path) -> None:
    """1, "no such file", is said only when the store said so: not when it refuses, is not there, or lacks the bucket."""
    name = "000000010000000000000042"
    fetching = ("wal-fetch", "--prefetch", "0", name, place / "segment")
    pair(store, place, "absent")[0].run(*fetching, code=1)
    pair(moto, place, "denied", AWS_SECRET_ACCESS_KEY="wrong")[0].run(*fetching, code=254)
    pair(moto, place, "bucket", WALE_S3_PREFIX="s3://nowhere/spilo")[0].run(*fetching, code=254)
    gone = Endpoint(f"http://127.0.0.1:{port()}", moto.key)
    said = pair(gone, place, "gone", WALE_RETRIES="1")[0].run(*fetching, code=254).stderr
    assert "the store does not answer" in said
    assert moto.key.secret not in said
    assert not (place / "segment").exists()


def test_mistakes(store: Rclone, stopped: Cluster, place: Path) -> None:
    """Mistyped commands and a missing prefix are answered by WAL-E; what could not be restored safely is refused."""
    ours, _ = pair(store, place, "mistakes")
    assert "invalid choice" in ours.run("backup-lsit", code=2).stderr
    assert "no storage prefix defined" in Wale(OURS, store.folder(place / "none", "")).run("backup-list", code=1).stderr
    assert "no backups found" in ours.run("backup-fetch", place / "x", "LATEST", code=1).stderr
    assert "is not offered" in ours.run("backup-fetch", "--restore-spec", "SOURCE", place / "x", "LATEST", code=5).stderr
    ours.run("backup-push", "--while-offline", stopped.data)
    file = place / "spec.json"
    file.write_text('{"tablespaces": []}', encoding="utf-8")
    said = ours.run("backup-fetch", "--restore-spec", file, place / "x", "LATEST", code=5).stderr
    assert "another directory" in said
    assert not (place / "x").exists()


def test_backup_is_the_server_s(source: Source, stopped: Cluster, store: Rclone, place: Path) -> None:
    """A backup of another directory than the server's is refused, as is one into another cluster's archive."""
    assert "not the data directory" in source.ours.run("backup-push", stopped.data, code=5).stderr
    ours, _ = pair(store, place, "foreign", source.cluster)
    store.client().put_object(Bucket="archives", Key="spilo/foreign/wal/17/spilo_005/system.json", Body=b'{"system_identifier": "7"}')
    assert "another cluster" in ours.run("backup-push", source.cluster.data, code=5).stderr
    assert keys(store, "foreign") == ["spilo_005/system.json"]


def test_damage_has_a_name(store: Rclone, stopped: Cluster, place: Path) -> None:
    """A changed byte in a partition or a segment ends the command with the name of the object."""
    ours, _ = pair(store, place, "damaged")
    segment = segments(stopped)[0]
    ours.run("wal-push", "--pool-size", "1", segment)
    ours.run("backup-push", "--while-offline", stopped.data)
    prefix = "spilo/damaged/wal/17/"
    for key in keys(store, "damaged"):
        if key.endswith(".lzo"):
            content = bytearray(store.client().get_object(Bucket="archives", Key=prefix + key)["Body"].read())
            content[len(content) // 2] ^= 1
            store.client().put_object(Bucket="archives", Key=prefix + key, Body=bytes(content))
    assert "part_00000000.tar.lzo" in ours.run("backup-fetch", place / "data", "LATEST", code=5).stderr
    assert segment.name in ours.run("wal-fetch", "--prefetch", "0", segment.name, place / "segment", code=254).stderr


def test_refused_delete(moto: Moto, stopped: Cluster, place: Path) -> None:
    """What the store does not let go is not reported as deleted."""
    ours, _ = pair(moto, place, "kept")
    ours.run("wal-push", "--pool-size", "1", segments(stopped)[0])
    reader = moto.user("s3:GetObject", "s3:ListBucket")
    other, _ = pair(moto, place / "reader", "kept", **reader.variables())
    assert "the store refuses" in other.run("delete", "--confirm", "everything", code=4).stderr
    assert len(keys(moto, "kept")) == 1


def test_full_disk(store: Rclone, stopped: Cluster, place: Path) -> None:
    """A restore that cannot write ends at once, with the name of the partition, and leaves no process behind."""
    ours, _ = pair(store, place, "full")
    ours.run("backup-push", "--while-offline", stopped.data)
    limited = ["prlimit", f"--fsize={64 << 10}", *ours.command("backup-fetch", place / "data", "LATEST")]
    done = subprocess.run(limited, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 5
    assert "part_00000000.tar.lzo" in done.stderr


def test_wal_elsewhere(store: Rclone, stopped: Cluster, place: Path) -> None:
    """The WAL of a restored cluster has its own place, also where that of the other one was behind a link."""
    copy = shutil.copytree(stopped.data, place / "copy")
    shutil.move(copy / "pg_wal", place / "wal")
    (copy / "pg_wal").symlink_to(place / "wal")
    ours, _ = pair(store, place, "elsewhere")
    ours.run("backup-push", "--while-offline", copy)
    ours.run("backup-fetch", place / "data", "LATEST")
    assert not (place / "data" / "pg_wal").is_symlink()
    assert list((place / "data" / "pg_wal").iterdir()) == []


def test_lost_session(store: Rclone, place: Path) -> None:
    """A backup whose session ends before PostgreSQL has handed out its label is none: it is not listed."""
    cluster = Cluster("lost", place)
    ours, _ = pair(store, place, "lost", cluster)
    pushing = Process("pushing", ours.command("backup-push", cluster.data), place)
    with running(cluster, pushing):
        cluster.up(archive_mode="on", archive_command="false")
        pushing.start()
        stopping = "FROM pg_stat_activity WHERE query LIKE '%pg_backup_stop(%' AND wait_event = 'BackupWaitWalArchive'"
        eventually(lambda: cluster.ask(f"SELECT count(*) {stopping}") == "1", 30, "the backup waits for the archive")
        cluster.ask(f"SELECT pg_terminate_backend(pid) {stopping}")
        assert pushing.wait(20) == 4
    assert ours.backups() == []


def test_prefetch(store: Rclone, place: Path) -> None:
    """The next segments are fetched ahead, also where segments have another size than 16 MB, and then used."""
    cluster = Cluster("small", place, "--wal-segsize=1")
    ours, _ = pair(store, place, "prefetch")
    with running(cluster):
        cluster.up()
        names = []
        for number in range(3):
            cluster.ask(f"CREATE TABLE t{number} AS SELECT {number} AS n")
            names.append(cluster.ask("SELECT pg_walfile_name(pg_switch_wal())"))
        cluster.stop()
    for name in names:
        ours.run("wal-push", "--pool-size", "1", cluster.data / "pg_wal" / name)
    first, second, _ = names
    ours.run("wal-fetch", "--prefetch", "2", first, "pg_wal/RECOVERYXLOG", cwd=cluster.data)
    ahead = cluster.data / "pg_wal" / ".wal-e" / "prefetch" / second
    eventually(ahead.exists, 20, "the next segment is there")
    said = ours.run("wal-fetch", "--prefetch", "2", second, "pg_wal/RECOVERYXLOG", cwd=cluster.data)
    assert "promoted prefetched" in said.stderr
    assert (cluster.data / "pg_wal" / "RECOVERYXLOG").read_bytes() == (cluster.data / "pg_wal" / second).read_bytes()


def test_delete_retain(store: Rclone, place: Path) -> None:
    """delete retain keeps the newest backups and their WAL; without --confirm it deletes nothing."""
    cluster = Cluster("small", place)
    ours, _ = pair(store, place, "retain", cluster)
    with running(cluster):
        cluster.up(**archiving(ours))
        for _ in range(2):
            ours.run("backup-push", "--cluster-read-rate-limit", "1000000000", cluster.data)
    before = keys(store, "retain")
    old, new = sorted(row["name"] for row in ours.backups())
    ours.run("delete", "retain", "1")
    assert keys(store, "retain") == before
    ours.run("delete", "--confirm", "retain", "1")
    left = keys(store, "retain")
    assert [row["name"] for row in ours.backups()] == [new]
    assert not [key for key in left if old in key]
    names = [key[8:32] for key in left if key.startswith("wal_005/")]
    assert min(names) == new[5:29]
    assert [key for key in before if key not in left] == [key for key in before if old in key or key[8:32] < new[5:29]]
