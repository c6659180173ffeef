"""A partition as a stream of bytes: files read, put into tar, compressed. Nothing of it is kept in memory or on disk.

The files are in use: a size in a header is kept to by cutting off and by filling up. Recovery makes whole what was
copied in the middle of a change.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from runtime import lzop
from runtime.basebackup import tar
from runtime.basebackup.files import Item
from runtime.basebackup.meter import Meter

BATCH = 8 << 20  # bytes; three or so of them are in memory for each partition on its way


class Rate:
    """Slows several threads down to so many bytes per second together; 0 is no limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._free = time.monotonic()
        self._lock = threading.Lock()

    def wait(self, count: int) -> None:
        """Return when `count` more bytes may be read."""
        if not self.limit:
            return
        with self._lock:
            now = time.monotonic()
            self._free = max(self._free, now) + count / self.limit
            pause = self._free - now
        time.sleep(pause)


@dataclass
class Source:
    """What partitions are made from, and what it comes to."""

    meter: Meter
    rate: Rate


class Packed:
    """One partition on its way. `size`: bytes of files in it so far."""

    def __init__(self, items: list[Item], source: Source) -> None:
        self.items, self.source, self.size = items, source, 0

    def batches(self) -> Iterator[bytes]:
        """The lzop container, in pieces as large as an upload sends at once; the next one is made while one is sent."""
        return _ahead(_gathered(self._chunks()))

    def _chunks(self) -> Iterator[bytes]:
        out: list[bytes] = []
        writer = lzop.Writer(out.append)
        for piece in self._tar():
            writer.write(piece)
            if out:
                yield from out
                out.clear()
        writer.close()
        yield from out

    def _tar(self) -> Iterator[bytes]:
        for item in self.items:
            yield from self._member(item)
        yield tar.END

    def _member(self, item: Item) -> Iterator[bytes]:
        if item.size is None:
            state = _stat(item.path)
            if state:
                yield tar.header(item.name, None, state)
            return
        try:
            file = os.open(item.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:  # dropped meanwhile
            return
        try:
            state = os.fstat(file)
            yield tar.header(item.name, state.st_size, state)
            yield from self._content(file, state.st_size)
            yield tar.padding(state.st_size)
        finally:
            os.close(file)
        self.size += state.st_size

    def _content(self, file: int, size: int) -> Iterator[bytes]:
        """Exactly `size` bytes."""
        at = 0
        while at < size:
            wanted = min(lzop.BLOCK, size - at)
            self.source.rate.wait(wanted)
            data = os.pread(file, wanted, at)
            self.source.meter.add(wanted)
            yield data if len(data) == wanted else data + bytes(wanted - len(data))  # it was cut off meanwhile
            at += wanted


def _gathered(chunks: Iterator[bytes]) -> Iterator[bytes]:
    some: list[bytes] = []
    have = 0
    for chunk in chunks:
        some.append(chunk)
        have += len(chunk)
        if have >= BATCH:
            yield b"".join(some)
            some, have = [], 0
    yield b"".join(some)


def _ahead(batches: Iterator[bytes]) -> Iterator[bytes]:
    """The same, with the next one made in another thread meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, batches, None)
        while (batch := coming.result()) is not None:
            coming = pool.submit(next, batches, None)
            yield batch


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def small(contents: dict[str, bytes], like: os.stat_result) -> list[bytes]:
    """A partition of a few files that are in memory, owned as `like` is."""
    state = os.stat_result((0o100600, *like[1:]))
    pieces: list[bytes] = []
    for name, data in contents.items():
        pieces += [tar.header(name, len(data), state), data, tar.padding(len(data))]
    return lzop.pack(b"".join([*pieces, tar.END]))
