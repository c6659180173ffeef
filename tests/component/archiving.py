"""PostgreSQL with the resident archiver, without Patroni: what the tests of the archive start, and how they compare.

As a program (`python -m tests.component.archiving FOLDER PLACE DATA SILENCE`) it is the archiver of a member that may archive.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import psycopg2
import psycopg2.extensions

from runtime import archive, lzop, wal
from runtime.archive.ask import ask
from runtime.log import Log
from runtime.store import Store
from tests.component.support import Process, eventually, port
from tests.kit.s3 import Endpoint, bare


class Anybody:
    """A guard for a PostgreSQL without Patroni."""

    def may(self, data: Path) -> bool:
        return True


class Archiver(Process):
    """The resident archiver, with its watchdog; `data` None: the reader of an archive, as the boot starts it."""

    def __init__(self, name: str, place: Path, folder: Path, data: Path | None, silence: float = 20.0) -> None:
        self.socket, self.status_file, self.spool = place / f"{name}.sock", place / f"{name}.json", place / f"{name}-spool"
        command = [sys.executable, "-m", "tests.component.archiving", str(folder), name, str(place), str(data), str(silence)]
        if data is None:
            command = list(archive.source_command(str(folder), str(self.socket), str(self.spool)))
        super().__init__(name, command, place, bare({}))

    def start(self) -> None:
        super().start()
        eventually(lambda: self.child, 20, f"{self.name} answers")

    @property
    def child(self) -> int:
        """The process that does the work; 0 while it does not answer."""
        code, text = ask(self.socket, "ping", silence=2)
        return int(text) if code == 0 else 0

    def status(self) -> dict[str, Any]:
        return dict(json.loads(self.status_file.read_text()))

    def memory(self) -> int:
        """Bytes that the process which does the work had at most."""
        text = Path(f"/proc/{self.child}/status").read_text()
        return next(int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("VmHWM"))


class Postgres(Process):
    """A PostgreSQL on a unix socket, which keeps a copy of each file that it has archived, in `kept`."""

    def __init__(self, name: str, place: Path, archiver: Archiver | None = None) -> None:
        self.data, self.kept, self.place, self.port = place / name, place / f"{name}-kept", place, port()
        self.kept.mkdir(exist_ok=True)
        super().__init__(name, ["postgres", "-D", str(self.data)], place, bare({}))
        if archiver:
            self.push = f'cp "%p" {self.kept}/%f && {archive.push_command(str(archiver.socket))}'

    def configure(self, **settings: str) -> None:
        values = {"fsync": "off", "listen_addresses": "", "unix_socket_directories": str(self.place), "port": str(self.port),
                  "archive_mode": "on", "archive_command": self.push, "min_wal_size": "200MB", "max_wal_size": "2GB",
                  "wal_level": "replica", "shared_buffers": "16MB", "log_min_messages": "warning", **settings}
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value.replace(chr(39), chr(39) * 2)}'\n" for name, value in values.items())

    def create(self, segment: int = 1, **settings: str) -> None:
        """A new cluster with segments of so many megabytes."""
        subprocess.run(["initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "--no-sync", f"--wal-segsize={segment}"],
                       check=True, capture_output=True)
        self.configure(**settings)

    def copy_of(self, other: Postgres, **settings: str) -> None:
        """A copy of another one, that fetches its WAL from the archive (`restore_command` among the settings)."""
        shutil.rmtree(self.data, ignore_errors=True)
        subprocess.run(["pg_basebackup", "-h", str(other.place), "-p", str(other.port), "-U", "postgres", "-D", str(self.data),
                        "-X", "none", "-c", "fast", "--no-sync"], check=True, capture_output=True)
        self.data.chmod(0o700)
        self.configure(**settings)

    def start(self, wait: bool = True) -> None:
        super().start()
        if wait:
            eventually(lambda: self.value("SELECT 1", quiet=True), 30, f"{self.name} accepts connections")

    def processes(self) -> list[psutil.Process]:
        """Those that work in the data directory, whoever their parent is."""
        found = []
        for one in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if one.status() != psutil.STATUS_ZOMBIE and one.cwd() == str(self.data):
                    found.append(one)
        return found

    def connect(self) -> psycopg2.extensions.connection:
        connection = psycopg2.connect(host=str(self.place), port=self.port, user="postgres", dbname="postgres")
        connection.autocommit = True
        return connection

    def value(self, query: str, quiet: bool = False) -> Any:
        """The one value of a query; `quiet`: None while there is no server."""
        try:
            with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
                cursor.execute(query)
                return cursor.fetchone()[0] if cursor.description else None
        except psycopg2.OperationalError:
            if not quiet:
                raise
            return None

    def write(self, megabytes: int, random: bool = False) -> None:
        """WAL of so many megabytes, which compresses well, or not at all when it is `random`."""
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            for number in range(megabytes):
                content = os.urandom(1 << 20) if random else number.to_bytes(16) * (1 << 16)
                cursor.execute("SELECT pg_logical_emit_message(false, 'test', %s)", (psycopg2.Binary(content),))

    def switch(self) -> str:
        """End the segment; its name."""
        self.value("SELECT pg_logical_emit_message(false, 'test', 'so that there is something in it')")
        return str(self.value("SELECT pg_walfile_name(pg_switch_wal())"))

    def archived(self, name: str, seconds: float = 60) -> None:
        """Wait until everything up to the segment `name` is archived."""
        done = self.data / "pg_wal" / "archive_status" / f"{name}.ready"
        eventually(lambda: not done.exists() and self.value("SELECT last_archived_wal FROM pg_stat_archiver") >= name, seconds,
                   f"{name} is archived")

    def lsn(self, what: str = "pg_current_wal_lsn()") -> int:
        return wal.parse_lsn(self.value(f"SELECT {what}"))


def opened(server: Endpoint, prefix: str) -> Store:
    """The store as the product sees it, in this process."""
    os.environ.update(server.environment(prefix))
    return Store.open(attempts=3)


def compare(store: Store, *kept: Path) -> list[str]:
    """Each file that a PostgreSQL gave away is in the store, byte for byte, and nothing else is; their names."""
    names = sorted(file.name for folder in kept for file in folder.iterdir())
    for folder in kept:
        for file in folder.iterdir():
            assert lzop.unpack(store.get(f"wal_005/{file.name}.lzo")) == file.read_bytes(), file.name
    assert [one.key for one in store.list("wal_005/")] == sorted(f"wal_005/{name}.lzo" for name in set(names))
    return names


def main() -> int:
    from runtime.archive import daemon
    from runtime.archive.daemon import Daemon, Own, Source, thrifty
    from runtime.archive.watchdog import watch

    daemon.TIMEOUT = 3.0  # tests wait for it
    folder, name, place, data, silence = sys.argv[1:]
    log, base = Log("archiver"), Path(place)

    def work(alive: Any) -> int:
        thrifty()
        own = Own(Path(data), base / f"{name}.json", 4, Anybody())
        return Daemon(Source(Path(folder), base / f"{name}.sock", base / f"{name}-spool"), own, log).run(alive)

    return watch(work, log, float(silence))


if __name__ == "__main__":
    sys.exit(main())
