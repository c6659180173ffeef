"""The scratch space of restore drills: one drill at a time has it, and nothing of it stays."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from runtime.log import Log
from runtime.trouble import Exit, Trouble


@contextlib.contextmanager
def _mine(folder: Path) -> Iterator[bool]:
    """Whether nobody else on this member uses the folder; as long as it is held, nobody else can."""
    folder.parent.mkdir(0o700, parents=True, exist_ok=True)
    with open(folder.with_name(f"{folder.name}.lock"), "a", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _remove(folder: Path) -> bool:
    """Remove the folder, and end a server that still runs in it. Whether there was something."""
    if not folder.exists():
        return False
    while running := _inside(folder):
        for number in running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        time.sleep(0.05)
    shutil.rmtree(folder)
    return True


def _inside(folder: Path) -> list[int]:
    """The processes that work in the folder: all of a PostgreSQL server do so in its data directory."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):  # of somebody else, or ended
            if Path(os.readlink(link)).is_relative_to(folder):
                found.append(int(link.parent.name))
    return found


def clear(folder: Path, log: Log) -> None:
    """Remove what a drill that was killed has left behind."""
    with _mine(folder) as mine:
        if mine and _remove(folder):
            log.info("scratch space of a drill that was interrupted removed", folder=folder)


@contextlib.contextmanager
def space(folder: Path) -> Iterator[Path]:
    """The empty folder, for one drill; removed at the end, whatever happened. Raises RETRY where another drill has it."""
    with _mine(folder) as mine:
        if not mine:
            raise Trouble(Exit.RETRY, "another drill is under way on this member")
        _remove(folder)
        folder.mkdir(0o700)
        try:
            yield folder
        finally:
            _remove(folder)
