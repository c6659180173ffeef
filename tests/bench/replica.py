"""A new replica measured: out of the archive, and from the running primary, until it has replayed what the primary has.

Both in turn, on the same database (REPLICA_SCALE of pgbench, 140 is about 2 GB) with a tenth of its size in WAL since the backup.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

from runtime import archive, wal
from runtime.basebackup import catalog, read, write
from runtime.store import Store
from tests.bench.report import compare
from tests.bench.wal import PATIENCE, ROOM, RUNS
from tests.component.archiving import Archiver, Postgres, opened
from tests.component.support import eventually, running
from tests.kit.s3 import Rclone

SCALE = int(os.environ.get("REPLICA_SCALE", "140"))


class Measured:
    """A primary, its archive, and the ways to copy it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = Rclone("rclone-replica", folder)
        self.server.start()
        self.server.until_ready()
        prefix = f"{self.server.bucket('replica')}/a"
        self.archiver = Archiver("archiver", folder, self.server.folder(folder / "env", prefix), folder / "primary")
        self.primary, self.standby = Postgres("primary", folder, self.archiver), Postgres("standby", folder)
        self.primary.push = archive.push_command(str(self.archiver.socket))
        self.standby.push = ""
        self.store: Store = opened(self.server, prefix)

    @property
    def dsn(self) -> str:
        return f"host={self.folder} port={self.primary.port} user=postgres dbname=postgres"

    def fill(self) -> None:
        """The database, its backup, and WAL after it."""
        self.primary.create(16)
        self.archiver.start()
        self.primary.start()
        subprocess.run(["pgbench", "--initialize", "--quiet", f"--scale={SCALE}", self.dsn], check=True, capture_output=True)
        self.primary.value("SELECT pg_create_physical_replication_slot('standby')")
        backup = write.take(write.Job(self.store, self.dsn, self.primary.data))
        self.primary.write(int((backup.size or 0) / 10e6), random=True)
        self.primary.archived(self.primary.switch(), PATIENCE)
        print(f"{(backup.size or 0) / 1e9:.2f} GB, then a tenth of it in WAL", flush=True)

    def out_of_the_archive(self) -> None:
        """As runtime/replica/from_backup.py restores; the rest of the WAL comes as recovery asks for it."""
        backup = catalog.read(self.store).newest()
        assert backup is not None
        read.restore(self.store, backup, self.standby.data)

    def from_the_primary(self) -> None:
        """As runtime/replica/from_leader.py calls it."""
        subprocess.run(["pg_basebackup", f"--pgdata={self.standby.data}", f"--dbname={self.dsn}", "--slot=standby", "--wal-method=stream",
                        "--checkpoint=fast"], check=True, capture_output=True)

    def until_current(self) -> None:
        self.standby.configure(archive_mode="off", primary_conninfo=self.dsn, primary_slot_name="standby", max_wal_size="2GB",
                               restore_command=archive.fetch_command(str(self.archiver.socket), "standby"))
        (self.standby.data / "standby.signal").touch()
        end = self.primary.lsn()
        self.standby.start(wait=False)
        eventually(lambda: (self.standby.value("SELECT pg_last_wal_replay_lsn()", quiet=True) or "0/0") != "0/0"
                   and wal.parse_lsn(self.standby.value("SELECT pg_last_wal_replay_lsn()")) >= end, PATIENCE, "the replica is current")


def replica() -> None:
    """Seconds until a replica of the whole database is current."""
    folder = ROOM / "replica"
    folder.mkdir()
    here = Measured(folder)
    ways = {"out of the archive": here.out_of_the_archive, "from the primary": here.from_the_primary}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    with running(here.server, here.archiver, here.primary, here.standby):
        here.fill()
        for number in range(RUNS):
            for name, copy in ways.items():
                shutil.rmtree(here.standby.data, ignore_errors=True)
                os.sync()
                start = time.monotonic()
                copy()
                here.until_current()
                seconds[name].append(time.monotonic() - start)
                here.standby.stop()
                print(f"{name}, run {number + 1}: {seconds[name][-1]:.1f} s", flush=True)
    compare("A replica that is current", "seconds", {"replica": seconds})
