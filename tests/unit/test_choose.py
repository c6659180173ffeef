"""Where a new replica comes from: a table of what the store has and what the primary says."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from runtime.basebackup.model import Backup, Catalog
from runtime.replica.choose import BACKUP, LEADER, Decision, Limits, Primary, choose
from runtime.wal import Segment, parse_lsn

MB, GB = 1 << 20, 1 << 30
SYSTEM = "7400000000000000001"
LIMITS = Limits(10240, 30)


def backup(start: str, stop: str, *, timeline: int = 1, size: int | None = 100 * GB, segment: int = 16 * MB, **more: Any) -> Backup:
    """A complete base backup between two positions."""
    first = Segment.at(timeline, parse_lsn(start), segment)
    name = f"base_{first.name(segment)}_{parse_lsn(start) % segment:08d}"
    made = Backup(name, timeline, parse_lsn(start), parse_lsn(stop), 1000.0 + parse_lsn(start), size, 1, (), True, "spilo",
                  segment_size=segment, system=SYSTEM)
    return replace(made, **more)


def catalog(backups: Iterable[Backup], archived: Iterable[tuple[int, str, str]], segment: int = 16 * MB, without: str = "",
            **more: Any) -> Catalog:
    """A store with all segments from one position up to another, by timeline, `without` one of them."""
    segments = {}
    for timeline, begin, end in archived:
        for number in range(parse_lsn(begin) // segment, parse_lsn(end) // segment):
            segments[Segment(timeline, number)] = 1.0
    return Catalog(tuple(backups), segments={one: at for one, at in segments.items() if one.name(segment) != without},
                   **{"system": SYSTEM, **more})


def primary(lsn: str, *, kept: str | None = "0/0", timeline: int = 1, history: str | None = None, segment: int = 16 * MB,
            system: str = SYSTEM) -> Primary:
    return Primary(system, timeline, parse_lsn(lsn), history, segment, parse_lsn(kept) if kept else None)


def simple(lsn: str, limits: Limits = LIMITS, size: int | None = 100 * GB, end: str = "9/0") -> Decision:
    """A backup at 1/0, an archive up to `end`, and a primary at `lsn`."""
    store = catalog([backup("1/0", "1/1000000", size=size)], [(1, "1/0", end)])
    return choose(store, primary(lsn), limits)


@pytest.mark.parametrize(("megabytes", "percentage", "size", "wal", "method"), [
    (10240, 30, 100 * GB, 10 * GB - 1, BACKUP),  # the defaults: less than 10 GB ...
    (10240, 30, 100 * GB, 10 * GB, LEADER),  # ... and not exactly that
    (10240, 30, 10 * GB, 3 * GB - 1, BACKUP),  # less than 30 % ...
    (10240, 30, 10 * GB, 3 * GB, LEADER),  # ... and not exactly that
    (10240, 30, 20 * GB, 7 * GB, LEADER),  # both have to hold
    (1024, 100, 20 * GB, 7 * GB, LEADER),
    (10240, 30, 100 * MB + 1, 30 * MB, BACKUP),  # a fraction of a byte counts
    (10240, 30, 100 * MB, 30 * MB, LEADER),
    (0, 30, 100 * GB, 17 * MB, LEADER),  # nothing is less than nothing
    (10240, 0, 100 * GB, 17 * MB, LEADER),
    (10240, 1000, 10 * MB, 17 * MB, BACKUP),  # more than the backup itself, if somebody wants that
])
def test_limits(megabytes: int, percentage: int, size: int, wal: int, method: str) -> None:
    """The WAL since the start of the backup has to be less than both limits; exactly as much is too much."""
    limits = Limits(megabytes, percentage)
    store = catalog([backup("1/0", "1/1000000", size=size)], [(1, "1/0", "9/0")])
    found = choose(store, replace(primary("0/0"), lsn=parse_lsn("1/0") + wal), limits)
    assert (found.method, found.wal) == (method, wal)
    assert found.limit == min(megabytes * MB, -(-size * percentage // 100))
    assert str(found.limit) in found.reason and str(wal) in found.reason


@pytest.mark.parametrize(("segment", "offset"), [("0000000100000000000000FA", 0x280028), ("000000010000000000000005", 0x28),
                                                 ("0000000100000003000000FF", 0xFFFFD8)])
def test_positions_are_true_ones(segment: str, offset: int) -> None:
    """No digit of the offset is lost: a last digit less once made this up to 3.75 GB more WAL than there was."""
    begin = Segment.parse(segment).start() + offset
    assert begin == (int(segment[8:16], 16) << 32) + (int(segment[16:], 16) << 24) + offset
    first = Segment.parse(segment)
    one = replace(backup("0/0", "0/0", size=GB), start_lsn=begin, stop_lsn=begin + 0x100)
    store = Catalog((one,), segments={first.next(number): 1.0 for number in range(4)}, system=SYSTEM)
    found = choose(store, replace(primary("0/0"), lsn=begin + 40 * MB), LIMITS)
    assert (found.method, found.wal) == (BACKUP, 40 * MB)


@pytest.mark.parametrize("segment", [1 * MB, 16 * MB, 64 * MB, GB])
def test_any_size_of_segments(segment: int) -> None:
    """Positions do not depend on 16 MB; a backup with other segments than the primary's is none of its own."""
    store = catalog([backup("8/40000028", "8/40000100", segment=segment)], [(1, "8/40000000", "8/C0000000")], segment)
    found = choose(store, primary("8/C0000010", kept="8/C0000000", segment=segment), LIMITS)
    assert (found.method, found.wal, found.end) == (BACKUP, 0x7FFFFFE8, parse_lsn("8/C0000000"))
    other = choose(store, primary("8/C0000010", segment=32 * MB), LIMITS)
    assert other.method == LEADER and "segments of" in other.reason


ONE_TO_TWO = "1\t0/8000000\tno recovery target specified\n"
ONE_TO_THREE = "1\t0/6000000\tno recovery target specified\n"
TWO_TO_THREE = "1\t0/8000000\tx\n2\t0/A800000\tx\n"
CASES: dict[str, tuple[Catalog | str, Primary | None, str, str]] = {
    # name: (store, primary, method, a part of the reason)
    "all is well": (
        catalog([backup("0/5000028", "0/5000130")], [(1, "0/5000000", "0/7000000")]),
        primary("0/7000800", kept="0/7000060"), BACKUP, "under the limit"),
    "the timeline was switched since": (
        catalog([backup("0/5000028", "0/5000130")], [(1, "0/5000000", "0/8000000"), (2, "0/8000000", "0/9000000")]),
        primary("0/9000800", timeline=2, history=ONE_TO_TWO, kept="0/9000000"), BACKUP, "under the limit"),
    "switched twice, once within a segment": (
        catalog([backup("0/5000028", "0/5000130")],
                [(1, "0/5000000", "0/8000000"), (2, "0/8000000", "0/A000000"), (3, "0/A000000", "0/B000000")]),
        primary("0/B000800", timeline=3, history=TWO_TO_THREE, kept="0/B000000"), BACKUP, "under the limit"),
    "the store does not know the newest timeline yet": (
        catalog([backup("0/5000028", "0/5000130")], [(1, "0/5000000", "0/8000000")]),
        primary("0/8000800", timeline=2, history=ONE_TO_TWO, kept="0/7000028"), BACKUP, "under the limit"),
    "a timeline that was left before the backup ended": (
        catalog([backup("0/5000028", "0/6000130")], [(1, "0/5000000", "0/8000000")]),
        primary("0/8000800", timeline=3, history=ONE_TO_THREE), LEADER, "left timeline 1 before the backup ended"),
    "a backup of a dead timeline": (
        catalog([backup("0/8000028", "0/8000130", timeline=2)], [(2, "0/8000000", "0/9000000")]),
        primary("0/8000800", timeline=3, history=ONE_TO_THREE), LEADER, "timeline 2 at 0/8000028 is not on the way to timeline 3"),
    "the older one of two, because the newer is on a dead timeline": (
        catalog([backup("0/5000028", "0/5000130"), backup("0/8000028", "0/8000130", timeline=2)],
                [(1, "0/5000000", "0/6000000"), (2, "0/6000000", "0/9000000")]),
        primary("0/7000000", timeline=3, history=ONE_TO_THREE, kept="0/6000000"), BACKUP, "under the limit"),
    "the archive is ahead of the primary's timeline": (
        catalog([backup("0/5000028", "0/5000130")], [(1, "0/5000000", "0/8000000"), (2, "0/8000000", "0/9000000")],
                histories={2: ONE_TO_TWO}),
        primary("0/9000800"), LEADER, "goes on to timeline 2"),
    "a hole": (
        catalog([backup("0/5000028", "0/5000130")], [(1, "0/5000000", "0/9000000")], without="000000010000000000000007"),
        primary("0/9000800"), LEADER, "000000010000000000000007 is missing"),
    "a hole under the backup itself": (
        catalog([backup("0/5000028", "0/7000130")], [(1, "0/5000000", "0/9000000")], without="000000010000000000000006"),
        primary("0/9000800"), LEADER, "000000010000000000000006"),
    "a hole before the backup": (
        catalog([backup("0/7000028", "0/7000130")], [(1, "0/5000000", "0/9000000")], without="000000010000000000000006"),
        primary("0/9000800"), BACKUP, "under the limit"),
    "the archive lags, the primary keeps what follows": (
        catalog([backup("0/5000028", "0/5000130")], [(1, "0/5000000", "0/6000000")]),
        primary("0/C000800", kept="0/6FFFFFF"), BACKUP, "under the limit"),
    "the archive lags, the primary does not keep what follows": (
        catalog([backup("0/5000028", "0/5000130")], [(1, "0/5000000", "0/6000000")]),
        primary("0/C000800", kept="0/7000000"), LEADER, "the archive ends at 0/6000000, the primary keeps WAL from 0/7000000 on"),
    "the archive lags, and nobody keeps anything for us": (
        catalog([backup("0/5000028", "0/5000130")], [(1, "0/5000000", "0/6000000")]),
        primary("0/C000800", kept=None), BACKUP, "under the limit"),
    "a former primary archived more than became history": (
        catalog([backup("0/5000028", "0/5000130")], [(1, "0/5000000", "0/9000000")]),
        primary("0/8000800", timeline=3, history=ONE_TO_THREE.replace("0/60", "0/68"), kept="0/5000000"), LEADER,
        "000000010000000000000006 from after its timeline was left"),
    "a former primary archived more, and what took its place is there": (
        catalog([backup("0/5000028", "0/5000130")], [(1, "0/5000000", "0/9000000"), (3, "0/6000000", "0/9000000")]),
        primary("0/9000800", timeline=3, history=ONE_TO_THREE.replace("0/60", "0/68"), kept="0/5000000"), BACKUP, "under the limit"),
    "no backup": (catalog([], [(1, "0/5000000", "0/6000000")]), primary("0/6000800"), LEADER, "no complete base backup"),
    "an interrupted one": (
        catalog([backup("0/5000028", "0/5000130", complete=False)], [(1, "0/5000000", "0/6000000")]),
        primary("0/6000800"), LEADER, "no complete base backup"),
    "a damaged one": (
        catalog([backup("0/5000028", "0/5000130", problem="part_00000001 is missing")], [(1, "0/5000000", "0/6000000")]),
        primary("0/6000800"), LEADER, "because part_00000001 is missing"),
    "its size is not known": (
        catalog([backup("0/5000028", "0/5000130", size=None)], [(1, "0/5000000", "0/6000000")]),
        primary("0/6000800"), LEADER, "size"),
    "it is ahead of the primary": (
        catalog([backup("0/5000028", "0/5000130")], [(1, "0/5000000", "0/6000000")]),
        primary("0/5000100"), LEADER, "ends at 0/5000130, the primary has come to 0/5000100 only"),
    "another cluster's backup": (
        catalog([backup("0/5000028", "0/5000130", system="1")], [(1, "0/5000000", "0/6000000")]),
        primary("0/6000800"), LEADER, "system identifier 1, not"),
    "another cluster's archive": (
        catalog([backup("0/5000028", "0/5000130", system=None)], [(1, "0/5000000", "0/6000000")], system="2"),
        primary("0/6000800"), LEADER, "system identifier 2, not"),
    "nobody wrote down whose it is": (
        catalog([backup("0/5000028", "0/5000130", system=None)], [(1, "0/5000000", "0/6000000")], system=None),
        primary("0/6000800"), BACKUP, "under the limit"),
    "the store does not answer": ("timed out", primary("0/6000800"), LEADER, "the store cannot be read: timed out"),
    "nobody to copy from": (
        catalog([backup("0/5000028", "0/5000130", size=MB)], [(1, "0/5000000", "0/9000000")]), None, BACKUP, "nobody to copy from"),
    "nobody to copy from, along the newest timeline": (
        catalog([backup("0/5000028", "0/5000130"), backup("0/8000028", "0/8000130", timeline=2)],
                [(1, "0/5000000", "0/6000000"), (2, "0/8000000", "0/9000000"), (3, "0/6000000", "0/8000000")],
                histories={3: ONE_TO_THREE, 2: ONE_TO_TWO}), None, BACKUP, "nobody to copy from"),
    "nobody to copy from, and nothing to recover": (catalog([], []), None, LEADER, "no complete base backup"),
    "nobody to copy from, and a hole": (
        catalog([backup("0/5000028", "0/5000130")], [(1, "0/5000000", "0/9000000")], without="000000010000000000000007"), None,
        LEADER, "a hole"),
}


@pytest.mark.parametrize("name", CASES)
def test_table(name: str) -> None:
    """Every way of how things can be has one method, and a reason that says it."""
    store, server, method, reason = CASES[name]
    found = choose(store, server, LIMITS)
    assert (found.method, reason in found.reason) == (method, True), found
    assert found.fields()["method"] == method


def test_only_a_lagging_archive_is_waited_for() -> None:
    """Nothing else changes by itself within seconds."""
    later = {name for name, (store, server, *_) in CASES.items() if choose(store, server, LIMITS).later}
    assert later == {"the archive lags, the primary does not keep what follows", "a former primary archived more than became history"}


def test_every_number_is_told() -> None:
    """The fields hold what was known of the backup, the primary and the limits, positions in PostgreSQL's form."""
    found = simple("1/80000000").fields()
    assert found["backup"] == "base_000000010000000100000000_00000000"
    assert (found["backup_start"], found["backup_stop"], found["primary_lsn"]) == ("1/0", "1/1000000", "1/80000000")
    assert (found["wal_bytes"], found["limit_bytes"], found["backup_bytes"]) == (2 * GB, 10 * GB, 100 * GB)
    assert (found["limit_megabytes"], found["limit_percentage"], found["archive_end"]) == (10240, 30, "9/0")
    assert (found["primary_keeps_from"], found["primary_timeline"], found["primary_segment_bytes"]) == ("0/0", 1, 16 * MB)
    assert choose("away", None, LIMITS).fields()["backup"] is None
