"""A new replica as a copy of the primary: first the replication slot, so that no WAL can go missing, then the copy.

Patroni calls it with an empty data directory, the connection string of the primary, and the password in PGPASSFILE.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg2
from psycopg2.extras import PhysicalReplicationConnection

from runtime.log import Log
from runtime.spec import load
from runtime.tool import tool
from runtime.trouble import Exit, Trouble, run

LOG = Log("replica.from_leader")
EVERY = 5.0  # seconds between two lines of progress


def command(spec: str) -> str:
    """Command line, to which Patroni adds --scope, --role, --datadir and --connstring."""
    return shlex.join(tool("runtime.replica.from_leader", f"--spec={spec}"))


def marker(data: Path) -> Path:
    """The file beside a data directory that says: an unfinished copy of ours, never in use, of no value."""
    return data.with_name(f"{data.name}.copying")


def slot_name(member: str) -> str:
    """The name that Patroni gives to the slot of a member."""
    from patroni.dcs import slot_name_from_member_name

    return str(slot_name_from_member_name(member))


def register(connstring: str, slot: str) -> bool:
    """Make sure that the primary has the slot, with its WAL reserved. True if it was made here; raises Trouble."""
    try:
        connection = psycopg2.connect(connstring, connection_factory=PhysicalReplicationConnection, connect_timeout=5)
    except psycopg2.Error as error:
        raise Trouble(Exit.RETRY, "the primary cannot be reached for replication", str(error).strip()) from None
    with connection.cursor() as cursor:
        cursor.execute(f"READ_REPLICATION_SLOT {slot}")
        if cursor.fetchone()[0] is not None:
            return False
        cursor.execute(f"CREATE_REPLICATION_SLOT {slot} PHYSICAL (RESERVE_WAL)")
        return True


def unregister(connstring: str, slot: str) -> None:
    """Drop the slot again, so that a copy that failed does not hold the primary's WAL."""
    try:
        connection = psycopg2.connect(connstring, connection_factory=PhysicalReplicationConnection, connect_timeout=5)
        with connection.cursor() as cursor:
            cursor.execute(f"DROP_REPLICATION_SLOT {slot}")
        LOG.info("replication slot dropped again", slot=slot)
    except psycopg2.Error as error:
        LOG.warning("replication slot could not be dropped, Patroni will", slot=slot, error=str(error).strip())


def progress(line: str) -> tuple[int, int] | None:
    """(done, total) in bytes from a line of `pg_basebackup --progress`, None for any other line."""
    match = re.match(r"\s*(\d+)/(\d+) kB", line)
    return (int(match[1]) * 1024, int(match[2]) * 1024) if match else None


def end_with(process: subprocess.Popen[str]) -> None:
    """Wait for pg_basebackup, then end its child that receives WAL: when the parent was killed (out of memory) the child
    goes on, and holds our pipe and the slot for ever."""
    process.wait()
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def copy(connstring: str, slot: str, data: Path) -> None:
    """Copy the primary's files, with progress in the log; raises Trouble with what pg_basebackup said."""
    arguments = ["pg_basebackup", f"--pgdata={data}", f"--dbname={connstring}", f"--slot={slot}", "--wal-method=stream",
                 "--checkpoint=fast", "--progress", "--no-password"]
    start = told = time.monotonic()
    said: list[str] = []
    amount = (0, 0)
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
                          start_new_session=True) as process:
        assert process.stderr is not None
        threading.Thread(target=end_with, args=(process,), daemon=True).start()
        for line in process.stderr:
            now = time.monotonic()
            amount_now = progress(line)
            if amount_now is None:
                said.append(line.strip())
                continue
            amount = amount_now
            if now - told >= EVERY:
                told = now
                rate = amount[0] / (now - start)
                LOG.info("copying", percent=100 * amount[0] // max(amount[1], 1), bytes=amount[0], total=amount[1],
                         rate=f"{rate / 1e6:.0f}MB/s", left=f"{(amount[1] - amount[0]) / max(rate, 1):.0f}s")
    if process.returncode:
        raise Trouble(Exit.RETRY, "pg_basebackup failed", "\n".join(said[-5:]))
    took = time.monotonic() - start
    LOG.info("copied", bytes=amount[0], took=f"{took:.1f}s", rate=f"{amount[0] / 1e6 / max(took, 0.001):.0f}MB/s")


def main() -> None:
    parser = argparse.ArgumentParser(description="Create a replica from the primary (called by Patroni).")
    parser.add_argument("--spec", required=True)
    parser.add_argument("--datadir", required=True, type=Path)
    parser.add_argument("--connstring", required=True)
    parser.add_argument("--scope")
    parser.add_argument("--role")
    options, _ = parser.parse_known_args()
    slot = slot_name(load(options.spec).member)
    ours = register(options.connstring, slot)
    LOG.info("replication slot registered on the primary", slot=slot, new=str(ours).lower())
    mark = marker(options.datadir)
    mark.touch(0o600)
    try:
        copy(options.connstring, slot, options.datadir)
    except BaseException:
        if ours:
            unregister(options.connstring, slot)
        raise
    mark.unlink()


if __name__ == "__main__":
    sys.exit(run(main, LOG))
