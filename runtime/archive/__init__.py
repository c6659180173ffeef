"""The resident archiver: PostgreSQL's archive_command and restore_command are small clients of one process.

watchdog  starts the process, and ends it when it hangs        push    which file goes when, and ahead of being asked for
server    the socket, one thread a request                      upload  one file into the store, never over another one
guard     may this member archive?                              owner   may this cluster write to this prefix?
fetch     files out of the store, ahead of being asked for      health  what is said of it all: log, status file
"""

from __future__ import annotations

import shlex
from pathlib import Path

import runtime
from runtime.tool import tool

CLIENT = str(Path(runtime.__file__).with_name("bin") / "archive")


def command(spec: str) -> tuple[str, ...]:
    """Command line of the resident archiver; `spec` is the path of steward.json."""
    return tool("runtime.archive", spec)


def source_command(folder: str, socket: str, spool: str) -> tuple[str, ...]:
    """Command line of the reader of another cluster's archive: variables in `folder`, files ahead in `spool`."""
    return tool("runtime.archive", f"--folder={folder}", f"--socket={socket}", f"--spool={spool}")


def _client(verb: str, socket: str) -> str:
    return f"exec sh {shlex.quote(CLIENT)} {verb} {shlex.quote(socket)}".replace("%", "%%")


def push_command(socket: str) -> str:
    """PostgreSQL's archive_command, for the archiver that listens at `socket`."""
    return f'{_client("push", socket)} "%p"'


def fetch_command(socket: str, mode: str) -> str:
    """PostgreSQL's restore_command. `mode`: on a "standby" a store that does not answer is asked again later (RETRY);
    in recovery to a "target" it ends recovery without a promotion (UNSURE)."""
    if mode not in ("standby", "target"):
        raise ValueError(mode)
    return f'{_client("fetch", socket)} {mode} %f "%p"'
