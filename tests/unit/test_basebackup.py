"""Base backups as values: names, descriptions, what a listing means, what is copied, and the tar that it is copied in."""

from __future__ import annotations

import io
import json
import os
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runtime import lzop
from runtime.basebackup import files, info, layout, tar
from runtime.basebackup.meter import Amount, Meter, Stopped
from runtime.basebackup.model import Backup, Catalog, Part
from runtime.basebackup.target import Target, choose, moment
from runtime.trouble import Exit, Trouble
from runtime.wal import Segment

SIZE = 16 << 20


def backup(number: int, *, timeline: int = 1, finished: float | None = None, **more: Any) -> Backup:
    """One that starts in segment `number` and ends in it, finished at 1000 times that number."""
    name = layout.name(Segment(timeline, number), 40, SIZE)
    start = number * SIZE + 40
    made = Backup(name, timeline, start, start + 300, finished if finished is not None else number * 1000.0, 500, 100,
                  (Part(layout.part(name, 0), 100, 500),), True, "spilo")
    return replace(made, **more)


def segments(*ranges: tuple[int, int, int]) -> dict[Segment, float]:
    """(timeline, first, last) as segments, each stored at 1000 times its number plus 500."""
    return {Segment(timeline, number): number * 1000 + 500.0
            for timeline, first, last in ranges for number in range(first, last + 1)}


def catalog(*backups: Backup, wal: dict[Segment, float], **more: Any) -> Catalog:
    return Catalog(tuple(sorted(backups, key=lambda one: one.order)), segments=wal, **more)


def test_names() -> None:
    """Names are WAL-E's, with the offset in decimal digits, of which PostgreSQL keeps eight."""
    assert layout.name(Segment(1, 2), 0x28, SIZE) == "base_000000010000000000000002_00000040"
    assert layout.name(Segment(1, 0), 123456789, 1 << 30) == "base_000000010000000000000000_12345678"
    name = "base_000000010000000000000002_00000040"
    assert layout.place(layout.part(name, 7)) == layout.Place(name, "part")
    assert layout.place(layout.sentinel(name)) == layout.Place(name, "sentinel")
    assert layout.place(layout.version(name)) == layout.Place(name, "version")
    assert layout.place(f"basebackups_005/{name}/tar_partitions/stray") == layout.Place(name, "other")
    assert layout.place("basebackups_005/something") is None
    assert layout.offset(name) == 40
    assert layout.offset(name[:-1] + "F") is None


LABEL = """START WAL LOCATION: 2/3000028 (file 000000010000000200000003)
STOP WAL LOCATION: 2/3000158 (file 000000010000000200000003)
CHECKPOINT LOCATION: 2/3000080
START TIME: 2026-01-31 13:45:00 UTC
LABEL: freeze_start_2026
STOP TIME: 2026-01-31 13:45:10 {zone}
"""


@pytest.mark.parametrize(("zone", "finished"), [("UTC", 1769867110.0), ("GMT", 1769867110.0), ("CET", None)])
def test_history_of_a_backup(zone: str, finished: float | None) -> None:
    """A .backup file says where a backup lies, how large segments are, and when it ended unless the zone is ambiguous."""
    said = info.parse_history("000000010000000200000003.00000028.backup", LABEL.format(zone=zone))
    assert said == info.History(0x2_03000028, 0x2_03000158, SIZE, finished)
    with pytest.raises(ValueError, match="START WAL LOCATION"):
        info.parse_history("000000010000000200000003.00000028.backup", "nothing")


def test_sentinel() -> None:
    """WAL-E's sentinel gives the end in decimal digits, the size, and the tablespaces."""
    text = {"wal_segment_backup_stop": "000000010000000000000003", "wal_segment_offset_backup_stop": "00000312",
            "expanded_size_bytes": 5, "spec": {"base_prefix": "/d/", "tablespaces": ["16384"], "16384": {"loc": "/t/", "link": "pg_tblspc/16384"}}}
    assert info.parse_sentinel(json.dumps(text).encode(), SIZE) == (3 * SIZE + 312, 5, {16384: "/t/"})
    for broken in (b"", b"[]", b"{}", b'{"wal_segment_offset_backup_stop": 3}'):
        with pytest.raises(ValueError, match=r"."):
            info.parse_sentinel(broken, SIZE)


def test_description() -> None:
    """Our description says everything that the listing does not, and the listing is held against it."""
    one = backup(3, tablespaces={16384: "/t"}, version="PostgreSQL 17", system="7", seconds=2.5)
    part = one.parts[0]
    bare = replace(info.listed(one.name, [(part.key, part.stored, 5.0), (layout.sentinel(one.name), 9, 6.0)], True))
    assert info.apply(bare, info.dump(one)) == replace(one, stored=109, modified=6.0)
    short = replace(bare, parts=(replace(part, stored=99),))
    assert info.apply(short, info.dump(one)).problem == "part_00000000.tar.lzo has 99 bytes, 100 were written"
    assert info.apply(replace(bare, parts=()), info.dump(one)).problem == "part_00000000.tar.lzo is missing"
    for broken in (b"", b"{}", b"[]", info.dump(backup(4))):
        with pytest.raises(ValueError, match=r"."):
            info.apply(bare, broken)


HISTORY = {2: f"1\t0/{5 * SIZE + 64:X}\tno recovery target specified\n"}

USABLE = [
    ("all there", backup(3), segments((1, 3, 3)), {}, None),
    ("incomplete", backup(3, complete=False), segments((1, 3, 3)), {}, "not complete"),
    ("damaged", backup(3, problem="part is missing"), segments((1, 3, 3)), {}, "part is missing"),
    ("its WAL is missing", backup(3), segments((1, 4, 9)), {}, "000000010000000000000003"),
    ("part of its WAL is missing", backup(3, stop_lsn=6 * SIZE), segments((1, 3, 3), (1, 5, 5)), {}, "000000010000000000000004"),
    ("on the way", backup(3), segments((1, 3, 4), (2, 5, 6)), HISTORY, None),
    ("after the way left its timeline", backup(7), segments((1, 3, 9), (2, 5, 6)), HISTORY, "not on the way to timeline 2"),
    ("ended after the way left", backup(4, stop_lsn=6 * SIZE), segments((1, 3, 9), (2, 5, 6)), HISTORY, "before the backup ended"),
    ("another timeline without a history", backup(3), segments((1, 3, 9), (2, 5, 6)), {}, "not on the way"),
]


@pytest.mark.parametrize(("one", "wal", "histories", "why"), [case[1:] for case in USABLE], ids=[case[0] for case in USABLE])
def test_usable(one: Backup, wal: dict[Segment, float], histories: dict[int, str], why: str | None) -> None:
    """A backup is usable if it is whole, on the way to the newest timeline, and has its own WAL."""
    said = catalog(one, wal=wal, histories=histories).why_not(one)
    assert (said is None) if why is None else (why in str(said))


def test_reach() -> None:
    """A backup comes as far as the WAL goes without a gap, over a change of timeline, and the gap is named."""
    one = backup(3)
    seen = catalog(one, wal=segments((1, 3, 5), (2, 5, 7)), histories=HISTORY)
    reach = seen.reach(one)
    assert (reach.timeline, reach.end, reach.until, reach.hole) == (2, 8 * SIZE, 7500.0, None)
    assert seen.reach(one, 1).end == 6 * SIZE
    gap = catalog(one, wal=segments((1, 3, 4), (2, 6, 7)), histories=HISTORY).reach(one)
    assert (gap.end, gap.hole) == (5 * SIZE, "000000020000000000000005")
    assert seen.holes(one, 9 * SIZE, 2) == ["000000020000000000000008"]


def test_newest() -> None:
    """Backups are ordered by when they were finished, not by position or name; the newest before a target is chosen."""
    early, late = backup(3, finished=9000.0), backup(5, finished=5000.0)
    seen = catalog(early, late, wal=segments((1, 3, 9)))
    assert [one.name for one in seen.backups] == [late.name, early.name]
    assert seen.newest() == early and seen.find("LATEST") == early
    assert seen.newest(time=8999.0) == late and seen.newest(time=4999.0) is None
    assert seen.newest(lsn=4 * SIZE) == early and seen.newest(lsn=3 * SIZE) is None


@pytest.mark.parametrize(("target", "number"), [
    (Target(), 6), (Target("time", "1970-01-01 01:40:01+00:00"), 6), (Target("time", "1970-01-01 01:39:59+00"), 3),
    (Target("lsn", "0/6000200"), 6), (Target("lsn", "0/5FFFFFF"), 3), (Target("name", "somewhere"), 3), (Target("xid", "700"), 3)])
def test_choice(target: Target, number: int) -> None:
    """Recovery begins with the newest backup that lies before the target, with the oldest where nobody knows that."""
    seen = catalog(backup(3), backup(6), wal=segments((1, 3, 9)))
    assert choose(seen, target).backup == backup(number)


@pytest.mark.parametrize(("target", "code"), [
    (Target("time", "1970-01-01 00:10:00+00:00"), Exit.REFUSED), (Target("time", "1970-01-01 09:00:00Z"), Exit.REFUSED),
    (Target("time", "1970-01-01 00:10:00"), Exit.USAGE), (Target("lsn", "0/10"), Exit.REFUSED), (Target("lsn", "0/A000001"), Exit.REFUSED),
    (Target("lsn", "ten"), Exit.USAGE), (Target(timeline="9"), Exit.REFUSED), (Target(timeline="current"), Exit.USAGE)])
def test_out_of_reach(target: Target, code: Exit) -> None:
    """What cannot be reached is refused with what can; what cannot be understood is said to be so."""
    with pytest.raises(Trouble) as caught:
        choose(catalog(backup(3), backup(6), wal=segments((1, 3, 9))), target)
    assert caught.value.code is code
    if code is Exit.REFUSED and target.kind:
        assert "0/A000000" in caught.value.detail and "1970-01-01 02:38:20" not in caught.value.message


def test_choice_with_a_hole() -> None:
    """Without a target all of the archive is wanted: a hole in it is named instead of ending there in silence."""
    with pytest.raises(Trouble, match="the end of the archive cannot be reached") as caught:
        choose(catalog(backup(3), wal=segments((1, 3, 4), (1, 6, 9))), Target())
    assert "000000010000000000000005 is missing" in caught.value.detail


def test_moment() -> None:
    """A time needs its zone, in any of the usual forms."""
    forms = ("2026-01-31 13:45:00+00:00", "2026-01-31T13:45:00Z", "2026-01-31 14:45:00 +01", "2026-01-31 13:45:00 UTC")
    assert {moment(text) for text in forms} == {1769867100.0}


def names(listing: files.Listing) -> set[str]:
    return {item.name for item in listing.items}


def test_what_is_copied(tmp_path: Path) -> None:
    """A backup holds what PostgreSQL's own would hold, with the files of tablespaces behind their links."""
    kept = ["PG_VERSION", "postgresql.conf", "base/5/100", "base/5/100_fsm", "base/5/200_init", "global/1260", "pg_xact/0000",
            "base/5/PG_VERSION", "pg_tblspc/77/PG_17_1/5/300"]
    left = ["postmaster.pid", "standby.signal", "patroni.dynamic.json", "backup_label", "global/pg_control", "global/pg_internal.init",
            "pg_wal/000000010000000000000001", "pg_replslot/a/state", "base/pgsql_tmp/1", "base/5/t3_400", "base/5/200",
            "base/5/200.1", "base/5/200_vm", "pg_stat_tmp/x", "pg_tblspc/77/pgsql_tmp/2", "pg_subtrans/0000"]
    data, space = tmp_path / "data", tmp_path / "space"
    space.mkdir()
    (data / "pg_tblspc").mkdir(parents=True)
    (data / "pg_tblspc" / "77").symlink_to(space)
    (data / "stray").symlink_to("/etc/passwd")
    for name in kept + left:
        (data / name).parent.mkdir(parents=True, exist_ok=True)
        (data / name).write_bytes(b"12345")
    listing = files.walk(data)
    found = names(listing)
    assert found >= set(kept) and not found & set(left)
    assert {"pg_wal", "pg_replslot", "pg_stat_tmp", "pg_wal/archive_status", "base/5"} <= found
    assert not {"stray", "pg_tblspc/77"} & found
    assert listing.tablespaces == {77: str(space)} and listing.size == 5 * len(kept)


def test_dealing() -> None:
    """Partitions have about the wanted size, a large file one of its own, and no file is in two or in none."""
    items = [files.Item(str(number), "", size) for number, size in enumerate([10, 10, 100, 5, None, 60, 1])]
    parts = files.deal(items, 50)
    assert [[one.name for one in part] for part in parts] == [["0", "1"], ["2"], ["3", "4"], ["5"], ["6"]]
    assert [len(part) for part in files.deal(items, 1000, 3)] == [3, 3, 1]


def test_tar_both_ways(tmp_path: Path) -> None:
    """What we write the standard library reads, and the other way, with names of any length and kind."""
    long = "base/" + "x" * 300 + "/ä"
    state = os.stat(tmp_path)
    ours = b"".join([tar.header("folder", None, state), tar.header(long, 5, state), b"12345", tar.padding(5), tar.END])
    with tarfile.open(fileobj=io.BytesIO(ours)) as read:
        assert [(one.name, one.size, one.isdir()) for one in read] == [("folder", 0, True), (long, 5, False)]
    for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        theirs = io.BytesIO()
        with tarfile.open(fileobj=theirs, mode="w", format=form) as out:
            for name, size in (("a", 0), (long, 700), ("b", 512)):
                member = tarfile.TarInfo(name)
                member.size, member.mtime = size, 1.5  # as stat gives it
                out.addfile(member, io.BytesIO(b"z" * size))
        for step in (7, 512, 1 << 20):
            raw = theirs.getvalue()
            untar = tar.Untar(raw[at : at + step] for at in range(0, len(raw), step))
            seen = [(one.name, b"".join(untar.content())) for one in untar.members() if one.is_file]
            assert seen == [("a", b""), (long, b"z" * 700), ("b", b"z" * 512)]


@pytest.mark.parametrize("change", [lambda raw: raw[:700], lambda raw: raw[:1536], lambda raw: raw[:512], lambda raw: b"x" * 1024, lambda raw: b""])
def test_broken_tar(change: object, tmp_path: Path) -> None:
    """An archive that is cut anywhere, or is none, is broken."""
    raw = b"".join([tar.header("a", 600, os.stat(tmp_path)), b"1" * 600, tar.padding(600), tar.END])
    untar = tar.Untar(iter([change(raw)] if change(raw) else []))  # type: ignore[operator]
    with pytest.raises(tar.Broken):
        for _ in untar.members():
            b"".join(untar.content())


def test_writer_of_blocks() -> None:
    """Whole blocks and rests in any order come out as one container."""
    pieces: list[bytes] = []
    writer = lzop.Writer(pieces.append)
    written = [b"head", os.urandom(lzop.BLOCK), b"tail", bytes(lzop.BLOCK), b"x" * (lzop.BLOCK + 3)]
    for one in written:
        writer.write(one)
    writer.close()
    assert lzop.unpack(b"".join(pieces)) == b"".join(written)


def test_meter() -> None:
    """Progress has percent, rate and the time that is left; who is told to stop, stops."""
    assert (Amount(50, 200, 10.0).percent, Amount(50, 200, 10.0).rate, Amount(50, 200, 10.0).left) == (25, 5.0, 30.0)
    said: list[Amount] = []
    meter = Meter(100, said.append, every=0)
    meter.add(40)
    assert said[0].done == 40
    meter.stop()
    with pytest.raises(Stopped):
        meter.add(1)
