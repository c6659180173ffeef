"""What the benchmark of archives works on: a database with pgbench's tables, and WAL as pgbench writes it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.component.support import Process, eventually, port

CLIENTS = 4
PARAMETERS = {
    "fsync": "off", "shared_buffers": "256MB", "wal_level": "replica", "max_wal_size": "1GB", "wal_keep_size": "100GB",
    "archive_mode": "on", "archive_command": "true", "max_wal_senders": "4", "summarize_wal": "off",
}


class Sample:
    """A database at `data`. `stopped` and `started` say how it is, `segments` are kept apart in `wal`, oldest first."""

    def __init__(self, place: Path, scale: int) -> None:
        self.place, self.data, self.wal, self.port = place, place / "data", place / "wal", port()
        run("initdb", "--pgdata", self.data, "--username", "postgres", "--auth", "trust", "--no-sync", "--locale", "C.UTF-8")
        settings = {**PARAMETERS, "port": self.port, "unix_socket_directories": str(place), "listen_addresses": "127.0.0.1"}
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        self.server = Process("postgres", ["postgres", "-D", str(self.data)], place)
        self.start()
        self.pgbench("--initialize", "--quiet", f"--scale={scale}")
        self.wal.mkdir()

    def start(self) -> None:
        self.server.start()
        ready = ["pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        eventually(lambda: subprocess.run(ready, check=False).returncode == 0, 60, "PostgreSQL answers")

    def stop(self) -> None:
        """A clean end."""
        run("pg_ctl", "stop", "--pgdata", self.data, "--mode", "fast", "--silent")
        self.server.wait(60)

    def pgbench(self, *arguments: str) -> None:
        run("pgbench", "-h", self.place, "-p", self.port, "-U", "postgres", *arguments, "postgres")

    def query(self, statement: str) -> str:
        """The one value of a statement."""
        return run("psql", "-XAtq", "-h", self.place, "-p", self.port, "-U", "postgres", "-d", "postgres", "-c", statement)

    def archive_with(self, command: str) -> None:
        """Another archive_command for the running server."""
        quoted = command.replace("'", "''")
        self.query(f"ALTER SYSTEM SET archive_command = '{quoted}'")
        self.query("SELECT pg_reload_conf()")

    def write(self, count: int) -> list[str]:
        """Run pgbench until `count` segments are full; the names of their copies in `wal`."""
        self.query("SELECT pg_switch_wal()")
        first = self.query("SELECT pg_walfile_name(pg_current_wal_lsn() + 1)")
        while len(full := self._full(first)) < count:
            self.query("CHECKPOINT")  # now and then, as a busy server does; images of whole pages follow
            self.pgbench("--time=3", f"--client={CLIENTS}", "--jobs=2")
        for name in full[:count]:
            shutil.copyfile(self.data / "pg_wal" / name, self.wal / name)
        return full[:count]

    def _full(self, first: str) -> list[str]:
        """The segments from `first` that will not be written to any more."""
        current = self.query("SELECT pg_walfile_name(pg_current_wal_lsn())")
        return sorted(one.name for one in (self.data / "pg_wal").iterdir() if len(one.name) == 24 and first <= one.name < current)

    def skeleton(self, place: Path, names: list[str]) -> Path:
        """A data directory as far as an archiver looks: these segments, all of them waiting to be archived."""
        shutil.rmtree(place, ignore_errors=True)
        status = place / "pg_wal" / "archive_status"
        status.mkdir(parents=True)
        place.chmod(0o700)
        (place / "global").mkdir()
        for name in ("PG_VERSION", "global/pg_control"):
            shutil.copyfile(self.data / name, place / name)
        for name in names:
            os.link(self.wal / name, place / "pg_wal" / name)
            (status / f"{name}.ready").touch()
        return place

    def size(self) -> int:
        """Bytes of the data directory without WAL."""
        return directory_size(self.data)


def directory_size(data: Path) -> int:
    """Bytes of a data directory without its WAL."""
    return sum(file.stat().st_size for file in data.rglob("*") if file.is_file() and "pg_wal" not in file.parts)


def run(*command: object, environ: dict[str, str] | None = None) -> str:
    """Standard output of a command; what it said, if it failed."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
                          env=None if environ is None else {**os.environ, **environ})
    if done.returncode:
        raise RuntimeError(f"{command}: exit code {done.returncode}: {(done.stderr or done.stdout)[-2000:]}")
    return done.stdout.strip()
