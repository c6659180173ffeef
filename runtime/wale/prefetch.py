"""Prefetching of WAL. WAL-E's own dies while it becomes a daemon (socket.fromfd of what is no socket), closes a billion
file descriptors one by one where the limit is as high as Docker's, and counts segments as if all had 16 MB."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from wal_e.operator import backup
from wal_e.worker.pg.wal_transfer import WalSegment

from runtime import wal

PREFETCH = "wal-prefetch"  # WAL-E's command for one of these processes


def size_of(data: Path) -> int | None:
    """Bytes in a segment of the cluster in the folder `data`; None where there is none, or one not to be read."""
    try:
        said = subprocess.run(["pg_controldata", str(data)], capture_output=True, text=True, check=True,
                              env=os.environ | {"LC_ALL": "C"}, timeout=10).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = [line.partition(":")[2].strip() for line in said.splitlines() if line.startswith("Bytes per WAL segment")]
    return int(found[0]) if found and found[0].isdigit() else None


def following(name: str, size: int, count: int) -> list[str]:
    """The names of the `count` segments after this one; of what is no segment none."""
    if wal.kind(name) is not wal.Kind.SEGMENT:
        return []
    segment = wal.Segment.parse(name, size)
    return [segment.next(step).name(size) for step in range(1, count + 1)]


def start_prefetches(segment: Any, places: Any, count: int) -> list[Any]:
    """Start a process for each of the next `count` segments that is not there or on its way. Where the size of segments
    is not known, as outside of a data directory, there is no prefetching."""
    size = size_of(Path(places.base).parent)
    future = [WalSegment(name) for name in following(segment.name, size, count)] if size else []
    options = sys.argv[1 : sys.argv.index("wal-fetch")]
    for one in future:
        if places.is_running(one) or places.contains(one):
            continue
        places.create(one)
        subprocess.Popen(  # it goes on when this process ends, which PostgreSQL waits for
            [sys.argv[0], *options, PREFETCH, places.base, one.name], start_new_session=True, cwd="/",
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return future


def install() -> None:
    backup.start_prefetches = start_prefetches
