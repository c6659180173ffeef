"""The server of a recovered copy, while it is looked at: no network, a socket in a folder that only we can enter, little
memory, nothing of its own in the background; and it ends when the drill does."""

from __future__ import annotations

import contextlib
import ctypes
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import psycopg2.extensions

from runtime.basebackup import replay
from runtime.trouble import Exit, Trouble

PORT = 5432
_PR_SET_PDEATHSIG = 1  # prctl(2)
_SETTINGS = {"port": str(PORT), "shared_buffers": "32MB", "maintenance_work_mem": "32MB", "max_connections": "20",
             "archive_mode": "off", "fsync": "off", "max_wal_size": "512MB"}


@dataclass(frozen=True)
class Server:
    """A running server; its `socket` is a folder."""

    socket: Path
    user: str

    def connect(self, database: str) -> psycopg2.extensions.connection:
        connection = psycopg2.connect(host=str(self.socket), port=PORT, user=self.user, dbname=database,
                                      application_name="spilo drill")
        connection.autocommit = True
        return connection


@contextlib.contextmanager
def _door(folder: Path) -> Iterator[Path]:
    """The folder of the socket: not in scratch space, because the name of a socket has to be short. One drill at a time
    uses it; what one that was killed has left is removed by the next."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(0o700)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def running(data: Path, socket: Path, user: str) -> Iterator[Server]:
    """A server on `data`, stopped cleanly afterwards. Raises REFUSED where it does not start, or not stop."""
    hba, log = data.with_name("copy.hba"), data.with_name("copy.log")
    hba.write_text("local all all trust\n", encoding="ascii")
    settings = {**_SETTINGS, "unix_socket_directories": str(socket), "hba_file": str(hba)}
    with _door(socket), replay.place(data, settings) as arguments, open(log, "wb") as said:
        prctl = ctypes.CDLL(None).prctl  # not to be looked up between fork and exec
        process = subprocess.Popen(["postgres", *arguments], env=replay.environment(), stdin=subprocess.DEVNULL, stdout=said,
                                   stderr=said, preexec_fn=lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT))  # noqa: PLW1509
        try:
            server = Server(socket, user)
            _wait(process, server, log)
            yield server
            process.send_signal(signal.SIGINT)
            if process.wait():
                raise Trouble(Exit.REFUSED, "the copy does not stop cleanly", _last(log))
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGQUIT)
                process.wait()


def _wait(process: subprocess.Popen[bytes], server: Server, log: Path) -> None:
    while process.poll() is None:
        with contextlib.suppress(psycopg2.OperationalError):
            server.connect("template1").close()
            return
        time.sleep(0.1)
    raise Trouble(Exit.REFUSED, "the recovered copy does not start", _last(log))


def _last(log: Path) -> str:
    """The last thing that the server said."""
    return (log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["it said nothing"])[-1]
