"""The resident archiver, `SPEC` for this cluster's own archive, `--folder --socket --spool` for one that is only read."""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
from collections.abc import Callable
from pathlib import Path

from runtime import spec
from runtime.archive.watchdog import watch
from runtime.log import Log
from runtime.trouble import Exit, Trouble, run


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="archive", description=__doc__)
    made.add_argument("spec", nargs="?")
    for name in ("folder", "socket", "spool"):
        made.add_argument(f"--{name}", type=Path)
    return made


def work(given: argparse.Namespace, log: Log, alive: Callable[[], None]) -> int:
    """The child's part. What it imports, the watchdog does not need."""
    from runtime.api import Api
    from runtime.archive.daemon import Daemon, Own, Source, thrifty
    from runtime.archive.guard import LeaderOnly

    thrifty()
    if given.spec is None:
        return Daemon(Source(given.folder, given.socket, given.spool), None, log).run(alive)
    member = spec.load(given.spec)
    store = member.store
    if store is None:
        raise Trouble(Exit.SETTINGS, "there is no archive in the settings")
    source = Source(store.folder, store.socket, store.spool, store.downloads, store.timeout)
    own = Own(member.data, store.status, store.uploads, LeaderOnly(Api(member)))
    return Daemon(source, own, log).run(alive)


def alone(socket: Path) -> None:
    """Wait until no other archiver uses this socket and its spool; the lock lasts as long as this process and its child."""
    file = os.open(socket.with_name(f"{socket.name}.lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(file, fcntl.LOCK_EX)


def main() -> int:
    given = parser().parse_args()
    log = Log("archiver" if given.spec else "source")

    def start() -> int:
        store = spec.load(given.spec).store if given.spec else None
        socket = store.socket if store else given.socket
        if socket is None:
            raise Trouble(Exit.SETTINGS, "there is no archive in the settings")
        alone(socket)
        return watch(lambda alive: run(lambda: work(given, log, alive), log), log)

    return run(start, log)


if __name__ == "__main__":
    sys.exit(main())
