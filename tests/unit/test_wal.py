"""Arithmetic of the write-ahead log."""

from __future__ import annotations

import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import wal

SIZES = [1 << power for power in range(20, 31)]
sizes = st.sampled_from(SIZES)
lsns = st.integers(0, (1 << 64) - 1)
timelines = st.integers(1, 0xFFFFFFFF)


@given(lsns)
def test_lsn(lsn: int) -> None:
    """A position survives being written and read."""
    assert wal.parse_lsn(wal.show_lsn(lsn)) == lsn


@pytest.mark.parametrize("text", ["", "0", "0/", "/0", "0/123456789", "G/0", "0/0/0", " 0/0", "0/0\n"])
def test_no_lsn(text: str) -> None:
    """What is no position is refused."""
    with pytest.raises(ValueError, match="WAL position"):
        wal.parse_lsn(text)


def test_lsn_examples() -> None:
    """As PostgreSQL prints them: two halves in hexadecimal, without zeros in front."""
    assert (wal.parse_lsn("0/3000028"), wal.parse_lsn("2/FA280028")) == (0x3000028, 0x2FA280028)
    assert wal.show_lsn(0x2FA280028) == "2/FA280028"


@given(timelines, lsns, sizes)
def test_segment(timeline: int, lsn: int, size: int) -> None:
    """The segment that holds a position is the one whose name says so, for every size; the next one follows at once."""
    segment = wal.Segment.at(timeline, lsn, size)
    assert segment.start(size) <= lsn < segment.next().start(size) == segment.start(size) + size
    name = segment.name(size)
    if segment.number < (1 << 64) // size:
        assert len(name) == 24 and wal.kind(name) is wal.Kind.SEGMENT
        assert wal.Segment.parse(name, size) == wal.Segment.parse(f"{name}.partial", size) == segment


@given(timelines, st.integers(0, (1 << 40)), st.integers(1, 5000), sizes)
def test_names_sort(timeline: int, number: int, further: int, size: int) -> None:
    """Names of one timeline sort as their positions do."""
    segment = wal.Segment(timeline, number % ((1 << 63) // size))
    assert segment.name(size) < segment.next(further).name(size)


@pytest.mark.parametrize(("name", "size", "lsn"), [
    ("000000010000000000000001", 16 << 20, 1 << 24), ("0000000100000002000000FA", 16 << 20, 0x2FA000000),
    ("000000010000000000000FFF", 1 << 20, 0xFFF00000), ("000000010000000100000003", 1 << 30, 0x1C0000000)])
def test_segment_examples(name: str, size: int, lsn: int) -> None:
    """As pg_walfile_name says."""
    segment = wal.Segment.parse(name, size)
    assert (segment.start(size), segment.name(size)) == (lsn, name)


def test_no_segment() -> None:
    """A name that cannot be is refused."""
    for name in ("", "00000001000000000000000", "00000001000000000000000g", "0000000100000000000000ff"):
        with pytest.raises(ValueError, match="no name"):
            wal.Segment.parse(name)
    with pytest.raises(ValueError, match="cannot be a segment of"):
        wal.Segment.parse("000000010000000000000100")


@pytest.mark.parametrize(("name", "kind"), [
    ("000000010000000000000001", wal.Kind.SEGMENT), ("000000010000000000000001.partial", wal.Kind.PARTIAL),
    ("00000002.history", wal.Kind.HISTORY), ("000000010000000000000001.00000028.backup", wal.Kind.BACKUP),
    ("000000010000000000000001.lzo", None), ("00000001000000000000000a", None), ("RECOVERYXLOG", None), ("", None),
    ("000000010000000000000001\n", None), ("../000000010000000000000001", None)])
def test_kind(name: str, kind: wal.Kind | None) -> None:
    """A file's name says what it is, and only a whole name does."""
    assert wal.kind(name) is kind


HISTORY = """1\t0/5000000\tno recovery target specified

# a remark
2	0/7000060	before 2026-11-23 00:00:00+00 # why
"""


def test_history() -> None:
    """A history says where each timeline was left; remarks, reasons and empty lines do not count."""
    assert wal.parse_history(HISTORY) == [(1, 0x5000000), (2, 0x7000060)]
    for text in ("x\t0/1\t", "1", "2\t0/1\n1\t0/2", "1\tnowhere"):
        with pytest.raises(ValueError):
            wal.parse_history(text)


@st.composite
def histories(draw: st.DrawFn) -> tuple[int, str]:
    """A timeline and its history."""
    count = draw(st.integers(0, 6))
    positions = sorted(draw(st.lists(st.integers(1, 1 << 34), min_size=count, max_size=count)))
    return count + 1, "".join(f"{number + 1}\t{wal.show_lsn(lsn)}\tx\n" for number, lsn in enumerate(positions))


@given(histories())
def test_path(history: tuple[int, str]) -> None:
    """The stretches of a path follow one another without a gap, end on the timeline itself, and each position is on
    exactly one of them; what an ancestor wrote later is not on the path."""
    timeline, text = history
    path = wal.path(timeline, text or None)
    assert [one.timeline for one in path] == list(range(1, timeline + 1))
    assert path[0].begin == 0 and path[-1].end is None
    for older, newer in itertools.pairwise(path):
        assert older.end == newer.begin
        assert not wal.on_path(path, older.timeline, newer.begin + 1)
        assert wal.on_path(path, older.timeline, newer.begin)
    for lsn in (0, *(one.begin for one in path), 1 << 35):
        assert sum(one.holds(lsn) for one in path) == 1


def test_impossible_path() -> None:
    """A timeline cannot descend from itself or from a later one."""
    with pytest.raises(ValueError, match="ancestor"):
        wal.path(2, "2\t0/1\tx\n")


@given(histories(), sizes, st.integers(0, 1 << 35), st.integers(0, 1 << 26))
def test_needed(history: tuple[int, str], size: int, begin: int, length: int) -> None:
    """Recovery reads every segment once and in order, each on the newest timeline that has begun in it."""
    path = wal.path(history[0], history[1] or None)
    segments = wal.needed(path, begin, begin + length, size)
    numbers = [one.number for one in segments]
    assert numbers == list(range(begin // size, max(begin, begin + length - 1) // size + 1))
    assert [one.timeline for one in segments] == sorted(one.timeline for one in segments)
    assert segments[-1].timeline == next(one.timeline for one in reversed(path) if one.begin <= max(begin, begin + length - 1))


def head(timeline: int = 1, *, address: int = 0x5000000, system: int = 77, size: int = 16 << 20, info: int = 2, magic: int = 0xD116) -> bytes:
    return struct.pack("=HHIQI4xQII", magic, info, timeline, address, 0, system, size, 8192)


NAME = "000000010000000000000005"


def test_header() -> None:
    """The first page says on which timeline, where, for which cluster and in which size."""
    assert wal.Header.parse(head() + b"more") == wal.Header(1, 0x5000000, "77", 16 << 20)
    assert len(head()) == wal.HEADER
    assert wal.check(NAME, head(), 16 << 20, "77").system == "77"
    assert wal.check(f"{NAME}.partial", head(), 16 << 20).timeline == 1
    assert wal.check("000000030000000000000005", head(2), 16 << 20).timeline == 2  # a copy of the older timeline's pages


@pytest.mark.parametrize(("change", "length", "reason"), [
    ({}, (16 << 20) - 1, "has 16777215 bytes"), ({"timeline": 2}, 16 << 20, "timeline 2"), ({"timeline": 0}, 16 << 20, "timeline 0"),
    ({"address": 0x6000000}, 16 << 20, "holds the WAL at 0/6000000"), ({"system": 78}, 16 << 20, "system identifier 78, not 77"),
    ({"info": 0}, 16 << 20, "does not begin"), ({"magic": 0}, 16 << 20, "does not begin"), ({"size": 5}, 5, "segments of 5 bytes"),
    ({"size": 32 << 20}, 32 << 20, "holds the WAL at")])
def test_check(change: dict[str, int], length: int, reason: str) -> None:
    """A file that is not what its name says is refused, with the reason."""
    with pytest.raises(ValueError, match=reason):
        wal.check(NAME, head(**change), length, "77")


def test_check_short() -> None:
    """So is one that has no header."""
    with pytest.raises(ValueError, match="too short"):
        wal.check(NAME, head()[:-1], 16 << 20)
