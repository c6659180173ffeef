"""One file into the store: it is checked before, never overwrites another one, and counts when the store has said so."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from runtime import lzop, postgres, wal
from runtime.archive.owner import WAL, Owner
from runtime.log import Log
from runtime.store import Absent, Exists, Store
from runtime.trouble import Exit, Trouble

WHOLE = 16 << 20  # bytes of a file that is compressed in memory and sent at once; a larger one goes in parts
PART = 8 << 20
_COPIES = 2  # of what is sent, in the worst case


def key(name: str) -> str:
    """Where the file `name` is in the store."""
    return f"{WAL}{name}.lzo"


@dataclass(frozen=True)
class Identity:
    """What tells a file from another one of the same name."""

    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, file: Path | int) -> Identity:
        found = os.stat(file)
        return cls(found.st_size, found.st_mtime_ns, found.st_ino)


class Room:
    """Bounds the memory of uploads: who goes ahead waits for room, what PostgreSQL waits for does not."""

    def __init__(self, size: int) -> None:
        self._free = size
        self._freed = threading.Condition()

    @contextlib.contextmanager
    def take(self, wanted: int, wait: bool) -> Iterator[Callable[[int], None]]:
        """Room for `wanted` bytes; call what is given with the true need once it is known."""
        held = wanted

        def hold(need: int) -> None:
            nonlocal held
            with self._freed:
                self._free += held - need
                held = need
                self._freed.notify_all()

        with self._freed:
            if wait:
                self._freed.wait_for(lambda: self._free >= wanted)
            self._free -= wanted
        try:
            yield hold
        finally:
            hold(0)


def differ(file: BinaryIO, body: lzop.Readable) -> str | None:
    """What tells the file from what is in the store, None where they are the same; raises Corrupt."""
    file.seek(0)
    at = 0
    for block in lzop.blocks(body):
        ours = file.read(len(block))
        if ours != block:
            first = next((i for i, pair in enumerate(zip(ours, block, strict=False)) if pair[0] != pair[1]), len(ours))
            return f"they differ from byte {at + first} on"
        at += len(block)
    return "the one here is longer" if file.read(1) else None


class Upload:
    """Puts files into the store."""

    def __init__(self, store: Callable[[], Store], owner: Owner, log: Log, memory: int) -> None:
        self._store, self._owner, self._log = store, owner, log
        self._room = Room(memory)
        self._said = False

    def __call__(self, path: Path, ahead: bool) -> int:
        """The file into the store; the bytes that were sent, 0 where it was there already. `ahead`: nobody waits for it.
        Raises Trouble (REFUSED; RETRY), StoreError, OSError."""
        with open(path, "rb", buffering=0) as file:
            before = Identity.of(file.fileno())
            self._owner.claim(self._check(path, file, before.size))
            sent = self._send(path.name, file, before.size, ahead)
        if Identity.of(path) != before:
            raise Trouble(Exit.RETRY, f"{path.name} changed while it was archived")
        return sent

    def _check(self, path: Path, file: BinaryIO, size: int) -> str:
        """The system identifier of the cluster whose file it is, when the file is what its name says."""
        system = postgres.system_identifier(path.parent.parent)
        try:
            if wal.kind(path.name) in (wal.Kind.SEGMENT, wal.Kind.PARTIAL):
                system = wal.check(path.name, os.pread(file.fileno(), wal.HEADER, 0), size, system).system
        except ValueError as error:
            raise Trouble(Exit.REFUSED, f"{path.name} is not archived: {error}") from None
        if system is None:
            raise Trouble(Exit.REFUSED, f"{path.name} is not archived: there is no pg_control beside it")
        return system

    def _send(self, name: str, file: BinaryIO, size: int, ahead: bool) -> int:
        store = self._store()
        if not store.conditional():
            if not self._said:
                self._said = True
                self._log.warning("this store cannot refuse to overwrite, so it is asked before each file", url=store.url)
            if self._there(store, name, file):
                return 0
        if size > WHOLE:
            if store.conditional() and self._there(store, name, file):
                return 0
            with self._room.take(4 * PART, wait=ahead):
                return store.upload(key(name), lzop.packed(file, name), part=PART)
        with self._room.take(_COPIES * size, wait=ahead) as hold:
            data = lzop.pack_file(file, size, name)
            hold(_COPIES * len(data))
            try:
                store.put(key(name), data, new=store.conditional())
            except Exists:
                if not self._there(store, name, file):
                    raise Trouble(Exit.RETRY, f"{name} was in the store a moment ago") from None
                return 0
            return len(data)

    def _there(self, store: Store, name: str, file: BinaryIO) -> bool:
        """Whether the store has this very file; raises REFUSED where it has another one under the name."""
        try:
            with store.stream(key(name)) as body:
                difference = differ(file, body)
        except Absent:
            return False
        except lzop.Corrupt as error:
            difference = f"that one cannot be read: {error}"
        if difference:
            raise Trouble(Exit.REFUSED, f"{name} is not archived: there is another file of that name in {store.url}",
                          difference, "find out which one belongs to this cluster's history before you remove either")
        file.seek(0)
        return True
