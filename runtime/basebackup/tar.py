"""Tar in both directions for the files of a data directory, with as little work per byte as possible.

The standard library's streams copy every byte several times while they hold the global lock, which several partitions
at once have no use for. Headers are still the standard library's.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from tarfile import BLOCKSIZE, TarInfo

END = bytes(2 * BLOCKSIZE)
_LONG_NAME, _LONG_LINK = b"L", b"K"
_MAX_EXTRA = 1 << 20  # bytes of a name that is stored as a member of its own


class Broken(ValueError):
    """It is no tar archive, or not a whole one."""


@dataclass(frozen=True)
class Member:
    """A file, a directory, or a link to `target`; `mode` as in stat."""

    name: str
    kind: bytes
    size: int
    mode: int
    target: str

    @property
    def is_file(self) -> bool:
        return self.kind in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)

    @property
    def is_folder(self) -> bool:
        return self.kind == tarfile.DIRTYPE


def header(name: str, size: int | None, state: os.stat_result) -> bytes:
    """The header of a file of `size` bytes, of a directory for None, with owner, mode and time of `state`."""
    info = TarInfo(name)
    info.type = tarfile.DIRTYPE if size is None else tarfile.REGTYPE
    info.size, info.mode, info.mtime = size or 0, state.st_mode & 0o7777, int(state.st_mtime)
    info.uid, info.gid = state.st_uid, state.st_gid
    info.uname = info.gname = "postgres"
    return info.tobuf(tarfile.GNU_FORMAT)


def padding(size: int) -> bytes:
    """What follows the content of a file of `size` bytes."""
    return bytes(-size % BLOCKSIZE)


class Untar:
    """Reads an archive that comes in pieces. `members` gives each in turn; `content` the pieces of the current one."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")
        self._open = 0  # bytes of the current member, with padding, that were not read yet

    def members(self) -> Iterator[Member]:
        """All members; raises Broken. Whatever follows the archive's end is read too, so that the container that it
        comes in is checked to its own end."""
        extra: dict[str, str] = {}
        while True:
            self._skip()
            head = self._exactly(BLOCKSIZE)
            if not any(head):
                break
            info = self._parse(head)
            if info.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
                extra |= _records(self._extra(info.size))
            elif info.type == tarfile.XGLTYPE:
                self._extra(info.size)
            elif info.type in (_LONG_NAME, _LONG_LINK):
                extra["path" if info.type == _LONG_NAME else "linkpath"] = _name(self._extra(info.size).rstrip(b"\0"))
            else:
                size = int(extra.get("size", info.size)) if info.isreg() else 0
                self._open = size + len(padding(size))
                self._left = size
                name = extra.get("path", info.name).rstrip("/")
                yield Member(name, info.type, size, info.mode, extra.get("linkpath", info.linkname))
                extra = {}
        for _ in self._pieces:
            pass

    def content(self) -> Iterator[memoryview]:
        """The content of the current member."""
        while self._left:
            part = self._some(self._left)
            self._left -= len(part)
            self._open -= len(part)
            yield part

    def _parse(self, head: bytes) -> TarInfo:
        try:
            return TarInfo.frombuf(head, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise Broken(f"a header in it is not one: {error}") from None

    def _extra(self, size: int) -> bytes:
        if size > _MAX_EXTRA:
            raise Broken("a name in it is too long")
        data = self._exactly(size)
        self._exactly(len(padding(size)))
        return data

    def _some(self, count: int) -> memoryview:
        """Up to `count` bytes, at least one."""
        while not self._rest:
            piece = next(self._pieces, None)
            if piece is None:
                raise Broken("the archive ends in the middle")
            self._rest = memoryview(piece)
        part, self._rest = self._rest[:count], self._rest[count:]
        return part

    def _exactly(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            data += self._some(count - len(data))
        return data

    def _skip(self) -> None:
        while self._open:
            self._open -= len(self._some(self._open))


def _name(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _records(raw: bytes) -> dict[str, str]:
    """The keywords of an extended header (POSIX pax): `LENGTH KEY=VALUE\\n`, one after the other."""
    found: dict[str, str] = {}
    while raw.strip(b"\0"):
        length, space, _ = raw.partition(b" ")
        if not space or not length.isdigit() or not len(length) < int(length) <= len(raw):
            raise Broken("an extended header in it is not one")
        key, _, value = raw[len(length) + 1 : int(length) - 1].partition(b"=")
        found[_name(key)] = _name(value)
        raw = raw[int(length) :]
    return found
