"""The tools that the benchmark of archives compares, each behind the same few methods."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from runtime import archive
from tests.bench.sample import Sample, run
from tests.component import archiving
from tests.kit.s3 import Rclone

BUCKET = "bench"
CORES = 2  # for tools that want to be told
# The unmodified WAL-E, with one correction in its favour: what it starts to fetch ahead dies on any Python from 3.7 on.
WALE = """#!/usr/bin/python3.11
import os, sys
sys.path.insert(0, "/opt/stock")
sys.dont_write_bytecode = True
os.environ["S3_USE_SIGV4"] = "True"
from wal_e.cmd import main
from wal_e.pep3143daemon import daemon
daemon.parent_is_inet = lambda: False
sys.exit(main())
"""
TAKE = """
import sys
from pathlib import Path
from runtime.basebackup.write import Job, take
from runtime.store import Store
folder, dsn, data = sys.argv[1:]
take(Job(Store.open(Path(folder)), dsn, Path(data)))
"""
RESTORE = """
import sys
from pathlib import Path
from runtime.basebackup import catalog, read
from runtime.store import Store
folder, data = sys.argv[1:]
store = Store.open(Path(folder))
read.restore(store, catalog.read(store).backups[-1], Path(data))
"""


class Place:
    """Where a contestant works: a folder of its own, the store in plain http and with TLS, the database."""

    def __init__(self, folder: Path, plain: Rclone, secure: Rclone, sample: Sample) -> None:
        self.folder, self.plain, self.secure, self.sample = folder, plain, secure, sample

    def fresh(self, name: str) -> Path:
        """A new, empty folder."""
        made = self.folder / name
        shutil.rmtree(made, ignore_errors=True)
        made.mkdir(parents=True)
        return made

    def variables(self, name: str) -> Path:
        """An envdir of a new prefix."""
        database = {"PGHOST": str(self.sample.place), "PGPORT": str(self.sample.port), "PGUSER": "postgres", "PGDATABASE": "postgres"}
        shutil.rmtree(self.folder / "env" / name, ignore_errors=True)
        return self.plain.folder(self.folder / "env" / name, f"s3://{BUCKET}/{name}", more={**database, "WALE_LOG_DESTINATION": "stderr"})


class Archiver:
    """Archives and restores WAL: `push` and `fetch` are commands as in PostgreSQL's configuration, with %p and %f.

    `begin` makes an empty archive for the data directory `data` and sets both, `again` comes between pushing and
    fetching, `end` ends whatever `begin` started. None of them is measured.
    """

    push = fetch = ""

    def __init__(self, name: str, place: Place) -> None:
        self.name, self.place = name, place

    def begin(self, data: Path, run: str) -> None:
        raise NotImplementedError

    def again(self, data: Path) -> None:
        pass

    def end(self) -> None:
        pass


class Resident(Archiver):
    """Ours: the resident archiver and its client. Its guard, which asks Patroni who is primary, says yes."""

    def __init__(self, place: Place) -> None:
        super().__init__("spilo", place)

    def begin(self, data: Path, run: str) -> None:
        folder = self.place.variables(f"spilo-{run}")
        self.server = archiving.Archiver("archiver", self.place.fresh("spilo"), folder, data)
        self.server.start()
        socket = str(self.server.socket)
        self.push, self.fetch = (line.replace("%%", "%") for line in (
            archive.push_command(socket), archive.fetch_command(socket, "standby")))

    def end(self) -> None:
        self.server.kill()


class Copy(Archiver):
    """`cp` to a folder on the same disk."""

    def begin(self, data: Path, run: str) -> None:
        folder = self.place.fresh("copied")
        self.push, self.fetch = f"cp %p {folder}/%f", f"cp {folder}/%f %p"


class Wale(Archiver):
    """WAL-E as others run it, with so many uploads at once, and so many segments fetched ahead."""

    def __init__(self, pool: int, ahead: int, place: Place) -> None:
        super().__init__(f"wal-e, pool {pool}, ahead {ahead}", place)
        self.pool, self.ahead = pool, ahead

    def begin(self, data: Path, run: str) -> None:
        folder = self.place.variables(f"wale-{self.pool}-{run}")
        # For a signature boto 2 takes the region from the name of the host: the first of three words; of four it would fail.
        (folder / "WALE_S3_ENDPOINT").write_text(self.place.plain.url.replace("://127.0.0.1:", "+path://127.0.1:"))
        self.program = program = self.place.fresh("wale") / "wal-e"
        program.write_text(WALE)
        program.chmod(0o755)
        wale = f"envdir {folder} {program} --terse"
        self.push, self.fetch = f"{wale} wal-push --pool-size {self.pool} %p", f"{wale} wal-fetch --prefetch {self.ahead} %f %p"

    def end(self) -> None:
        end_all(str(self.program))


def end_all(word: str) -> None:
    """End what a tool left running in the background: its processes have `word` in their command line."""
    for one in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(word in part for part in one.cmdline()):
                one.kill()
                one.wait(5)


def pgbackrest(place: Place, data: Path, run_name: str, port: int) -> list[str]:
    """A new stanza of pgBackRest; the command line that works on it."""
    folder = place.fresh("pgbackrest")
    server = place.secure
    settings = {
        "repo1-type": "s3", "repo1-path": f"/pgbackrest-{run_name}", "repo1-s3-bucket": BUCKET, "repo1-s3-endpoint": "127.0.0.1",
        "repo1-storage-port": server.port, "repo1-s3-key": server.key.id, "repo1-s3-key-secret": server.key.secret,
        "repo1-s3-region": "eu-central-1", "repo1-s3-uri-style": "path", "repo1-storage-ca-file": server.ca,
        "repo1-retention-full": 99, "compress-type": "zst", "compress-level": 1, "process-max": CORES, "archive-async": "y",
        "archive-check": "n", "start-fast": "y", "spool-path": folder / "spool", "log-path": folder / "log", "lock-path": folder / "lock",
        "log-level-console": "warn", "log-level-file": "off",
    }
    stanza = {"pg1-path": data, "pg1-port": port, "pg1-socket-path": place.sample.place, "pg1-user": "postgres"}
    config = folder / "pgbackrest.conf"
    config.write_text("".join(f"[{name}]\n" + "".join(f"{key}={value}\n" for key, value in section.items())
                              for name, section in (("global", settings), ("main", stanza))))
    for key in ("spool-path", "log-path", "lock-path"):
        Path(str(settings[key])).mkdir()
    command = ["pgbackrest", f"--config={config}", "--stanza=main"]
    run(*command, "--no-online", "stanza-create")
    return command


class PgBackRest(Archiver):
    """pgBackRest with its asynchronous archiver, zstd level 1."""

    def __init__(self, place: Place) -> None:
        super().__init__("pgBackRest async", place)

    def begin(self, data: Path, run: str) -> None:
        command = " ".join(pgbackrest(self.place, data, run, self.place.sample.port))
        self.push, self.fetch = f"{command} archive-push %p", f"{command} archive-get %f %p"

    def again(self, data: Path) -> None:
        shutil.rmtree(self.place.folder / "pgbackrest" / "spool")
        (self.place.folder / "pgbackrest" / "spool").mkdir()

    def end(self) -> None:
        end_all(str(self.place.folder / "pgbackrest"))


class Backup:
    """Makes base backups of the sample's data directory: `push` a new one, `fetch` the last one into an empty folder.
    `begin` and `end` are not measured."""

    def __init__(self, name: str, place: Place) -> None:
        self.name, self.place = name, place

    def begin(self, run: str) -> None:
        pass

    def end(self) -> None:
        pass

    push: Callable[[], None] | None = None

    def fetch(self, target: Path) -> None:
        raise NotImplementedError


class OurBackup(Backup):
    """Ours, which waits until the archiver has the WAL of the backup, and returns when what it restored is on disk."""

    def __init__(self, place: Place) -> None:
        super().__init__("spilo", place)

    def begin(self, run: str) -> None:
        sample = self.place.sample
        self.folder = self.place.variables(f"spilo-base-{run}")
        self.server = archiving.Archiver("archiver", self.place.fresh("spilo"), self.folder, sample.data)
        self.server.start()
        sample.archive_with(archive.push_command(str(self.server.socket)))

    def push(self) -> None:
        sample = self.place.sample
        run(sys.executable, "-c", TAKE, self.folder, f"host={sample.place} port={sample.port} user=postgres dbname=postgres", sample.data)

    def fetch(self, target: Path) -> None:
        run(sys.executable, "-c", RESTORE, self.folder, target)

    def end(self) -> None:
        self.place.sample.archive_with("true")
        self.server.kill()


class WaleBackup(Backup):
    """WAL-E with our cures: as it is it cannot back PostgreSQL 17 up."""

    def __init__(self, place: Place) -> None:
        super().__init__("wal-e", place)

    def begin(self, run: str) -> None:
        self.command = ["envdir", str(self.place.variables(f"wale-base-{run}")), "wal-e", "--terse"]

    def push(self) -> None:
        run(*self.command, "backup-push", self.place.sample.data)

    def fetch(self, target: Path) -> None:
        run(*self.command, "backup-fetch", target, "LATEST")


class PgBackRestBackup(Backup):
    """pgBackRest, full backups, zstd level 1."""

    def __init__(self, place: Place) -> None:
        super().__init__("pgBackRest", place)

    def begin(self, run: str) -> None:
        self.command = pgbackrest(self.place, self.place.sample.data, f"base-{run}", self.place.sample.port)

    def push(self) -> None:
        run(*self.command, "--type=full", "backup")

    def fetch(self, target: Path) -> None:
        run(*self.command, f"--pg1-path={target}", "--archive-mode=off", "restore")


class PgBaseBackup(Backup):
    """pg_basebackup from the running server over TCP: nothing is kept anywhere, so there is only one way."""

    def __init__(self, place: Place) -> None:
        super().__init__("pg_basebackup", place)

    def fetch(self, target: Path) -> None:
        sample = self.place.sample
        run("pg_basebackup", "-h", "127.0.0.1", "-p", sample.port, "-U", "postgres", "-D", target, "-X", "none", "-c", "fast")
