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

from runtime.log import Log
from runtime.replica.slot import followed, held, slot_name
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


def copy(connstring: str, slot: str | None, data: Path) -> None:
    """Copy the primary's files, with progress in the log; without a slot pg_basebackup takes a temporary one. Raises
    Trouble with what pg_basebackup said."""
    arguments = ["pg_basebackup", f"--pgdata={data}", f"--dbname={connstring}", "--wal-method=stream", "--checkpoint=fast",
                 "--progress", "--no-password", *([f"--slot={slot}"] if slot else [])]
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
    spec = load(options.spec)
    mark = marker(options.datadir)
    if other := followed(spec, options.connstring):  # slots there are the business of a person there
        LOG.info("copying the cluster that is followed", host=other.host, slot=other.slot or "temporary")
        mark.touch(0o600)
        copy(options.connstring, other.slot, options.datadir)
    else:
        with held(options.connstring, slot_name(spec.member), LOG) as slot:
            mark.touch(0o600)
            copy(options.connstring, slot.name, options.datadir)
    mark.unlink()


if __name__ == "__main__":
    sys.exit(run(main, LOG))
