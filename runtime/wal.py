"""Arithmetic of the write-ahead log: names of files, positions (LSN), timelines, and what a segment says of itself.

Pure values. Sources: PostgreSQL's src/include/access/xlog_internal.h (names, page headers) and timeline.c (history files).
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from enum import Enum

DEFAULT_SIZE = 16 << 20  # bytes in a segment, unless initdb --wal-segsize said otherwise
HEADER = 40  # bytes of the long page header at the start of each segment
_LONG = 0x0002  # xlp_info: this page has the long header


class Kind(Enum):
    """The files that PostgreSQL's archiver hands over and restore_command asks for."""

    SEGMENT = re.compile(r"[0-9A-F]{24}")
    PARTIAL = re.compile(r"[0-9A-F]{24}\.partial")
    HISTORY = re.compile(r"[0-9A-F]{8}\.history")
    BACKUP = re.compile(r"[0-9A-F]{24}\.[0-9A-F]{8}\.backup")


def kind(name: str) -> Kind | None:
    """What a file is by its name, None for a name that is none of the archive's."""
    return next((one for one in Kind if one.value.fullmatch(name)), None)


def parse_lsn(text: str) -> int:
    """A position in bytes from its usual form, as in `0/3000028`; raises ValueError."""
    match = re.fullmatch(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})", text)
    if not match:
        raise ValueError(f"{text!r} is no WAL position such as 0/3000028")
    return int(match[1], 16) << 32 | int(match[2], 16)


def show_lsn(lsn: int) -> str:
    """The usual form of a position in bytes."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


@dataclass(frozen=True, order=True)
class Segment:
    """A segment: `number` counts from the start of the log, whatever the timeline."""

    timeline: int
    number: int

    @classmethod
    def parse(cls, name: str, size: int = DEFAULT_SIZE) -> Segment:
        """From the first 24 characters of a file's name; `size` in bytes. Raises ValueError."""
        if not re.match(r"[0-9A-F]{24}", name):
            raise ValueError(f"{name!r} is no name of a WAL segment")
        per = (1 << 32) // size
        low = int(name[16:24], 16)
        if low >= per:
            raise ValueError(f"{name} cannot be a segment of {size} bytes")
        return cls(int(name[:8], 16), int(name[8:16], 16) * per + low)

    @classmethod
    def at(cls, timeline: int, lsn: int, size: int = DEFAULT_SIZE) -> Segment:
        """The segment that holds the byte at `lsn`."""
        return cls(timeline, lsn // size)

    def name(self, size: int = DEFAULT_SIZE) -> str:
        """The file's name."""
        per = (1 << 32) // size
        return f"{self.timeline:08X}{self.number // per:08X}{self.number % per:08X}"

    def start(self, size: int = DEFAULT_SIZE) -> int:
        """The position of its first byte."""
        return self.number * size

    def next(self, count: int = 1) -> Segment:
        """The segment `count` further on, on the same timeline."""
        return Segment(self.timeline, self.number + count)


@dataclass(frozen=True)
class Stretch:
    """The part of a history that lies on one timeline: from `begin`, up to and without `end` (None: it goes on)."""

    timeline: int
    begin: int
    end: int | None

    def holds(self, lsn: int) -> bool:
        return self.begin <= lsn and (self.end is None or lsn < self.end)


def parse_history(text: str) -> list[tuple[int, int]]:
    """(timeline, position at which it was left) by age, from the content of a .history file. Raises ValueError."""
    entries: list[tuple[int, int]] = []
    for line in text.splitlines():
        words = line.partition("#")[0].split(None, 2)
        if not words:
            continue
        if len(words) < 2 or not words[0].isdigit():
            raise ValueError(f"no line of a timeline history: {line!r}")
        entry = int(words[0]), parse_lsn(words[1])
        if entries and not entries[-1][0] < entry[0]:
            raise ValueError("the timelines of a history must ascend")
        entries.append(entry)
    return entries


def path(timeline: int, history: str | None) -> list[Stretch]:
    """How the log leads to `timeline`: a stretch on each of its ancestors, then its own. `history` is the content of its
    .history file, None for a timeline that has none (the first). Raises ValueError."""
    result = []
    begin = 0
    for ancestor, end in parse_history(history or ""):
        if ancestor >= timeline:
            raise ValueError(f"timeline {ancestor} cannot be an ancestor of timeline {timeline}")
        result.append(Stretch(ancestor, begin, end))
        begin = end
    return [*result, Stretch(timeline, begin, None)]


def on_path(stretches: list[Stretch], timeline: int, lsn: int) -> bool:
    """Whether the position `lsn` of `timeline` is part of the history that `stretches` tells; the very point at which a
    timeline was left belongs to both."""
    return any(one.timeline == timeline and (one.holds(lsn) or one.end == lsn) for one in stretches)


def needed(stretches: list[Stretch], begin: int, end: int, size: int = DEFAULT_SIZE) -> list[Segment]:
    """The segments that recovery reads from position `begin` up to `end`, in order. Where timelines change within a
    segment it is the newer timeline's file, which starts with a copy of the older one's part."""
    segments = []
    for number in range(begin // size, max(begin, end - 1) // size + 1):
        last = min((number + 1) * size, end) - 1
        holding = [one for one in stretches if one.begin <= max(last, begin)]
        segments.append(Segment(holding[-1].timeline, number))
    return segments


@dataclass(frozen=True)
class Header:
    """What the first page of a segment says: `timeline` and `address` (LSN) of the page, the cluster's identifier."""

    timeline: int
    address: int
    system: str
    segment_size: int

    @classmethod
    def parse(cls, head: bytes) -> Header:
        """From the first bytes of a segment (at least HEADER), in the byte order of the machine; raises ValueError."""
        if len(head) < HEADER:
            raise ValueError("it is too short to be a WAL segment")
        magic, info, timeline, address, _rest, system, segment_size, _page = struct.unpack("=HHIQI4xQII", head[:HEADER])
        if not info & _LONG or magic >> 8 != 0xD1:
            raise ValueError("it does not begin like a WAL segment")
        return cls(timeline, address, str(system), segment_size)


def check(name: str, head: bytes, length: int, system: str | None = None) -> Header:
    """Make sure that a file of `length` bytes that begins with `head` can be the segment (or .partial) `name`, of the
    cluster `system` where that is known. Raises ValueError with the reason."""
    header = Header.parse(head)
    size = header.segment_size
    if size < 1 << 20 or size & (size - 1) or size > 1 << 30:
        raise ValueError(f"it claims segments of {size} bytes")
    if length != size:
        raise ValueError(f"it has {length} bytes, a segment of this cluster has {size}")
    segment = Segment.parse(name, size)
    if header.address != segment.start(size):
        raise ValueError(f"it holds the WAL at {show_lsn(header.address)}, the name says {show_lsn(segment.start(size))}")
    # The segment in which a timeline begins starts with a copy of the older timeline's pages.
    if not 0 < header.timeline <= segment.timeline:
        raise ValueError(f"it was written on timeline {header.timeline}, the name says {segment.timeline}")
    if system is not None and header.system != system:
        raise ValueError(f"it belongs to the cluster with system identifier {header.system}, not {system}")
    return header
