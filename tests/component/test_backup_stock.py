"""Base backups have WAL-E's format: a stock wal-e restores ours, and we restore and list what a wal-e has written."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from runtime.basebackup import catalog, read, write
from runtime.store import Store
from tests.component.archiving import Archiver, Postgres, opened
from tests.component.support import folder, running
from tests.component.test_wale import OURS, STOCK, digests
from tests.kit.s3 import Rclone

PREFIX, OFFLINE = "s3://here/both", "s3://here/offline"


@dataclass
class Site:
    """A PostgreSQL with a tablespace that archives into a store."""

    server: Rclone
    postgres: Postgres
    store: Store

    def wale(self, program: str, prefix: str, *arguments: str | Path) -> str:
        """What one of the two WAL-E says, called as operators do."""
        more = {"PGHOST": str(self.postgres.place), "PGPORT": str(self.postgres.port), "PGUSER": "postgres"}
        # For a signature boto 2 takes the region from the name of the host: the first of three words; of four it would fail.
        host = {"WALE_S3_ENDPOINT": self.server.url.replace("://127.0.0.1:", "+path://127.0.1:"), "WALE_LOG_DESTINATION": "stderr"}
        env = self.server.folder(folder() / "env", prefix, more={**more, **(host if program == STOCK else {})})
        done = subprocess.run(["envdir", str(env), program, *map(str, arguments)], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stdout
        return done.stdout


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    place, before = folder(), dict(os.environ)
    server = Rclone("stock-store", place)
    with running(server):
        server.start()
        server.until_ready()
        server.bucket("here")
        env = server.folder(place / "env", PREFIX)
        archiver = Archiver("archiver-stock", place, env, place / "pg")
        postgres = Postgres("pg", place, archiver)
        postgres.create(16, log_timezone="UTC")
        with running(postgres, archiver):
            archiver.start()
            postgres.start()
            (place / "space").mkdir()
            postgres.value(f"CREATE TABLESPACE elsewhere LOCATION '{place / 'space'}'")
            postgres.value("CREATE TABLE here AS SELECT generate_series(1, 300000) AS n")
            postgres.value("CREATE TABLE there TABLESPACE elsewhere AS SELECT generate_series(1, 300000) AS n")
            yield Site(server, postgres, opened(server, PREFIX))
    os.environ.clear()
    os.environ.update(before)


def test_stock_restores_ours(site: Site, place: Path) -> None:
    """What a stock wal-e restores of our backup is what we restore of it, byte for byte, tablespaces too; it lists it with its
    sizes."""
    dsn = f"host={site.postgres.place} port={site.postgres.port} user=postgres dbname=postgres"
    backup = write.take(write.Job(site.store, dsn, site.postgres.data, target=4 << 20))
    assert len(backup.parts) > 4
    oid, = backup.tablespaces
    read.restore(site.store, backup, place / "ours", tablespaces={oid: place / "ours-space"})
    for one in (place / "stock" / "pg_tblspc", place / "stock-space"):
        one.mkdir(0o700, parents=True)
    (place / "stock" / "pg_tblspc" / str(oid)).symlink_to(place / "stock-space")
    site.wale(STOCK, PREFIX, "backup-fetch", place / "stock", backup.name)
    ours = digests(place / "ours", "tablespace_map")
    assert digests(place / "stock", "tablespace_map") == ours
    assert len(ours) > 900 and any(name.startswith(f"pg_tblspc/{oid}/") for name in ours)
    assert {one.name for one in (place / "stock").iterdir()} == {one.name for one in (place / "ours").iterdir()}
    listed = site.wale(STOCK, PREFIX, "backup-list", "--detail")
    assert backup.name in listed and str(backup.size) in listed


def test_ours_restores_wal_e(site: Site, place: Path) -> None:
    """A backup that wal-e took is listed with its true position and finish time, and restored with its tablespaces."""
    before = time.time()
    site.wale(OURS, PREFIX, "backup-push", site.postgres.data)
    backup = catalog.read(site.store).find("LATEST")
    assert backup is not None and backup.tool == "wal-e" and not backup.guessed
    assert before - 1 <= (backup.finished or 0) <= time.time() + 1
    assert backup.stop_lsn is not None and backup.stop_lsn > backup.start_lsn
    assert backup.segment_size == 16 << 20 and backup.version.startswith("PostgreSQL 17")
    oid, = backup.tablespaces
    read.restore(site.store, backup, place / "to", tablespaces={oid: place / "to-space"})
    label = (place / "to" / "backup_label").read_text()
    assert "START WAL LOCATION" in label
    assert (place / "to" / "tablespace_map").read_text() == f"{oid} {place / 'to-space'}\n"
    assert (place / "to" / "pg_wal" / "archive_status").is_dir()
    copied = digests(place / "to", "backup_label", "tablespace_map", "global/pg_control")
    there = digests(site.postgres.data)
    relations = [name for name in copied if name.startswith(("base/", "pg_tblspc/")) and "pg_internal" not in name]
    assert len(relations) > 800
    assert [name for name in relations if copied[name] != there.get(name)] == []


def test_stock_offline(site: Site, place: Path) -> None:
    """A backup that a stock wal-e made of a stopped cluster needs no label, and its time is the store's, which is marked."""
    postgres = Postgres("stopped", place)
    postgres.push = ""
    postgres.create(16)
    site.wale(STOCK, OFFLINE, "backup-push", "--while-offline", postgres.data)
    store = opened(site.server, OFFLINE)
    backup = catalog.read(store).find("LATEST")
    assert backup is not None and backup.guessed and backup.problem is None
    read.restore(store, backup, place / "to")
    ours, before = digests(place / "to"), digests(postgres.data)
    assert {name: ours[name] for name in ours if name.startswith(("base/", "global/"))} == {
        name: before[name] for name in before if name.startswith(("base/", "global/"))}
